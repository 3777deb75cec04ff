"""`fracture trace`: from an answer, or a model, back to the data, each link checked."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.bundles import BundleOption
from pipeline.errors import InputError
from pipeline.files import project_root
from pipeline.late import late
from serving import signature

if TYPE_CHECKING:
    from pipeline.monitoring import trace as work
    from pipeline.registry import mlflow as registries
    from pipeline.registry import tracking
    from serving.store import database
    from serving.store.records import AnswerRecord
else:
    work = late("pipeline.monitoring.trace")
    registries = late("pipeline.registry.mlflow")
    tracking = late("pipeline.registry.tracking")
    database = late("serving.store.database")

_MISSING, _DIFFERS = 3, 4
"""Exit codes; 1 and 2 are those of bad input and wrong usage."""
_MOST_ANSWERS = 20


def trace(
    name: Annotated[
        str,
        typer.Argument(
            metavar="REQUEST_ID|ANSWER_ID|SHA256",
            help="An answer's ids, or the sha256 of an image, a network or a bundle.",
        ),
    ],
    *,
    store: Annotated[
        str,
        typer.Option("--store", metavar="URL", envvar="FRACTURE_STORE_URL", show_envvar=True, help="The store."),
    ] = "",
    bundle: BundleOption = None,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="PUBLIC", help="Trusted public key, PEM; by default FRACTURE_TRUSTED_KEYS."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the links as JSON.")] = False,
) -> None:
    """Print the whole chain of an answer: bundle, signature, registry, run, commit, data, split, validation, promotion.

    Each link is found, missing or does not match the one before it. Exit code 0 if all are found, 3 if one is missing,
    4 if one does not match.
    """
    keys = tuple(found for path in key or () for found in signature.read_keys(path, "--key "))
    trusted = keys or signature.trusted_keys() or ()
    root = project_root()
    links = list(_links(name, store, root, bundle, trusted))
    if as_json:
        print(json.dumps([asdict(link) for link in links], indent=2))
    else:
        for link in links:
            print(f"{link.state:<16}{link.name:<20}{link.text}")
    states = {link.state for link in links}
    if "does not match" in states:
        raise typer.Exit(_DIFFERS)
    if "missing" in states:
        raise typer.Exit(_MISSING)


def _links(
    name: str, store: str, root: Path, bundle: Path | None, keys: tuple[signature.PublicKey, ...]
) -> "Iterator[work.Link]":
    known, faults = work.bundles(root, bundle)
    models = [each for each in known if work.is_hash(name) and work.names_model(name, each)][:1]
    yield from map(work.whole, models)
    if not models:
        rows = _answers(name, store)
        for row in rows[:_MOST_ANSWERS]:
            yield work.answer_link(row)
        for row in {(row.model_sha256, row.model_name, row.model_version): row for row in rows}.values():
            link, packaged = work.bundle_link(row, known, faults)
            yield link
            models += [packaged] if packaged else []
    registry, silent = _registry()
    for packaged in models:
        yield from work.Chain(root, packaged, keys, registry, silent).links()


def _answers(name: str, store: str) -> "list[AnswerRecord]":
    if not store:
        what = "is the sha256 of no bundle here, and an answer" if work.is_hash(name) else "is no sha256, and an answer"
        raise InputError(f"{name}: {what} is looked up in the store: set FRACTURE_STORE_URL or name it with --store")
    try:
        opened = database.Database(store)
        try:
            opened.check()
            rows = opened.find(name)
        finally:
            opened.close()
    except database.StoreError as error:
        raise InputError(str(error)) from None
    if not rows:
        raise InputError(f"{name}: the store knows no answer, request or image of this name, and no bundle here has it")
    return rows


def _registry() -> "tuple[registries.Registry | None, str]":
    """The registry, or why there is none."""
    file = tracking.database_file()
    if file is not None and not file.is_file():
        return None, f"{file}: not found; set MLFLOW_TRACKING_URI to the registry of the model"
    try:
        return registries.connect(), ""
    except tracking.TrackingError as error:
        return None, str(error)
