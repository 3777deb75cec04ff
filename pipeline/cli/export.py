"""`fracture export`: a model for other systems: one file, or a page that answers by itself."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from pipeline.artifacts import Artifacts
from pipeline.cli.bundles import BundleOption, TrustedKeyOption, open_bundle, read_trusted
from pipeline.cli.package import champion_of
from pipeline.errors import InputError
from pipeline.files import make_folder, project_root, require_replaceable
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.data import prepared
    from pipeline.packaging import bundle, conversion
    from pipeline.packaging import export as work
    from pipeline.packaging import mobile as apps
    from pipeline.packaging import web as pages
    from serving.bundle import Bundle
else:
    prepared = late("pipeline.data.prepared")
    bundle = late("pipeline.packaging.bundle")
    conversion = late("pipeline.packaging.conversion")
    work = late("pipeline.packaging.export")
    apps = late("pipeline.packaging.mobile")
    pages = late("pipeline.packaging.web")


class Kind(StrEnum):
    """Formats of files."""

    keras = "keras"
    h5 = "h5"
    litert = "litert"
    web = "web"
    mobile = "mobile"


class NumberFormat(StrEnum):
    """Formats of a LiteRT file's weights."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def export(
    kind: Annotated[
        Kind,
        typer.Option(
            "--format",
            help="keras: Keras 3; h5: its older format; litert: a .tflite; web: a folder with a page that answers in a "
            "browser, without a network; mobile: a folder for an app, with golden vectors.",
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="Of --format web or mobile: the folder to write; by default one below build/export/."
        ),
    ] = None,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="By default a file below build/export/.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="models:/NAME@ALIAS or models:/NAME/VERSION; by default the champion.")
    ] = "",
    number_format: Annotated[
        NumberFormat | None,
        typer.Option("--number-format", help="Of LiteRT weights; by default the fastest one that agrees."),
    ] = None,
    bundle_folder: BundleOption = None,
    trusted_key: TrustedKeyOption = None,
) -> None:
    """Write a registered model to one file, or a bundle to a page that answers in a browser, or to an app's folder.

    A file is compared with the registered model first; the others take --bundle, as `fracture serve` does.
    """
    if number_format and kind is not Kind.litert:
        raise InputError(f"--number-format {number_format}: is for --format litert; leave it out for {kind}")
    if trusted_key and kind is not Kind.web:
        raise InputError(f"--trusted-key {trusted_key[0]}: is for --format web; leave it out for {kind}")
    if kind in {Kind.web, Kind.mobile}:
        if model:
            raise InputError(f"--model {model}: a page is made of a bundle; run `fracture package --model {model}`")
        if kind is Kind.web:
            _page(folder, output, bundle_folder, trusted_key)
        else:
            _app(folder, output, bundle_folder)
        return
    if folder is not None:
        raise InputError(
            f"{folder}: a folder is for --format web or mobile; name a file with --output for --format {kind}"
        )

    form = cast("work.Format", kind.value)
    suffix = work.SUFFIXES[form]
    if output is not None and (output.is_dir() or output.suffix.lower() != suffix):
        raise InputError(f"--output {output}: name a file that ends in {suffix}, as those of --format {kind} do")
    if output is not None:
        make_folder(output.parent)
    root = project_root()
    paths = Artifacts(root)
    data = prepared.load(paths.prepared)
    with bundle.fetched(model or champion_of(root)) as found:
        name = f"{found.version.name}-{found.version.version}"
        target = output or paths.exports / f"{name}{suffix}"
        formats = [number_format.value] if number_format else conversion.FORMATS
        done = work.export(found, data, form, target, formats)
    print(f"{target}: {name}, weights as {done.number_format}")
    print(
        f"compared with the registered model on {done.images} validation images: largest difference of a probability "
        f"{done.max_difference:.2g} (at most {conversion.MAX_DIFFERENCE}), of AUROC {done.auroc_difference:.2g} "
        f"(at most {conversion.MAX_AUROC_DIFFERENCE})"
    )
    print(work.how_to_calibrate(found.decision))


def _page(folder: Path | None, output: Path | None, bundle_folder: Path | None, trusted_key: list[Path] | None) -> None:
    """Write the page into `folder`, by default below build/export/."""
    keys = read_trusted(trusted_key)
    opened, target = _from_bundle(Kind.web, folder, output, bundle_folder)
    pages.check_supported(opened)
    done = pages.write_page(opened, pages.install_runtime(project_root() / pages.RUNTIMES), target, keys)
    manifest = opened.manifest
    print(f"{target}: {manifest.name} version {manifest.version}, release {done.version}, {done.files} files")
    print(f"weights as {done.weights}")
    print(f"a first visit transfers {done.transferred / 1e6:.1f} MB; serve the folder with any web server, over https")
    if keys:
        print(f"it answers once it is signed: fracture sign {target} --key KEY.pem (docs/signing.md)")


def _app(folder: Path | None, output: Path | None, bundle_folder: Path | None) -> None:
    """Write what an app needs into `folder`, by default below build/export/."""
    opened, target = _from_bundle(Kind.mobile, folder, output, bundle_folder)
    done = apps.write_app(opened, target)
    manifest = opened.manifest
    print(f"{target}: {manifest.name} version {manifest.version}, {done.bytes / 1e6:.1f} MB")
    print(f"{done.vectors} golden vectors to check a port with; see docs/mobile.md")


def _from_bundle(
    kind: Kind, folder: Path | None, output: Path | None, bundle_folder: Path | None
) -> tuple["Bundle", Path]:
    """The bundle and the folder to write, which is new, empty, or was written by this command."""
    if output is not None:
        raise InputError(f"--output {output}: is for a file; name the folder: fracture export --format {kind} DIR")
    target = folder or Artifacts(project_root()).exports / kind
    if kind is Kind.web:
        require_replaceable(target, "sw.js", "a page", pages.NAMES)
    else:
        require_replaceable(target, apps.SCRIPT, "an app's folder", apps.NAMES)
    opened = open_bundle(bundle_folder)
    make_folder(target.parent)
    return opened, target
