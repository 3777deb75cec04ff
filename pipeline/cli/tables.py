"""`fracture tables`: a run's metrics as Markdown."""

from pathlib import Path
from typing import Annotated

import typer


def tables(
    reports: Annotated[
        Path, typer.Argument(metavar="[REPORTS]", help="Folder that evaluation wrote.", show_default=True)
    ] = Path("reports"),
) -> None:
    """Print the metrics of an evaluation as Markdown tables."""
    from pipeline.evaluation.tables import markdown  # noqa: PLC0415  --help can do without it

    print(markdown(reports))
