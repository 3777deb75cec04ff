"""`fracture sign` and `fracture verify`: who made a bundle, release, bento or page, and is it the same."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import InputError
from pipeline.late import late
from serving import signature

if TYPE_CHECKING:
    from pipeline.packaging import signing
else:
    signing = late("pipeline.packaging.signing")

_Folder = Annotated[Path, typer.Argument(metavar="PATH", help="Folder of a bundle, release, bento or exported page.")]


def sign(
    folder: _Folder,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Private key, PEM, outside of the checkout.")],
) -> None:
    """Sign a bundle, release, bento or exported page in the OpenSSF model signing format; PATH.sig is the signature."""
    for done in signing.sign(folder, key):
        print(f"{signature.beside(done.folder)}: {done.files} files signed with the key {done.key.fingerprint[:12]}")


def verify(
    folder: _Folder,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="PUBLIC", help="Trusted public key, PEM; by default FRACTURE_TRUSTED_KEYS."),
    ] = None,
) -> None:
    """Check that a bundle, release, bento or exported page is as it was signed, and with a trusted key."""
    keys = tuple(found for path in key or () for found in signature.read_keys(path, "--key "))
    trusted = keys or signature.trusted_keys()
    if not trusted:
        raise InputError(f"verify: whose signature? name a public key with --key, or set {signature.VARIABLE}")
    done = signing.check(folder, trusted)[-1]
    print(f"{done.folder}: signed with the key {done.key}; all {done.files} files are as they were signed")
