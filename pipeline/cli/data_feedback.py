"""`fracture data feedback` and `fracture data test-set`: data that grow beside a test set that stays."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import params
from pipeline.artifacts import Artifacts
from pipeline.errors import InputError
from pipeline.files import project_root, write_text
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.data import layout, split
    from pipeline.data.sources.feedback import confirmed, pictures, source
else:
    layout = late("pipeline.data.layout")
    split = late("pipeline.data.split")
    confirmed = late("pipeline.data.sources.feedback.confirmed")
    pictures = late("pipeline.data.sources.feedback.pictures")
    source = late("pipeline.data.sources.feedback.source")

_KEY = "FRACTURE_HOLD_BACK_KEY"
_SHORTEST_SECRET = 32


def feedback(
    *,
    store: Annotated[
        str,
        typer.Option("--store", metavar="URL", envvar="FRACTURE_STORE_URL", show_envvar=True, help="The store."),
    ] = "",
    kept: Annotated[
        Path | None,
        typer.Option(
            "--kept",
            metavar="DIR",
            envvar="FRACTURE_KEEP_IMAGES",
            show_envvar=True,
            help="Folder in which the service keeps pictures.",
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", metavar="DIR", help="Folder of files as they were sent, found by their hash."),
    ] = None,
) -> None:
    """Add images whose truth readers or reports confirmed: 30 % of each site's patients to held_back/, others to data/.

    The environment variable FRACTURE_HOLD_BACK_KEY decides which patients; keep it for ever.
    """
    if not store:
        raise InputError("--store: name the database of the service, or set FRACTURE_STORE_URL")
    paths = Artifacts(project_root())
    options = params.load(paths.params)
    if not options.preprocess.test_set:
        raise InputError(
            "params.yaml: preprocess.test_set is empty, so that the test set would change with the data; write a list "
            "of the present one with `fracture data test-set models/test_set.csv`, commit it and name it there"
        )
    target = source.Target(
        data=paths.data,
        held_back=paths.held_back,
        test_set=split.GivenTestSet.read(paths.root / options.preprocess.test_set),
        key=_hold_back_key(),
        correlation=options.validate_.near_duplicate_correlation,
    )
    found = confirmed.read(store, layout.read(paths.data).info.classes)
    wanted = [image.first.image_sha256 or "" for image in found.images]
    outcome = source.add(target, found, pictures.find(kept, images or [], wanted))
    write_text(paths.feedback, source.markdown(outcome))
    for line in source.summary(outcome):
        print(line)
    print(f"the whole list: {paths.feedback}")
    if not outcome.changes:
        print("nothing to add; data/ is as it was")
        return
    for folder in filter(Path.is_dir, (paths.data, paths.held_back)):
        data = layout.read(folder)
        print(f"{folder}: {data.info.title()}, {len(data.labels)} images")
    names = " ".join(folder.name for folder in (paths.data, paths.held_back) if folder.is_dir())
    print(f"next: dvc add {names} && dvc repro")


def _hold_back_key() -> str:
    key = os.environ.get(_KEY, "").strip()
    if len(key) < _SHORTEST_SECRET:
        raise InputError(
            f"{_KEY}: is not set or shorter than {_SHORTEST_SECRET} characters; make one (openssl rand -hex 32) and "
            "keep it: it decides for ever whose images judge"
        )
    return key


def test_set(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV to write; it names images, and no patient.")],
) -> None:
    """List the images of the present test set in a file to commit, for preprocess.test_set in params.yaml."""
    paths = Artifacts(project_root())
    table = layout.read_table(paths.prepared / "split.csv", ["image_id", "part"])
    chosen = table[table["part"] == "test"][["image_id", "part"]].sort_values("image_id")
    text = chosen.to_csv(index=False, lineterminator="\n")
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise InputError(f"{file}: lists another test set, which is meant to stay; name another file")
    write_text(file, text)
    print(f"{file}: {len(chosen)} images; commit it and set preprocess.test_set in params.yaml to it")
