"""`fracture package`: the champion, or a bundle, to a bento."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import params
from pipeline.artifacts import Artifacts
from pipeline.errors import InputError
from pipeline.files import make_folder, project_root
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.data import prepared
    from pipeline.packaging import bento as bentos
    from pipeline.packaging import bundle as bundles
    from serving import bundle
else:
    prepared = late("pipeline.data.prepared")
    bentos = late("pipeline.packaging.bento")
    bundles = late("pipeline.packaging.bundle")
    bundle = late("serving.bundle")


@dataclass(frozen=True)
class Packaged:
    """What was made of a model."""

    manifest: "bundle.Manifest"
    folder: Path  # of the bundle
    bento: Path
    tag: str  # of the bento


def package(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="models:/NAME@ALIAS, models:/NAME/VERSION, or the folder of a bundle; by default the champion.",
        ),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder for bundle/ and bento/; by default both below build/.")
    ] = None,
) -> None:
    """Make the bundle and the bento of a registered model, by default of the champion."""
    if output is not None:
        make_folder(output)
    root = project_root()
    made = make(root, model or champion_of(root), output)
    print(f"{made.manifest.name} version {made.manifest.version}, weights as {made.manifest.number_format}")
    print(f"bundle: {made.folder}")
    print(f"bento:  {made.bento} ({made.tag})")
    print(f"serve it: fracture serve --bundle {made.folder}   or   bentoml serve {made.bento}")


def champion_of(root: Path) -> str:
    """Where the champion of the model that params.yaml names is registered; InputError for a bad params.yaml."""
    return f"models:/{params.load(root / 'params.yaml').register_.model_name}@champion"


def require_model(model: str) -> None:
    """Raise InputError unless `model` is a model's address or the folder of a bundle."""
    if model.startswith("models:/"):
        return
    if not (Path(model) / bundle.MANIFEST).is_file():
        raise InputError(
            f"--model {model}: is no bundle's folder; write models:/NAME@ALIAS, models:/NAME/VERSION or such a folder"
        )


def make(root: Path, model: str, output: Path | None) -> Packaged:
    """Bundle and bento of a model, below `output` or build/; InputError, BundleError."""
    require_model(model)
    paths = Artifacts(root)
    if model.startswith("models:/"):
        with bundles.fetched(model) as found:
            name = f"{found.version.name}-{found.version.version}"
            folder = output / "bundle" if output else paths.bundles / name
            manifest = bundles.write_bundle(found, prepared.load(paths.prepared), folder)
    else:
        folder = Path(model)
        manifest = bundle.read(folder).manifest
        name = f"{manifest.name}-{manifest.version}"
    bento = output / "bento" if output else paths.bentos / name
    return Packaged(manifest, folder, bento, bentos.build_bento(root, folder, bento))
