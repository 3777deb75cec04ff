"""`fracture promote` and `fracture rollback`: who the champion is."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import params
from pipeline.artifacts import Artifacts
from pipeline.errors import InputError
from pipeline.files import project_root, write_text
from pipeline.late import late
from pipeline.registry import champion, promotion
from pipeline.registry.mlflow import connect
from pipeline.registry.promotion import Move
from pipeline.registry.records import ModelVersion

if TYPE_CHECKING:
    from pipeline.packaging import challenge
    from pipeline.registry import evidence
else:
    challenge = late("pipeline.packaging.challenge")
    evidence = late("pipeline.registry.evidence")

Name = Annotated[str, typer.Option("--name", help="Registered model; by default the one params.yaml names.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the version's tags.")]


def _model(name: str) -> str:
    return name or params.load(project_root() / "params.yaml").register_.model_name


def _announce(name: str, move: Move) -> None:
    before = f", before it version {move.previous}" if move.previous else ""
    print(f"{name} version {move.version} is now the champion{before}; recorded: {move.by}, {move.at}: {move.reason}")


def promote(
    version: Annotated[str | None, typer.Argument(help="Version to promote; by default the challenger.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote a version that failed its gates.")] = False,
    reason: Reason = "",
    name: Name = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the comparison with the champion; promote nothing.")
    ] = False,
) -> None:
    """Make a registered version the champion, which is what gets packaged and served.

    Before, both are compared on the frozen test set, on held-back confirmed images of each site and in the shadow.
    """
    model, registry = _model(name), connect()
    chosen = champion.find(registry, model, version)
    if not dry_run:
        promotion.check_promotion(chosen, force=force, reason=reason)
    current = champion.observe(registry, model)
    other = current is not None and current.version != chosen.version
    shown = _show(current, chosen, force or dry_run) if current is not None and other else {}
    if dry_run:
        if not other:
            print(f"{model} version {chosen.version}: there is no other champion to compare it with")
        return
    move = champion.promote(registry, model, chosen.version, force, reason)
    if shown:
        registry.set_version_tags(model, chosen.version, shown)
    _announce(model, move)


def _show(current: ModelVersion, chosen: ModelVersion, force: bool) -> dict[str, str]:
    """Print the comparison with the champion; the tags that keep it. InputError where a gate of it fails."""
    paths = Artifacts(project_root())
    options = params.load(paths.params).promote
    found = challenge.gather(paths, current, chosen, os.environ.get("FRACTURE_STORE_URL", ""))
    faults = evidence.faults(found, options)
    text = evidence.markdown(found, faults)
    write_text(paths.promotion, text)
    print(text)
    if faults and not force:
        raise InputError(
            f"version {chosen.version} of {chosen.name}: {'; '.join(faults)}; promote it all the same with --force "
            "--reason"
        )
    return {"promotion_evidence": evidence.line(found, faults)}


def rollback(reason: Reason = "", name: Name = "") -> None:
    """Return to the previous champion."""
    model = _model(name)
    move = champion.rollback(connect(), model, reason)
    _announce(model, move)
