"""What the commands that use a bundle share: the options that name it and the keys of its page, and opening it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.errors import InputError
from pipeline.files import project_root
from pipeline.late import late
from serving import signature
from serving.errors import one_line

if TYPE_CHECKING:
    from serving import bundle, scope
else:
    bundle = late("serving.bundle")
    scope = late("serving.scope")

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
ScopeFileOption = Annotated[
    Path | None,
    typer.Option(
        "--scope-file",
        metavar="FILE",
        help="JSON list of what a header may name, in the form of a bundle's scope.json; by default the built-in list "
        "for the regions of the training data.",
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


def read_terms(path: Path | None) -> "scope.Terms | None":
    """The list of --scope-file, None without one; InputError."""
    if path is None:
        return None
    try:
        return scope.Terms.parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scope-file {path}: cannot be used ({one_line(error, 200)}); start from the scope.json of a bundle"
        ) from None


def open_bundle(folder: Path | None) -> "bundle.Bundle":
    """The verified bundle in `folder`, by default that of this checkout; BundleError or InputError."""
    return bundle.read(folder or bundle.find_default(project_root()))
