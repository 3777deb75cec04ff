"""`fracture score`: score an archive, on this machine or on a Ray cluster."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.bundles import BundleOption, open_bundle
from pipeline.errors import InputError
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline import progress
    from pipeline.archive import engines, places, pseudonyms, scoring, status, worker
    from pipeline.archive import manifest as manifests
else:
    progress = late("pipeline.progress")
    engines = late("pipeline.archive.engines")
    manifests = late("pipeline.archive.manifest")
    places = late("pipeline.archive.places")
    pseudonyms = late("pipeline.archive.pseudonyms")
    scoring = late("pipeline.archive.scoring")
    status = late("pipeline.archive.status")
    worker = late("pipeline.archive.worker")


def score(
    *,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", metavar="FILE", help="What `fracture manifest` wrote.")
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            "--out", metavar="URI", help="Folder, s3://BUCKET/PREFIX or az://CONTAINER/PREFIX of the answers."
        ),
    ] = "",
    bundle: BundleOption = None,
    actors: Annotated[int, typer.Option("--actors", min=0, help="Processes that score; 0 takes one a core.")] = 0,
    shard_rows: Annotated[
        int, typer.Option("--shard-rows", min=1, help="Images whose answers stand in one file.")
    ] = 5_000_000,
    roots: Annotated[
        list[str] | None,
        typer.Option(
            "--root",
            metavar="URI",
            help="Read below these instead of what the manifest was made of; also names a private host.",
        ),
    ] = None,
    scope: Annotated[
        Literal["refuse", "warn"],
        typer.Option("--scope", help="What to do with images whose header says that the model is not meant for them."),
    ] = "refuse",
    pseudonymise: Annotated[
        bool,
        typer.Option(
            "--pseudonymise", help="Write names in place of addresses and UIDs; key in FRACTURE_PSEUDONYM_KEY."
        ),
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds that one image may take.")] = 60,
    memory: Annotated[float, typer.Option("--memory", min=0.5, help="GiB that one process may take.")] = 4,
    status_of: Annotated[
        str, typer.Option("--status", metavar="URI", help="Only say how far the scoring in this place is.")
    ] = "",
) -> None:
    """Score the images of a manifest into Parquet files; killed anywhere, the same command goes on.

    Answers are those of `fracture predict`. An image without an answer is a row with an error code.
    """
    if status_of:
        print("\n".join(status.report(places.open_place(status_of))))
        return
    if manifest is None or not out:
        raise InputError("name --manifest FILE and --out URI, or --status URI")
    request = scoring.Request(
        manifest=manifests.Manifest(manifest),
        opened=open_bundle(bundle),
        roots=tuple(roots or ()),
        warn_of_scope=scope == "warn",
        pseudonyms=pseudonyms.Pseudonyms.from_environment() if pseudonymise else pseudonyms.Pseudonyms(),
        bounds=worker.Bounds(seconds=timeout, memory=int(memory * (1 << 30))),
        shard_rows=shard_rows,
    )
    work = request.work()
    for root in work.asked.roots.allowed:
        _remark(f"reads below {root.uri}")
    engine = engines.LocalEngine(work, actors or len(os.sched_getaffinity(0)))
    with progress.progress_bar("score", request.manifest.rows) as advance:
        observer = scoring.Observer(found=advance, done=lambda report: advance(report.counts.rows))
        shards = scoring.run(request, places.open_place(out), engine, observer)
    print("\n".join(status.summary(shards)))


def _remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
