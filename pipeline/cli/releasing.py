"""A registered model as the release that a deployment serves: packaged, with an image of its own."""

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli.package import make
from pipeline.cloud import deployment, image, push
from pipeline.cloud.deployment import Hands, Release
from pipeline.errors import InputError
from pipeline.files import sha256_files
from pipeline.late import late

if TYPE_CHECKING:
    from serving import bundle
else:
    bundle = late("serving.bundle")


def hands(root: Path, model: str, base: str, *, dry: bool = False, builds: bool = True) -> Hands:
    """What a deployment of a model does on this machine; a `dry` one builds nothing.

    InputError where it `builds` an image and no container tool is there.
    """
    tool = push.find_tool() if builds else ""
    return Hands(
        tool=tool,
        prepare=lambda: release(root, model, base),
        build=_unbuilt if dry else lambda bento, address: image.build(bento, address, base, tool),
        push=lambda address, login: push.push(tool, address, login),
        check=lambda endpoint, served, key: deployment.check(endpoint, served, key, typer.echo),
    )


def _unbuilt(bento: Path, address: str) -> str:
    raise AssertionError(f"a dry run builds nothing: {bento}, {address}")


def release(root: Path, model: str, base: str = image.BASE) -> Release:
    """Package a model. Its image gets a tag that is unique to its content and base. InputError, BundleError."""
    made = make(root, model, None)
    opened = bundle.read(made.folder, unsigned=True)
    if not opened.manifest.samples:
        raise InputError(f"{made.folder}: holds no sample radiograph to try the service with; package the model again")
    source = made.bento / "src"
    files = [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    content = sha256_files(source, files)
    if base != image.BASE:
        content = hashlib.sha256(f"{content} on {base}".encode()).hexdigest()
    version = re.sub(r"[^A-Za-z0-9._-]", ".", made.manifest.version)
    return Release(
        bento=made.bento,
        tag=f"{version}-{content[:16]}",
        model=opened.sha256,
        picture=made.folder / opened.manifest.samples[0],
    )
