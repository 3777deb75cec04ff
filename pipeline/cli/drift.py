"""`fracture drift`: whether the images of today are like those of training."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.bundles import BundleOption, open_bundle
from pipeline.errors import InputError


def drift(
    source: Annotated[
        str,
        typer.Argument(
            metavar="LOG|FOLDER", help="What the service wrote to its standard output (- reads it), or images."
        ),
    ],
    *,
    bundle: BundleOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw training and now as a PNG.")] = None,
) -> None:
    """Compare inputs and scores with those of training; says which moved and by how much."""
    from pipeline import drift as work  # noqa: PLC0415  what it imports takes seconds

    opened = open_bundle(bundle)
    path = Path(source)
    if source == "-":
        seen = work.read_log(sys.stdin, opened, "standard input")
    elif path.is_dir():
        seen = work.read_folder(path, opened)
    elif path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            seen = work.read_log(file, opened, source)
    else:
        raise InputError(f"{source}: no such file or folder; give a log of the service, or a folder of images")
    report = work.compare(seen, opened, source)
    if plot is not None:
        work.save_plot(seen, report, opened, plot)
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    for line in work.text(report):
        print(line)
