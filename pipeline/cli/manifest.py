"""`fracture manifest`: list an archive's images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import given_options
from pipeline.errors import InputError
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline import progress
    from pipeline.archive import addresses
    from pipeline.archive import manifest as work
else:
    progress = late("pipeline.progress")
    addresses = late("pipeline.archive.addresses")
    work = late("pipeline.archive.manifest")


def manifest(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="URI...",
            help="Folders, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, or the https://HOST/PATH of DICOMweb.",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The manifest, a Parquet file.")],
    lists: Annotated[
        list[Path] | None,
        typer.Option("--list", metavar="FILE", help="Text file with one path or address a line; may be given again."),
    ] = None,
    inventory: Annotated[
        str,
        typer.Option(
            "--inventory", metavar="FILE", help="The manifest.json of an S3 or Azure inventory; a path or address."
        ),
    ] = "",
    roots: Annotated[
        list[str] | None,
        typer.Option(
            "--root",
            metavar="URI",
            help="What images of a list or inventory must lie below; also names a private host. May be given again.",
        ),
    ] = None,
    modalities: Annotated[
        str, typer.Option("--modalities", metavar="LIST", help="Of DICOMweb: those to list; empty for all.")
    ] = "CR,DX",
) -> None:
    """List an archive's images, each with an id, into one Parquet file for `fracture score`."""
    chosen = tuple(name.strip().upper() for name in modalities.split(",") if name.strip())
    if "--modalities" in given_options(context) and not any(
        addresses.parse(source).scheme in addresses.WEB for source in sources or ()
    ):
        raise InputError(f"--modalities {modalities}: is for DICOMweb, and no https://HOST/PATH is named; leave it out")
    asked = work.Sources(tuple(sources or ()), tuple(lists or ()), inventory, tuple(roots or ()), chosen)
    with progress.progress_bar("manifest: listing images", None) as advance:
        found = work.write(out, asked, advance)
    for reason, count in sorted(found.passed_over.items()):
        print(f"passed over: {count:,} ({reason})")
    print(f"{out}: {found.rows:,} images, {found.size / 1e9:,.1f} GB as far as their sizes are known")
