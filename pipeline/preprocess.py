"""Stage preprocess: radiographs to letterboxed uint8 arrays, and who is in which part.

The images of a set that is too large for one machine are prepared by a Ray cluster, into shards (docs/archive.md):

    python -m pipeline.preprocess --engine ray --address HOST:PORT

FRACTURE_ENGINE, FRACTURE_RAY_ADDRESS and FRACTURE_ACTORS say the same where `dvc repro` runs the stage.
"""

import hashlib
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import pandas as pd

from pipeline import params
from pipeline.artifacts import Artifacts, DatasetRecord, FixedTestSet, PreparedRecord
from pipeline.data import engine, input_heads, layout, pixel_cache
from pipeline.data.engine import ShardWriter
from pipeline.data.layout import Dataset
from pipeline.data.pixel_cache import SHOWN, PixelCache, PreparedFile
from pipeline.data.prepared import NOT_SLICES
from pipeline.data.split import PARTS, GivenTestSet, folds, split
from pipeline.errors import InputError, exit_with_line
from pipeline.files import atomic_folder, write_text
from pipeline.params import PreprocessParams
from pipeline.progress import progress_bar
from serving.errors import ImageError
from serving.imaging import model_input
from serving.imaging.canonical.form import NO_HEADS, Heads
from serving.imaging.canvas import Letterbox, Preprocessing, View

_CHUNK = 32
_WHOLE = (0.0, 0.0, 1.0, 1.0)


def read_image_table(path: Path) -> pd.DataFrame:
    """The usable rows of reports/images.csv, sorted by image_id, every cell text."""
    if not path.is_file():
        raise InputError(f"{path}: not found; `dvc repro validate` writes it")
    table = layout.read_table(path, ["image_id", "file", "label", "group", "excluded", "sha256", "region"])
    return table[table["excluded"] == ""].sort_values("image_id", kind="stable").reset_index(drop=True)


def check_image_table(path: Path, table: pd.DataFrame, data: Dataset) -> None:
    """Refuse a table of images that is not what validate made of this data set."""
    known = data.labels.set_index("image_id")[["file", "label"]]
    found = table.set_index("image_id")[["file", "label"]]
    listed = layout.read_table(path, ["image_id"])["image_id"]
    if not len(table) or not known.index.isin(listed).all() or not found.equals(known.reindex(found.index)):
        raise InputError(
            f"{path}: does not belong to the images and labels of {data.folder}; run `dvc repro -f validate`"
        )


@dataclass(frozen=True)
class Preparation:
    """How files are prepared: the steps with their heads, and what validate kept (`cache`)."""

    preprocessing: Preprocessing
    heads: Heads = NO_HEADS
    cache: PixelCache | None = None

    def prepare(self, path: Path, sha256: str = "") -> PreparedFile:
        """One image file as the model will see it; InputError names a file that cannot be decoded any more.

        What validate kept of the file with this sha256 is taken from the cache.
        """
        kept = self.cache.find(sha256) if self.cache else None
        if kept:
            return kept
        try:
            return PreparedFile.of(model_input.prepare(path.read_bytes(), self.preprocessing, self.heads))
        except (ImageError, FileNotFoundError) as error:
            raise InputError(f"{path}: changed since validation ({error}); run `dvc repro` again") from None


def prepare_files(
    paths: Sequence[Path], preparation: Preparation, hashes: Sequence[str] | None = None
) -> Iterator[PreparedFile]:
    """Prepare files on all cores, in order; only a few chunks are in memory at a time.

    `hashes` are their sha256 in the table of validate.
    """
    cv2.setNumThreads(1)  # the files are spread over the cores, not each image's rows
    named = list(zip(paths, hashes or itertools.repeat(""), strict=False))
    chunks = [named[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    cores = len(os.sched_getaffinity(0))

    def prepare_chunk(chunk: Sequence[tuple[Path, str]]) -> list[PreparedFile]:
        return [preparation.prepare(path, sha256) for path, sha256 in chunk]

    with ThreadPoolExecutor(cores) as pool:
        # A window of chunks bounds the memory: `map` alone would run ahead of a slow disk.
        window = 2 * cores
        waiting = [pool.submit(prepare_chunk, chunk) for chunk in chunks[:window]]
        for position in range(len(chunks)):
            done = waiting.pop(0).result()
            if position + window < len(chunks):
                waiting.append(pool.submit(prepare_chunk, chunks[position + window]))
            yield from done


def write_images(
    paths: Sequence[Path], preparation: Preparation, target: Path, hashes: Sequence[str] | None = None
) -> pd.DataFrame:
    """Write images.npy, uint8 (n, size, size), row after row, and return the place of each (`PreparedFile.place`).

    Plain writes instead of a memory map: pages of a map stay in the process's resident memory.
    """
    size = preparation.preprocessing.image_size
    rows: list[dict[str, Any]] = []
    with target.open("wb") as file, progress_bar("preprocess: preparing images", len(paths)) as advance:
        _write_header(file, (len(paths), size, size))
        for found in prepare_files(paths, preparation, hashes):
            file.write(found.pixels.data)
            rows.append(found.place())
            if len(rows) % _CHUNK == 0 or len(rows) == len(paths):
                advance(len(rows) % _CHUNK or _CHUNK)
    return pd.DataFrame(rows)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def split_table(
    table: pd.DataFrame, parts: pd.Series, places: pd.DataFrame, classes: Sequence[str], canonical: bool = False
) -> pd.DataFrame:
    """The content of split.csv: label, part, group and place on the canvas, and every column that is a slice.

    With `canonical` it also says what became of the picture (`write_images`).
    """
    numbers = {name: number for number, name in enumerate(classes)}
    result = pd.DataFrame({"index": range(len(table)), "image_id": table["image_id"], "label": table["label"]})
    result["class"] = table["label"].map(numbers)
    result["part"] = parts
    for column in ("group", "patient_id", "region", "view", "hardware", "laterality", "source"):
        result[column] = table[column] if column in table.columns else ""
    for column in _further_columns(table):
        result[column] = table[column]
    result["truncated"] = table["decoded"] == "truncated" if "decoded" in table.columns else False
    for name in places.columns if canonical else ("left", "top", "width", "height"):
        result[name] = places[name]
    return result


def _further_columns(table: pd.DataFrame) -> list[str]:
    """The source's own columns: those that stand before `listed`, the first one that validate added."""
    own = list(table.columns[: list(table.columns).index("listed")]) if "listed" in table.columns else []
    return [column for column in own if column not in {*layout.LABEL_COLUMNS, *NOT_SLICES}]


def canvas_boxes(data: Dataset, table: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    """Boxes of the images of split.csv as fractions of the canvas (columns: index, image_id, x0, y0, x1, y1, label).

    `places` are the rows of `write_images`. What was cut off of a box is left out, and so is a box of which nothing
    is left.
    """
    rows: list[dict[str, Any]] = []
    named = pd.concat([table[["index", "image_id"]], places], axis=1)
    for box in named.merge(data.boxes, on="image_id").to_dict("records"):
        view = View(tuple(box[name] for name in SHOWN), box["quarters"])
        x0, y0, x1, y1 = view.box_from_picture((box["x0"], box["y0"], box["x1"], box["y1"]))
        if view.box != _WHOLE:
            x0, y0, x1, y1 = (min(max(corner, 0.0), 1.0) for corner in (x0, y0, x1, y1))
            if x1 <= x0 or y1 <= y0:
                continue
        place = Letterbox.of_square(box["left"], box["top"], box["width"], box["height"])
        (x0, y0), (x1, y1) = place.to_canvas(x0, y0), place.to_canvas(x1, y1)
        corners = {"x0": round(x0, 5), "y0": round(y0, 5), "x1": round(x1, 5), "y1": round(y1, 5)}
        rows.append({"index": box["index"], "image_id": box["image_id"], **corners, "label": box["label"]})
    return pd.DataFrame(rows, columns=["index", "image_id", "x0", "y0", "x1", "y1", "label"])


def content_hash(table: pd.DataFrame, columns: Sequence[str]) -> str:
    """Hex sha256 over the given cells of all rows, whatever their order."""
    lines = sorted("\0".join(cells) for cells in table[list(columns)].astype(str).itertuples(index=False, name=None))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _without_relatives(table: pd.DataFrame, given: GivenTestSet) -> tuple[pd.DataFrame, FixedTestSet]:
    """The table without images that belong to a group of the given test set, and what is recorded of that."""
    left_out = given.left_out(table)
    missing = len(given.image_ids.difference(table["image_id"]))
    if missing == len(given.image_ids):
        raise InputError(f"{given.file}: data/ holds no image of this test set; correct preprocess.test_set")
    fixed = FixedTestSet(file=given.file, sha256=given.sha256, missing=missing, left_out=int(left_out.sum()))
    print(f"test set of {given.file}: {fixed.left_out} of its images' relatives are left out of every part")
    if missing:
        print(f"warning: {missing} of the {len(given.image_ids)} images of that test set are not in data/")
    return table[~left_out].reset_index(drop=True), fixed


def preprocess(
    data: Dataset,
    table: pd.DataFrame,
    options: PreprocessParams,
    folder: Path,
    cache: Path | None = None,
    *,
    elsewhere: ShardWriter | None = None,
) -> pd.DataFrame:
    """Write the whole of prepared/ into `folder`, with pixels from the folder `cache` if given; its split table.

    With `elsewhere` an engine prepares the images. Raises InputError for heads of canonical steps that are missing.
    """
    preprocessing, heads = input_heads.chosen(options)
    given = GivenTestSet.read(Path(options.test_set)) if options.test_set else None
    table, fixed = _without_relatives(table, given) if given else (table, None)
    parts = split(table, options, given)
    if elsewhere:
        places = elsewhere.write(list(table["file"]), preprocessing, folder)
    else:
        engine.require_folder(data)
        files = [data.folder / file for file in table["file"]]
        with pixel_cache.opened(preprocessing, cache) as kept:
            preparation = Preparation(preprocessing, heads, kept)
            places = write_images(files, preparation, folder / "images.npy", list(table["sha256"]))
    result = split_table(table, parts, places, data.info.classes, preprocessing.canonical.any)
    if options.folds:
        result.insert(list(result.columns).index("part") + 1, "fold", folds(table, parts, options))
    hashed = result.assign(sha256=table["sha256"])
    write_text(folder / "split.csv", result.to_csv(index=False, lineterminator="\n"))
    write_text(folder / "boxes.csv", canvas_boxes(data, result, places).to_csv(index=False, lineterminator="\n"))
    info = data.info
    record = PreparedRecord(
        classes=info.classes,
        preprocessing=preprocessing.to_dict(),
        dataset=DatasetRecord(
            name=info.name, version=info.version, source=info.source, licence=info.licence, citation=info.citation
        ),
        data_hash=content_hash(hashed, ["image_id", "label", "sha256"]),
        split_hash=content_hash(hashed, ["sha256", "part"]),
        test_hash=content_hash(hashed[hashed["part"] == "test"], ["sha256", "label"]),
        **({"test_set": fixed} if fixed else {}),
    )
    record.write(folder / "prepared.json")
    return result


def main(arguments: Sequence[str] = ()) -> None:
    """Read data/ and reports/images.csv, write prepared/."""
    chosen = engine.engine_of(arguments, __doc__)
    paths = Artifacts()
    options = params.load(paths.params).preprocess
    data = layout.read(paths.data)
    table = read_image_table(paths.images)
    check_image_table(paths.images, table, data)
    with engine.opened(data, chosen, paths.blocks / "preprocess") as elsewhere:
        with atomic_folder(paths.prepared) as folder:
            result = preprocess(data, table, options, folder, paths.pixel_cache, elsewhere=elsewhere)
        if elsewhere:
            elsewhere.forget()
    for part in PARTS:
        chosen = result[result["part"] == part]
        counts = ", ".join(f"{count} {label}" for label, count in chosen["label"].value_counts().items())
        print(f"{part}: {len(chosen)} images in {chosen['group'].nunique()} groups ({counts})")


if __name__ == "__main__":
    exit_with_line(lambda: main(sys.argv[1:]))
