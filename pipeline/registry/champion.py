"""Observe, promote and roll back the champion of a registered model, by the rules of `promotion`."""

import getpass
import os
from datetime import UTC, datetime

from pipeline.errors import InputError
from pipeline.registry import promotion
from pipeline.registry.mlflow import Registry
from pipeline.registry.promotion import CHALLENGER, CHAMPION, Move, Occasion
from pipeline.registry.records import ModelVersion
from pipeline.registry.tracking import TrackingError


def history(registry: Registry, name: str) -> list[Move]:
    """Every recorded move of the champion, oldest first."""
    return promotion.read_history(registry.model_tags(name))


def observe(registry: Registry, name: str) -> ModelVersion | None:
    """The champion's version. A move made in the UI, which nobody recorded, is recorded now."""
    champion = registry.version_by_alias(name, CHAMPION)
    if champion is None:
        return None
    moves = history(registry, name)
    move = promotion.unrecorded_move(champion, moves, _now())
    if move is None:
        return champion
    _record(registry, name, moves, move)
    return registry.version(name, champion.version)


def observe_if_allowed(registry: Registry, name: str) -> ModelVersion | None:
    """Like `observe`, for users who may only read: a move that they may not record is reported instead."""
    try:
        return observe(registry, name)
    except TrackingError as error:
        if not error.denied:
            raise
    champion = registry.version_by_alias(name, CHAMPION)
    if champion is not None:
        print(
            f"note: version {champion.version} of {name} became champion outside fracture; this user may not record it"
        )
    return champion


def promote(registry: Registry, name: str, number: str | None, force: bool = False, reason: str = "") -> Move:
    """Make a version (default: the challenger) the champion and record who, when, from which and why.

    Raises InputError when there is no such version, or when it failed its gates and `force` with a `reason` is
    not given.
    """
    chosen = find(registry, name, number)
    promotion.check_promotion(chosen, force=force, reason=reason)
    champion = observe(registry, name)
    moves = history(registry, name)
    move = promotion.promotion_of(chosen, champion, moves, _occasion(), reason)
    if move is None:
        return moves[-1]
    _move(registry, name, moves, move)
    return move


def rollback(registry: Registry, name: str, reason: str = "") -> Move:
    """Return to the previous champion; InputError if none is recorded."""
    champion = observe(registry, name)
    moves = history(registry, name) if champion is not None else []
    move = promotion.rollback_of(name, champion, moves, _occasion(), reason)
    _move(registry, name, moves, move)
    return move


def find(registry: Registry, name: str, number: str | None) -> ModelVersion:
    """A version by its number, the challenger without one; InputError when there is none."""
    if number is None:
        challenger = registry.version_by_alias(name, CHALLENGER)
        if challenger is None:
            raise InputError(f"promote: {name} has no challenger; {_newest(registry, name)}")
        return challenger
    known = [version.version for version in registry.versions(name)]
    if number not in known:
        raise InputError(f"{name} has no version {number}; registered versions: {', '.join(known) or 'none'}")
    return registry.version(name, number)


def find_address(registry: Registry, address: str) -> ModelVersion:
    """The version behind `models:/NAME@ALIAS` or `models:/NAME/VERSION`; InputError when there is none."""
    rest = address.removeprefix("models:/")
    name, at, alias = rest.partition("@")
    if at:
        found = observe_if_allowed(registry, name) if alias == CHAMPION else registry.version_by_alias(name, alias)
        if found is None:
            raise InputError(
                f"{address}: no version of {name} has the alias {alias}; promote one with `fracture promote`"
            )
        return found
    name, slash, number = rest.partition("/")
    if not (slash and number.isdigit()):
        raise InputError(f"{address}: is no model address; write models:/NAME@ALIAS or models:/NAME/VERSION")
    return find(registry, name, number)


def _newest(registry: Registry, name: str) -> str:
    """Why there is no challenger, and what to do."""
    versions = registry.versions(name)
    if not versions:
        return "run `dvc repro` to register a version"
    newest = versions[-1]
    return f"its newest version, {newest.version}, {newest.tags.get('gates', 'was never checked')}; name a version"


def _move(registry: Registry, name: str, moves: list[Move], move: Move) -> None:
    registry.set_alias(name, CHAMPION, move.version)
    _record(registry, name, moves, move)


def _record(registry: Registry, name: str, moves: list[Move], move: Move) -> None:
    registry.set_model_tag(name, *promotion.history_tag([*moves, move]))
    registry.set_version_tags(name, move.version, move.tags())


def _occasion() -> Occasion:
    return Occasion(by=_user(), at=_now())


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
