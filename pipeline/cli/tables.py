"""`fracture tables`: a run's metrics as Markdown."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.evaluation import tables as evaluation
else:
    evaluation = late("pipeline.evaluation.tables")


def tables(
    reports: Annotated[
        Path, typer.Argument(metavar="[REPORTS]", help="Folder that evaluation wrote.", show_default=True)
    ] = Path("reports"),
) -> None:
    """Print the metrics of an evaluation as Markdown tables."""
    print(evaluation.markdown(reports))
