"""`fracture promote` and `fracture rollback`: who the champion is."""

from typing import Annotated

import typer

from pipeline import params
from pipeline.files import project_root
from pipeline.registry import champion
from pipeline.registry.mlflow import connect
from pipeline.registry.promotion import Move

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
) -> None:
    """Make a registered version the champion, which is what gets packaged and served."""
    model = _model(name)
    move = champion.promote(connect(), model, version, force, reason)
    _announce(model, move)


def rollback(reason: Reason = "", name: Name = "") -> None:
    """Return to the previous champion."""
    model = _model(name)
    move = champion.rollback(connect(), model, reason)
    _announce(model, move)
