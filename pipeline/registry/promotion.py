"""The model registry's rules: versions known by content, gates, champion and challenger, who promoted what.

Works on an MLflow client that `tracking.connect` gives; what is decided is pure, what is kept are tags.
"""

import getpass
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.artifacts import Metrics
from pipeline.errors import InputError
from pipeline.params import RegisterParams
from pipeline.registry import mlflow as tracking

CHAMPION, CHALLENGER = "champion", "challenger"
PASSED = "passed"
_HISTORY_TAG = "champion_history"
_HISTORY_KEPT = 50
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

    The champion counts only when it was measured on the same test part.
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
        return Gates(tuple(reasons), "not comparable: the champion was measured on another test part")
    best = float(champion["test_auroc"])
    if auroc is not None and auroc < best - options.champion_margin:
        reasons.append(f"AUROC {auroc} is more than {options.champion_margin} below the champion's {best}")
    return Gates(tuple(reasons), f"champion's AUROC on the same test part: {best}")


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


def version_by_alias(client: Any, name: str, alias: str) -> Any | None:
    """The model version behind an alias, None when the model or the alias does not exist."""
    try:
        aliases = client.get_registered_model(name).aliases
    except Exception as error:
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return client.get_model_version(name, aliases[alias]) if alias in aliases else None


def version_by_tag(client: Any, name: str, tag: str, value: str) -> Any | None:
    """The newest version of a model whose tag has the value."""
    found = client.search_model_versions(f"name = '{name}' and tags.{tag} = '{value}'")
    return max(found, key=lambda version: int(version.version), default=None)


def history(client: Any, name: str) -> list[Move]:
    """Every recorded move of the champion, oldest first."""
    tags = client.get_registered_model(name).tags
    return [Move(**entry) for entry in json.loads(tags.get(_HISTORY_TAG, "[]"))]


def observe(client: Any, name: str) -> Any | None:
    """The champion's version; a move that nobody recorded (made in the UI) is recorded now, when first seen."""
    champion = version_by_alias(client, name, CHAMPION)
    if champion is None:
        return None
    moves = history(client, name)
    previous = moves[-1].version if moves else ""
    if str(champion.version) != previous:
        _record(client, name, moves, Move(str(champion.version), previous, _now(), _OUTSIDE, "first seen as champion"))
        return client.get_model_version(name, champion.version)
    return champion


def observe_if_allowed(client: Any, name: str) -> Any | None:
    """As `observe`, for whoever only uses the champion: a move that they may not record is said and left unrecorded."""
    try:
        return observe(client, name)
    except Exception as error:
        if not tracking.is_refused(error):
            raise
    champion = version_by_alias(client, name, CHAMPION)
    if champion is not None:
        print(
            f"note: version {champion.version} of {name} became champion outside fracture; this user may not record it"
        )
    return champion


def _record(client: Any, name: str, moves: Sequence[Move], move: Move) -> None:
    kept = [asdict(entry) for entry in (*moves, move)][-_HISTORY_KEPT:]
    client.set_registered_model_tag(name, _HISTORY_TAG, json.dumps(kept))
    for key, value in asdict(move).items():
        client.set_model_version_tag(name, move.version, f"promotion_{key}", str(value))


def promote(client: Any, name: str, version: str | None, force: bool = False, reason: str = "") -> Move:
    """Make a version (default: the challenger) the champion and record who, when, from which and why.

    Raises InputError when there is no such version, or when it failed its gates and `force` with a `reason` is
    not given.
    """
    chosen = find(client, name, version)
    gates = chosen.tags.get("gates", "failed: never checked")
    if force and not reason:
        raise InputError("promote: --force needs a --reason, which is kept with the version")
    if gates != PASSED and not force:
        raise InputError(f"version {chosen.version} of {name} {gates}; promote it all the same with --force --reason")
    champion = observe(client, name)
    moves = history(client, name)
    if champion is not None and str(champion.version) == str(chosen.version) and gates == PASSED:
        return moves[-1]
    previous = moves[-1].version if moves else ""
    move = Move(str(chosen.version), previous, _now(), _user(), reason or "passed its gates", forced=gates != PASSED)
    client.set_registered_model_alias(name, CHAMPION, chosen.version)
    _record(client, name, moves, move)
    return move


def rollback(client: Any, name: str, reason: str = "") -> Move:
    """Return to the champion before the present one; InputError when none is recorded."""
    champion = observe(client, name)
    moves = history(client, name) if champion is not None else []
    # Moves back are undone with the moves they took back, so that two rollbacks go two champions back.
    standing: list[str] = []
    for entry in moves:
        if entry.rollback:
            standing = standing[: standing.index(entry.version) + 1] if entry.version in standing else [entry.version]
        elif not standing or standing[-1] != entry.version:
            standing.append(entry.version)
    if champion is None or len(standing) < 2:
        raise InputError(f"rollback: {name} has no champion before the present one")
    move = Move(
        standing[-2], str(champion.version), _now(), _user(), reason or f"rollback of version {champion.version}",
        rollback=True,
    )  # fmt: skip
    client.set_registered_model_alias(name, CHAMPION, move.version)
    _record(client, name, moves, move)
    return move


def require_fit(version: Any) -> None:
    """What every consumer of a champion calls: the MLflow UI moves the alias without asking for gates.

    Raises InputError for a version that failed its gates unless its promotion was forced with a reason.
    """
    gates = version.tags.get("gates", "failed: never checked")
    forced = version.tags.get("promotion_forced") == "True"
    if gates != PASSED and not forced:
        raise InputError(
            f"version {version.version} of {version.name} {gates}; choose another champion, or record why it is used "
            f"all the same: fracture promote {version.version} --force --reason ..."
        )


def find(client: Any, name: str, version: str | None) -> Any:
    """A version by its number, the challenger without one; InputError when there is none."""
    if version is None:
        challenger = version_by_alias(client, name, CHALLENGER)
        if challenger is None:
            raise InputError(f"promote: {name} has no challenger; {_newest(client, name)}")
        return challenger
    known = [found.version for found in client.search_model_versions(f"name = '{name}'")]
    if str(version) not in {str(number) for number in known}:
        numbers = ", ".join(sorted(map(str, known), key=int)) or "none"
        raise InputError(f"{name} has no version {version}; registered versions: {numbers}")
    return client.get_model_version(name, str(version))


def _newest(client: Any, name: str) -> str:
    """What there is in place of a challenger, and what to do."""
    newest = max(client.search_model_versions(f"name = '{name}'"), key=lambda v: int(v.version), default=None)
    if newest is None:
        return "run `dvc repro` to register a version"
    return f"its newest version, {newest.version}, {newest.tags.get('gates', 'was never checked')}; name a version"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _user() -> str:
    """The login at the tracking server, or on this machine where there is none."""
    if login := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return login
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
