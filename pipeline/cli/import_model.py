"""`fracture import-model`: register a Keras model from elsewhere."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.files import project_root
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.packaging.keras_import import registering
else:
    registering = late("pipeline.packaging.keras_import.registering")


class Range(StrEnum):
    """Ranges of pixels a model is trained on."""

    unit = "0-1"
    symmetric = "-1-1"
    levels = "0-255"


def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A whole model that Keras saved as .keras or .h5.")],
    *,
    scale: Annotated[
        Range | None,
        typer.Option(
            "--scale", help="Range of pixels that it was trained on; not needed if it begins with a Rescaling layer."
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="A,B,...",
            help="Classes in the order of its columns, by default that of prepared/; one sigmoid column is the "
            "probability of the second.",
        ),
    ] = None,
) -> None:
    """Register a model that was trained elsewhere, measured on the test set of prepared/ like any other.

    The model must take one square grey or RGB image, and give one sigmoid column or one softmax column per class.
    """
    root = project_root()
    own = tuple(name.strip() for name in classes.split(",")) if classes else None
    for line in registering.import_model(file, root, scale.value if scale else None, own):
        print(line)
