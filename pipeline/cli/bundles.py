"""What the commands that use a bundle share: the option that names it, and opening it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.files import project_root
from pipeline.late import late

if TYPE_CHECKING:
    from serving import bundle
else:
    bundle = late("serving.bundle")

BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        metavar="DIR",
        envvar="FRACTURE_BUNDLE",
        help="Folder of the bundle, or of a release; by default the last one packaged from a model that was trained on "
        "other than sample data, else the release in models/, else the last one packaged.",
    ),
]


def open_bundle(folder: Path | None) -> "bundle.Bundle":
    """The verified bundle in `folder`, by default that of this checkout; BundleError or InputError."""
    return bundle.read(folder or bundle.find_default(project_root()))
