"""Which version may be a canary: the champion, made one by `fracture promote`."""

from pipeline.errors import InputError
from pipeline.registry import promotion
from pipeline.registry.records import ModelVersion

_OUTSIDE = "outside fracture"
"""What the record says of a move that somebody made in the MLflow UI."""


def require_promoted(version: ModelVersion) -> str:
    """NAME/VERSION of a champion that `fracture promote` compared and let in.

    Raises InputError for one that failed its gates without being forced, or that became the champion in another way.
    """
    promotion.require_fit(version)
    by = version.tags.get("promotion_by", "")
    if not by or _OUTSIDE in by:
        raise InputError(
            f"version {version.version} of {version.name} became champion without `fracture promote`, which compares "
            f"it first; fracture rollback, then fracture promote {version.version}"
        )
    return f"{version.name}/{version.version}"
