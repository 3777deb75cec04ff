"""`fracture score`: score an archive, on this machine or on a Ray cluster."""

import importlib.util
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.bundles import BundleOption, ScopeOption, open_bundle
from pipeline.cli.options import given_options
from pipeline.errors import InputError
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline import progress
    from pipeline.archive import (
        addresses,
        answers,
        cluster,
        cluster_safety,
        engines,
        metrics,
        places,
        pseudonyms,
        scoring,
        shards,
        status,
        worker,
    )
    from pipeline.archive import manifest as manifests
    from pipeline.monitoring import drift
else:
    progress = late("pipeline.progress")
    addresses = late("pipeline.archive.addresses")
    answers = late("pipeline.archive.answers")
    drift = late("pipeline.monitoring.drift")
    metrics = late("pipeline.archive.metrics")
    cluster = late("pipeline.archive.cluster")
    cluster_safety = late("pipeline.archive.cluster_safety")
    engines = late("pipeline.archive.engines")
    manifests = late("pipeline.archive.manifest")
    places = late("pipeline.archive.places")
    pseudonyms = late("pipeline.archive.pseudonyms")
    scoring = late("pipeline.archive.scoring")
    shards = late("pipeline.archive.shards")
    status = late("pipeline.archive.status")
    worker = late("pipeline.archive.worker")


def score(
    context: typer.Context,
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
    engine: Annotated[
        Literal["local", "ray"], typer.Option("--engine", help="Processes of this machine, or of a Ray cluster.")
    ] = "local",
    address: Annotated[
        str, typer.Option("--address", metavar="HOST:PORT", help="Of the Ray cluster; without it Ray starts here.")
    ] = "",
    stall: Annotated[
        float, typer.Option("--stall", min=1, help="Seconds after which a cluster that ends nothing is given up.")
    ] = 1800,
    bundle: BundleOption = None,
    actors: Annotated[
        int, typer.Option("--actors", min=0, max=100_000, help="Processes that score; 0 takes one a core.")
    ] = 0,
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
    scope: ScopeOption = "refuse",
    pseudonymise: Annotated[
        bool,
        typer.Option(
            "--pseudonymise", help="Write names in place of addresses and UIDs; key in FRACTURE_PSEUDONYM_KEY."
        ),
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds that one image may take.")] = 60,
    memory: Annotated[float, typer.Option("--memory", min=0.5, max=65_536, help="GiB that one process may take.")] = 4,
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", min=0, max=65535, help="Port on loopback for Prometheus; 0 for none.")
    ] = 0,
    retry: Annotated[
        str,
        typer.Option(
            "--retry",
            metavar="CODES",
            help="Ask again for the images that failed with one of these codes, separated by commas.",
        ),
    ] = "",
    status_of: Annotated[
        str, typer.Option("--status", metavar="URI", help="Only say how far the scoring in this place is.")
    ] = "",
) -> None:
    """Score the images of a manifest into Parquet files; killed anywhere, the same command goes on.

    Answers are those of `fracture predict`. An image without an answer is a row with an error code.
    """
    given = given_options(context)
    if status_of:
        if others := [name for name in given if name != "--status"]:
            raise InputError(f"--status {status_of}: scores nothing; leave out {', '.join(others)}")
        print("\n".join(status.report(places.open_place(status_of))))
        return
    if manifest is None or not out:
        raise InputError("name --manifest FILE and --out URI, or --status URI")
    if address and engine != "ray":
        raise InputError(f"--address {address}: names a Ray cluster; add --engine ray, or leave it out")
    if "--stall" in given and engine != "ray":
        raise InputError(f"--stall {stall:g}: is for a Ray cluster; add --engine ray, or leave it out")
    cluster_safety.check_address(address)
    codes = _codes(retry)
    request = scoring.Request(
        manifest=manifests.Manifest(manifest),
        opened=open_bundle(bundle),
        roots=tuple(roots or ()),
        warn_of_scope=scope == "warn",
        pseudonyms=pseudonyms.Pseudonyms.from_environment() if pseudonymise else pseudonyms.Pseudonyms(),
        bounds=worker.Bounds(seconds=timeout, memory=int(memory * (1 << 30))),
        shard_rows=shard_rows,
        retry=codes,
    )
    place = places.open_place(out)
    if "--shard-rows" in given:
        _check_shard_rows(place, shard_rows)
    work = request.work()
    for root in work.asked.roots.allowed:
        _remark(f"reads below {root.uri}")
    if engine == "ray":
        chosen = _ray_engine(work, actors, address, stall)
    else:
        chosen = nullcontext(_local_engine(work, min(actors, request.manifest.rows)))
    with chosen as crew, progress.progress_bar("score", request.manifest.rows) as advance:
        observer = scoring.Observer(found=advance, done=lambda report: advance(report.counts.rows))
        scored = scoring.run(request, place, crew, _with_metrics(observer, request, metrics_port))
    print("\n".join(status.summary(scored)))
    count = answers.write_suspicious(place, scored.plan.shards)
    print(f"{place.uri}/{answers.SUSPICIOUS}: {count:,} suspicious images, the highest probability first")
    seen = answers.read_seen(out, request.opened)
    if seen.images >= drift.FEWEST:
        print("\n".join(drift.text(drift.compare(seen, request.opened, out))))


def _check_shard_rows(place: "places.Place", asked: int) -> None:
    """InputError where a scoring that goes on has files of another size."""
    plan = shards.read_plan(place)
    if plan is not None and plan.shard_rows != asked:
        raise InputError(
            f"--shard-rows {asked}: {place.uri} was begun with {plan.shard_rows} images a file; leave it out, or name "
            "another place"
        )


def _codes(retry: str) -> tuple[str, ...]:
    """The codes that --retry names."""
    codes = tuple(code.strip() for code in retry.split(",") if code.strip())
    if retry and not codes:
        raise InputError(f"--retry {retry}: names no code; `fracture score --status URI` shows those that rows have")
    return codes


def _local_engine(work: "engines.Work", actors: int) -> "engines.Engine":
    for root in work.asked.roots.allowed:
        # Else every image of a disk that is not mounted would be answered for good, as missing.
        if root.scheme == addresses.FILE and not root.file.exists():
            raise InputError(f"{root.uri}: is not there; mount its disk, or make the manifest again")
    return engines.LocalEngine(work, actors or len(os.sched_getaffinity(0)))


def _ray_engine(
    work: "engines.Work", actors: int, address: str, stall: float
) -> "AbstractContextManager[engines.Engine]":
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "--engine ray: Ray is not installed here; `make ray-setup` makes .venv-ray, then use "
            ".venv-ray/bin/fracture (elsewhere: pip install 'bone-fracture-detection[train,ray]')"
        )
    if not address:
        cluster_safety.make_token()
    engine: AbstractContextManager[engines.Engine] = cluster.RayEngine(work, actors, address, stall)
    return engine


def _with_metrics(observer: "scoring.Observer", request: "scoring.Request", port: int) -> "scoring.Observer":
    """The observer, and metrics for Prometheus where a port is given."""
    if not port:
        return observer
    counted = metrics.ScoringMetrics(request.opened.reference, request.opened.facts(), request.manifest.rows)
    counted.serve(port)

    def found(rows: int) -> None:
        observer.found(rows)
        counted.found(rows)

    def done(report: "engines.Report") -> None:
        observer.done(report)
        counted.done(report)

    return scoring.Observer(found, done)


def _remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
