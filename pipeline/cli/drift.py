"""`fracture drift`: whether the images of today are like those of training."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.bundles import BundleOption, open_bundle
from pipeline.errors import InputError
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.archive import answers
    from pipeline.monitoring import drift as work
else:
    answers = late("pipeline.archive.answers")
    work = late("pipeline.monitoring.drift")

_MOVED = 3
"""Exit code of --check; 1 and 2 are those of bad input and wrong usage."""


def drift(
    source: Annotated[
        str,
        typer.Argument(
            metavar="LOG|FOLDER|ANSWERS",
            help="What the service wrote to standard output (- reads it from stdin), a folder of images, or what "
            "`fracture score` wrote: its --out, or one Parquet file of it.",
        ),
    ],
    *,
    bundle: BundleOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Plot both distributions into a .png or .svg file."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with code 3 if something moved, for scripts and cron.")
    ] = False,
) -> None:
    """Compare inputs and scores with those of training; says which moved and by how much."""
    if plot is not None:
        work.check_plot(plot)
    opened = open_bundle(bundle)
    path = Path(source)
    if source == "-":
        seen = work.read_log(sys.stdin, opened, "standard input")
    elif answers.is_scored(source):
        seen = answers.read_seen(source, opened)
    elif path.is_dir():
        seen = work.read_folder(path, opened)
    elif path.is_file():
        seen = work.read_file(path, opened)
    else:
        raise InputError(f"{source}: no such file or folder; give a log of the service, or a folder of images")
    report = work.compare(seen, opened, source)
    if plot is not None:
        work.save_plot(seen, report, opened, plot)
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print("\n".join(work.text(report)))
    if check and report.moved:
        raise typer.Exit(_MOVED)
