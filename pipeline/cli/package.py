"""`fracture package`: the champion, or a bundle, to a bento."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InputError
from pipeline.workspace import make_folder, project_root
from serving import bundle


def package(
    model: Annotated[
        str,
        typer.Option("--model", help="models:/NAME@ALIAS, models:/NAME/VERSION, or the folder of a bundle."),
    ] = "models:/bone-fracture@champion",
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder for bundle/ and bento/; by default both below build/.")
    ] = None,
) -> None:
    """Make the bundle and the bento of a registered model, by default of the champion."""
    if output is not None:
        make_folder(output)
    if not model.startswith("models:/") and not (Path(model) / bundle.MANIFEST).is_file():
        raise InputError(
            f"--model {model}: is no bundle's folder; write models:/NAME@ALIAS, models:/NAME/VERSION or such a folder"
        )
    from pipeline import packaging, prepared  # noqa: PLC0415  TensorFlow takes seconds

    root = project_root()
    if model.startswith("models:/"):
        with packaging.fetched(model) as found:
            name = f"{found.version.name}-{found.version.version}"
            folder = output / "bundle" if output else root / "build/bundle" / name
            manifest = packaging.write_bundle(found, prepared.load(root / "prepared"), folder)
    else:
        folder = Path(model)
        manifest = bundle.read(folder).manifest
        name = f"{manifest.name}-{manifest.version}"
    bento = output / "bento" if output else root / "build/bento" / name
    tag = packaging.build_bento(root, folder, bento)
    print(f"{manifest.name} version {manifest.version}, weights as {manifest.number_format}")
    print(f"bundle: {folder}")
    print(f"bento:  {bento} ({tag})")
    print(f"serve it: fracture serve --bundle {folder}   or   bentoml serve {bento}")
