"""What the commands that use a bundle share: the options that name it and the keys of its page, and opening it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.files import project_root
from pipeline.late import late
from serving import signature

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
ScopeOption = Annotated[
    Literal["refuse", "warn"],
    typer.Option(
        "--scope",
        envvar="FRACTURE_SCOPE",
        show_envvar=True,
        case_sensitive=False,
        help="What to do with images whose header says that the model is not meant for them.",
    ),
]
TrustedKeyOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--trusted-key",
        metavar="PUBLIC",
        help="Of a page: public key, PEM, that has to sign it (`fracture sign`) before it answers; may be repeated.",
    ),
]


def read_trusted(paths: list[Path] | None) -> tuple[signature.PublicKey, ...]:
    """The keys of --trusted-key; SettingsError."""
    return tuple(key for path in paths or () for key in signature.read_keys(path, "--trusted-key "))


def open_bundle(folder: Path | None) -> "bundle.Bundle":
    """The verified bundle in `folder`, by default that of this checkout; BundleError or InputError."""
    return bundle.read(folder or bundle.find_default(project_root()))
