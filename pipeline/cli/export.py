"""`fracture export`: the champion as a file for other systems."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.artifacts import Artifacts
from pipeline.cli.package import champion_of
from pipeline.errors import InputError
from pipeline.files import make_folder, project_root
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.data import prepared
    from pipeline.packaging import bundle, conversion
    from pipeline.packaging import export as work
else:
    prepared = late("pipeline.data.prepared")
    bundle = late("pipeline.packaging.bundle")
    conversion = late("pipeline.packaging.conversion")
    work = late("pipeline.packaging.export")


class Kind(StrEnum):
    """Formats of files."""

    keras = "keras"
    h5 = "h5"
    litert = "litert"


class NumberFormat(StrEnum):
    """Formats of a LiteRT file's weights."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def export(
    kind: Annotated[Kind, typer.Option("--format", help="keras: Keras 3; h5: its older format; litert: a .tflite.")],
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
) -> None:
    """Write a registered model to one file, after checking that its answers have not changed."""
    if number_format and kind is not Kind.litert:
        raise InputError(f"--number-format {number_format}: is for --format litert; leave it out for {kind}")

    suffix = work.SUFFIXES[kind.value]
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
        done = work.export(found, data, kind.value, target, formats)
    print(f"{target}: {name}, weights as {done.number_format}")
    print(
        f"compared with the registered model on {done.images} validation images: largest difference of a probability "
        f"{done.max_difference:.2g} (at most {conversion.MAX_DIFFERENCE}), of AUROC {done.auroc_difference:.2g} "
        f"(at most {conversion.MAX_AUROC_DIFFERENCE})"
    )
    print(work.how_to_calibrate(found.decision))
