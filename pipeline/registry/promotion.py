"""The rules of promotion, on records alone: gates, champion and challenger, who promoted what, and the way back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pipeline.errors import InputError
from pipeline.evaluation.records import Metrics
from pipeline.params import RegisterParams
from pipeline.registry.records import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
"""Aliases of a registered model."""
PASSED = "passed"
_HISTORY_TAG = "champion_history"
_HISTORY_KEPT = 50
_NEVER_CHECKED = "failed: never checked"
_OUTSIDE = "unknown (moved outside fracture, for example in the MLflow UI)"


@dataclass(frozen=True)
class Gates:
    """Outcome of the gates: `reasons` is empty when they passed; `comparison` says how the champion compared."""

    reasons: tuple[str, ...]
    comparison: str

    @property
    def verdict(self) -> str:
        """The value of the version's tag `gates`."""
        return PASSED if not self.reasons else "failed: " + "; ".join(self.reasons)


def check_gates(measured: Metrics, champion: Mapping[str, str] | None, options: RegisterParams) -> Gates:
    """Compare a version's metrics with the gates; `champion` are the tags of the champion's version.

    The champion counts only when it was measured on the same test set.
    """
    auroc = measured.test.auroc.value
    sensitivity = measured.test.point("at_high_sensitivity").sensitivity.value
    reasons = []
    if auroc is None or auroc < options.min_auroc:
        reasons.append(f"AUROC {auroc} is below register.min_auroc {options.min_auroc}")
    if sensitivity is None or sensitivity < options.min_sensitivity:
        reasons.append(
            f"sensitivity {sensitivity} at the high-sensitivity point is below register.min_sensitivity "
            f"{options.min_sensitivity}"
        )
    if champion is None:
        return Gates(tuple(reasons), "no champion yet")
    if champion.get("test_hash") != measured.hashes.test or "test_auroc" not in champion:
        return Gates(tuple(reasons), "not comparable: the champion was measured on another test set")
    best = float(champion["test_auroc"])
    if auroc is not None and auroc < best - options.champion_margin:
        reasons.append(f"AUROC {auroc} is more than {options.champion_margin} below the champion's {best}")
    return Gates(tuple(reasons), f"champion's AUROC on the same test set: {best}")


@dataclass(frozen=True)
class Move:
    """One move of the alias champion."""

    version: str
    previous: str
    at: str
    by: str
    reason: str
    forced: bool = False
    rollback: bool = False

    def tags(self) -> dict[str, str]:
        """What its version keeps of it."""
        return {f"promotion_{key}": str(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Occasion:
    """Who moves the champion, and when."""

    by: str
    at: str
    """ISO 8601 with the time zone."""


def read_history(tags: Mapping[str, str]) -> list[Move]:
    """Every recorded move of the champion, oldest first, from the tags of the registered model."""
    return [Move(**entry) for entry in json.loads(tags.get(_HISTORY_TAG, "[]"))]


def history_tag(moves: Sequence[Move]) -> tuple[str, str]:
    """Key and value of the registered model's tag that keeps the latest moves."""
    return _HISTORY_TAG, json.dumps([asdict(move) for move in moves[-_HISTORY_KEPT:]])


def unrecorded_move(champion: ModelVersion, moves: Sequence[Move], at: str) -> Move | None:
    """The move that made this version the champion if nobody recorded it (it was made in the UI), else None."""
    previous = moves[-1].version if moves else ""
    if champion.version == previous:
        return None
    return Move(champion.version, previous, at, _OUTSIDE, "first seen as champion")


def check_promotion(chosen: ModelVersion, *, force: bool, reason: str) -> None:
    """Raise InputError unless a version may become the champion: it passed its gates, or is forced with a reason."""
    gates = chosen.tags.get("gates", _NEVER_CHECKED)
    if force and not reason:
        raise InputError("promote: --force needs a --reason, which is kept with the version")
    if gates != PASSED and not force:
        raise InputError(
            f"version {chosen.version} of {chosen.name} {gates}; promote it all the same with --force --reason"
        )


def promotion_of(
    chosen: ModelVersion, champion: ModelVersion | None, moves: Sequence[Move], occasion: Occasion, reason: str
) -> Move | None:
    """The move that makes a version the champion; None when it is the champion already and passed its gates."""
    passed = chosen.tags.get("gates") == PASSED
    if champion is not None and champion.version == chosen.version and passed:
        return None
    previous = moves[-1].version if moves else ""
    return Move(chosen.version, previous, occasion.at, occasion.by, reason or "passed its gates", forced=not passed)


def rollback_of(
    name: str, champion: ModelVersion | None, moves: Sequence[Move], occasion: Occasion, reason: str
) -> Move:
    """The move back to the previous champion; InputError if none is recorded."""
    standing = _standing(moves)
    if champion is None or len(standing) < 2:
        raise InputError(f"rollback: {name} has no previous champion")
    reason = reason or f"rollback of version {champion.version}"
    return Move(standing[-2], champion.version, occasion.at, occasion.by, reason, rollback=True)


def _standing(moves: Sequence[Move]) -> list[str]:
    """The champions one after the other, without those that were taken back.

    A move back is undone with the moves it took back, so that two rollbacks go two champions back.
    """
    standing: list[str] = []
    for move in moves:
        if move.rollback:
            standing = standing[: standing.index(move.version) + 1] if move.version in standing else [move.version]
        elif not standing or standing[-1] != move.version:
            standing.append(move.version)
    return standing


def require_fit(version: ModelVersion) -> None:
    """What every consumer of a champion calls: the MLflow UI moves the alias without asking for gates.

    Raises InputError for a version that failed its gates unless its promotion was forced with a reason.
    """
    if version.tags.get("gates") != PASSED and not _is_forced(version):
        raise InputError(
            f"version {version.version} of {version.name} {version.tags.get('gates', _NEVER_CHECKED)}; choose another "
            "champion, or record why it is used all the same: "
            f"fracture promote {version.version} --force --reason ..."
        )


def forced_by(version: ModelVersion) -> dict[str, str] | None:
    """By whom, when and why a version that failed its gates was promoted; None when it was not."""
    if version.tags.get("gates") == PASSED or not _is_forced(version):
        return None
    return {key: version.tags.get(f"promotion_{key}", "unknown") for key in ("by", "at", "reason")}


def _is_forced(version: ModelVersion) -> bool:
    return version.tags.get("promotion_forced") == "True"
