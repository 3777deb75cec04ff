"""`fracture package`: the champion, or a bundle, to a bento."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import params
from pipeline.artifacts import Artifacts
from pipeline.cli.bundles import ScopeFileOption, TrustedKeyOption, read_terms, read_trusted
from pipeline.errors import InputError
from pipeline.files import make_folder, project_root, require_replaceable
from pipeline.late import late
from serving.signature import PublicKey

if TYPE_CHECKING:
    from pipeline.data import prepared
    from pipeline.packaging import bento as bentos
    from pipeline.packaging import bundle as bundles
    from pipeline.packaging import web as pages
    from serving import bundle
    from serving.scope import Terms
else:
    prepared = late("pipeline.data.prepared")
    bentos = late("pipeline.packaging.bento")
    bundles = late("pipeline.packaging.bundle")
    pages = late("pipeline.packaging.web")
    bundle = late("serving.bundle")


@dataclass(frozen=True)
class Packaged:
    """What was made of a model."""

    manifest: "bundle.Manifest"
    folder: Path  # of the bundle
    bento: Path
    tag: str  # of the bento


@dataclass(frozen=True)
class Page:
    """The page for devices that a bento shall hold: its runtime's folder, and the keys that it asks for."""

    runtime: Path
    keys: tuple[PublicKey, ...] = ()


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
    offline_page: Annotated[
        bool,
        typer.Option(
            "--offline-page",
            help="Put the page for devices into the bento, whose service offers it at /offline (needs npm).",
        ),
    ] = False,
    trusted_key: TrustedKeyOption = None,
    scope_file: ScopeFileOption = None,
) -> None:
    """Make the bundle and the bento of a registered model, by default of the champion."""
    if trusted_key and not offline_page:
        raise InputError(f"--trusted-key {trusted_key[0]}: is for the page of --offline-page; give that too")
    terms = read_terms(scope_file)
    if terms and model and not model.startswith("models:/"):
        raise InputError(f"--scope-file {scope_file}: --model {model} is a bundle, which carries its list already")
    if output is not None:
        make_folder(output)
        require_replaceable(output / "bundle", bundle.MANIFEST, "a bundle")
        require_replaceable(output / "bento", "bento.yaml", "a bento")
    root = project_root()
    keys = read_trusted(trusted_key)
    runtime = pages.install_runtime(root / pages.RUNTIMES) if offline_page else None  # before the work of minutes
    made = make(root, model or champion_of(root), output, Page(runtime, keys) if runtime else None, terms)
    print(f"{made.manifest.name} version {made.manifest.version}, weights as {made.manifest.number_format}")
    print(f"bundle: {made.folder}")
    print(f"bento:  {made.bento} ({made.tag})")
    if offline_page:
        print("the page for devices is in the bento; its service offers it at /offline")
    if keys:
        print(f"the page answers once it is signed: fracture sign {made.bento} --key KEY.pem (docs/signing.md)")
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


def make(
    root: Path, model: str, output: Path | None, page: Page | None = None, terms: "Terms | None" = None
) -> Packaged:
    """Bundle and bento of a model, with a page for devices or without, below `output` or build/.

    A new bundle carries `terms` as the list of what a header may name. Raises InputError, BundleError.
    """
    require_model(model)
    paths = Artifacts(root)
    if model.startswith("models:/"):
        with bundles.fetched(model) as found:
            name = f"{found.version.name}-{found.version.version}"
            folder = output / "bundle" if output else paths.bundles / name
            manifest = bundles.write_bundle(found, prepared.load(paths.prepared), folder, terms=terms)
    else:
        folder = Path(model)
        manifest = bundle.read(folder).manifest
        name = f"{manifest.name}-{manifest.version}"
    bento = output / "bento" if output else paths.bentos / name
    if page is None:
        return Packaged(manifest, folder, bento, bentos.build_bento(root, folder, bento))
    with tempfile.TemporaryDirectory(prefix="fracture-page-") as temporary:
        written = Path(temporary) / "page"
        pages.write_page(bundle.read(folder, unsigned=True), page.runtime, written, page.keys)
        return Packaged(manifest, folder, bento, bentos.build_bento(root, folder, bento, written))
