"""`fracture data`: fill data/ from one of the sources."""

import re
import subprocess
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import data_feedback
from pipeline.cli.bundles import ScopeOption
from pipeline.errors import InputError
from pipeline.files import make_folder, project_root, write_json
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.data import croissant as metadata
    from pipeline.data import layout
    from pipeline.data.sources import dicom as objects
    from pipeline.data.sources import folder as own
    from pipeline.data.sources import fracatlas as published
    from pipeline.data.sources import synthetic
else:
    layout = late("pipeline.data.layout")
    metadata = late("pipeline.data.croissant")
    objects = late("pipeline.data.sources.dicom")
    own = late("pipeline.data.sources.folder")
    published = late("pipeline.data.sources.fracatlas")
    synthetic = late("pipeline.data.sources.synthetic")

app = typer.Typer(
    help="Fill data/ with radiographs: a synthetic sample, FracAtlas, or images and DICOM objects of your own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(data_feedback.feedback)
app.command("test-set")(data_feedback.test_set)

SAMPLE_REMARK = (
    "on another machine the sample's hash may differ: its arithmetic can round to a neighbouring grey level there"
)


class SampleClasses(StrEnum):
    """What the sample's labels distinguish."""

    binary = "binary"
    types = "types"


Force = Annotated[bool, typer.Option("--force", help="Replace what data/ holds, even another data set.")]


@app.command()
def sample(
    count: Annotated[int, typer.Option(help="Number of images.", min=1)] = 400,
    seed: Annotated[int, typer.Option(help="Seed of the drawing; the same seed gives the same images.")] = 7,
    classes: Annotated[
        SampleClasses, typer.Option(help="binary: normal and fractured; types: normal and the types of fracture.")
    ] = SampleClasses.binary,
    force: Force = False,
) -> None:
    """Draw a synthetic sample, to try everything out without any download."""
    _fill(
        lambda folder: synthetic.fill(folder, count=count, seed=seed, classes=classes.value, force=force), SAMPLE_REMARK
    )


@app.command()
def fracatlas(
    archive: Annotated[
        Path | None, typer.Option(help="The published FracAtlas.zip; without it the archive is downloaded.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of the article's listing to download from, instead of figshare's.")
    ] = None,
    force: Force = False,
) -> None:
    """Read FracAtlas: 4,083 radiographs of hands, legs, hips and shoulders (CC BY 4.0)."""
    _fill(lambda folder: published.fill(folder, archive, url, force))


@app.command()
def folder(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with one subfolder of images for each class.")
    ],
    *,
    normal: Annotated[
        str | None, typer.Option(metavar="NAME", help="Class folder of the normal images, if its name does not say so.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV with a column file and any of patient_id, study_id, region, view, hardware; "
            "further columns become slices of the evaluation.",
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV with file, x0, y0, x1, y1 (fractions or pixels of the upright image), label."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Name of the data set; by default that of the folder. Do not name a patient."
        ),
    ] = None,
    keep_split: Annotated[
        bool, typer.Option("--keep-split", help="Keep the split of a folder laid out as train/, val/ and test/.")
    ] = False,
    scope: ScopeOption = "refuse",
    force: Force = False,
) -> None:
    """Read your own images: neutral ids, identifying metadata removed, names kept in private/ only."""
    private = project_root() / "private"

    def write(target: Path) -> "layout.DatasetInfo":
        return own.fill(
            target,
            directory,
            normal=normal,
            table=table,
            boxes=boxes,
            name=name,
            keep_split=keep_split,
            force=force,
            scope=scope,
            private_dir=private,
        )

    _fill(write)
    typer.echo(
        f"{private.name}/ leads back from the new ids to your files and patients. Only you can read it; do not share it"
    )


@app.command()
def dicom(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Folder, DICOMDIR, ZIP archive, or http(s) address of a DICOMweb service."
        ),
    ],
    *,
    labels: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="CSV with sop_instance_uid or study_instance_uid, label, and any of region, view, hardware; "
            "further columns become slices of the evaluation.",
        ),
    ],
    normal: Annotated[
        str | None, typer.Option(metavar="NAME", help="Label of the normal images, if its name does not say so.")
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV with sop_instance_uid, x0, y0, x1, y1 (fractions or pixels), label."),
    ] = None,
    reviewed: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="SOP Instance UIDs, one a line, of images whose burned-in text identifies nobody."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Name of the data set; by default that of the source. Do not name a patient."
        ),
    ] = None,
    scope: ScopeOption = "refuse",
    force: Force = False,
) -> None:
    """Read DICOM objects: de-identified by PS3.15, grouped by patient and study, pseudonyms under a key."""
    private = project_root() / "private"

    def write(target: Path) -> "layout.DatasetInfo":
        return objects.fill(
            target,
            source,
            labels=labels,
            boxes=boxes,
            normal=normal,
            reviewed=reviewed,
            name=name,
            force=force,
            scope=scope,
            private_dir=private,
        )

    _fill(write)
    typer.echo(f"{private.name}/ leads back from the new ids to objects and patients; do not share it")


@app.command()
def croissant(
    *,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="File to write; paths in it are relative to its folder.")
    ] = Path("croissant.json"),
    url: Annotated[str, typer.Option("--url", help="Address of the data set's page; by default its source's.")] = "",
    published: Annotated[
        str, typer.Option("--published", metavar="DATE", help="When it was published: YYYY-MM-DD, or the year.")
    ] = "",
    creator: Annotated[str, typer.Option("--creator", metavar="NAME", help="Who made it.")] = "",
) -> None:
    """Describe data/ in the Croissant format, which data set search and loaders of other frameworks read."""
    if published and not re.fullmatch(r"[0-9]{4}(-[0-9]{2}-[0-9]{2})?", published):
        raise InputError(f"--published {published}: write YYYY-MM-DD, or the year")
    data = layout.read(project_root() / "data")
    make_folder(output.parent)
    write_json(output, metadata.describe(data, output.parent, metadata.Publication(url, published, creator)))
    typer.echo(f"{output}: {data.info.title()}, {len(data.labels)} images")


def _fill(write: Callable[[Path], "layout.DatasetInfo"], remark: str = "") -> None:
    """Fill data/, update data.dvc and report both."""
    root = project_root()
    info = write(root / "data")
    _summarise(root / "data", info)
    _track(root, remark)
    typer.echo("next: dvc repro")


def _summarise(folder: Path, info: "layout.DatasetInfo") -> None:
    data = layout.read(folder)
    counts = data.labels["label"].value_counts()
    classes = ", ".join(f"{counts.get(name, 0)} {name}" for name in info.classes)
    typer.echo(f"{folder}: {info.name} {info.version}, {len(data.labels)} images ({classes}), {len(data.boxes)} boxes")


def _track(root: Path, remark: str) -> None:
    """Run `dvc add data` and report how data.dvc changed, or that the project has no DVC."""
    if not (root / ".dvc").is_dir():
        typer.echo("this checkout has no .dvc folder, so data/ is not tracked; to track it, run `dvc init`")
        return
    before = tracked_md5(root / "data.dvc")
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", "data", "-q"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise InputError(f"data/ is filled, but `dvc add data` failed ({reason}); mend that and run `dvc add data`")
    after = tracked_md5(root / "data.dvc")
    if before == after:
        typer.echo(f"data.dvc is as it was (md5 {after})")
        return
    typer.echo(f"data.dvc changed: md5 {before} -> {after}" if before else f"data.dvc is new: md5 {after}")
    if before and remark:
        typer.echo(remark)


def tracked_md5(path: Path) -> str | None:
    """The hash a .dvc file records, None without the file."""
    if not path.is_file():
        return None
    found = re.search(r"\bmd5: *(\S+)", path.read_text(encoding="utf-8"))
    return found[1] if found else None
