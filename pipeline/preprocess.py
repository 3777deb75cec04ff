"""Stage preprocess: radiographs to letterboxed uint8 arrays, and who is in which part."""

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import pandas as pd

from pipeline import params
from pipeline.artifacts import Artifacts, DatasetRecord, PreparedRecord
from pipeline.data import layout, pixel_cache
from pipeline.data.layout import Dataset
from pipeline.data.pixel_cache import PixelCache
from pipeline.data.prepared import NOT_SLICES
from pipeline.data.split import PARTS, split
from pipeline.errors import InputError, exit_with_line
from pipeline.files import atomic_folder, write_text
from pipeline.params import PreprocessParams
from pipeline.progress import progress_bar
from serving.errors import ImageError
from serving.imaging import decode
from serving.imaging.canvas import Letterbox, Pixels, Preprocessing

_CHUNK = 32


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


def prepare_file(
    path: Path, preprocessing: Preprocessing, sha256: str = "", cache: PixelCache | None = None
) -> tuple[Pixels, Letterbox]:
    """One image file as the model will see it; InputError names a file that cannot be decoded any more.

    What validate kept of the file with this sha256 is taken from `cache`.
    """
    kept = cache.find(sha256) if cache else None
    if kept:
        return kept
    try:
        pixels, box, _ = decode.prepare(path.read_bytes(), preprocessing)
    except (ImageError, FileNotFoundError) as error:
        raise InputError(f"{path}: changed since validation ({error}); run `dvc repro` again") from None
    return pixels, box


def prepare_files(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    hashes: Sequence[str] | None = None,
    cache: PixelCache | None = None,
) -> Iterator[tuple[Pixels, Letterbox]]:
    """Prepare files on all cores, in order; only a few chunks are in memory at a time.

    `hashes` are their sha256 in the table of validate.
    """
    cv2.setNumThreads(1)  # the files are spread over the cores, not each image's rows
    named = list(zip(paths, hashes or itertools.repeat(""), strict=False))
    chunks = [named[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    cores = len(os.sched_getaffinity(0))

    def prepare_chunk(chunk: Sequence[tuple[Path, str]]) -> list[tuple[Pixels, Letterbox]]:
        return [prepare_file(path, preprocessing, sha256, cache) for path, sha256 in chunk]

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
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    target: Path,
    hashes: Sequence[str] | None = None,
    cache: PixelCache | None = None,
) -> list[Letterbox]:
    """Write images.npy, uint8 (n, size, size), row after row, and return where each image lies on its canvas.

    Plain writes instead of a memory map: pages of a map stay in the process's resident memory.
    """
    shape = (len(paths), preprocessing.image_size, preprocessing.image_size)
    boxes = []
    with target.open("wb") as file, progress_bar("preprocess: preparing images", len(paths)) as advance:
        _write_header(file, shape)
        for pixels, box in prepare_files(paths, preprocessing, hashes, cache):
            file.write(pixels.data)
            boxes.append(box)
            if len(boxes) % _CHUNK == 0 or len(boxes) == len(paths):
                advance(len(boxes) % _CHUNK or _CHUNK)
    return boxes


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def split_table(table: pd.DataFrame, parts: pd.Series, places: list[Letterbox], classes: Sequence[str]) -> pd.DataFrame:
    """The content of split.csv: label, part, group and place on the canvas, and every column that is a slice."""
    numbers = {name: number for number, name in enumerate(classes)}
    result = pd.DataFrame({"index": range(len(table)), "image_id": table["image_id"], "label": table["label"]})
    result["class"] = table["label"].map(numbers)
    result["part"] = parts
    for column in ("group", "patient_id", "region", "view", "hardware", "laterality", "source"):
        result[column] = table[column] if column in table.columns else ""
    for column in _further_columns(table):
        result[column] = table[column]
    result["truncated"] = table["decoded"] == "truncated" if "decoded" in table.columns else False
    for name in ("left", "top", "width", "height"):
        result[name] = [getattr(place, name) for place in places]
    return result


def _further_columns(table: pd.DataFrame) -> list[str]:
    """The source's own columns: those that stand before `listed`, the first one that validate added."""
    own = list(table.columns[: list(table.columns).index("listed")]) if "listed" in table.columns else []
    return [column for column in own if column not in {*layout.LABEL_COLUMNS, *NOT_SLICES}]


def canvas_boxes(data: Dataset, table: pd.DataFrame) -> pd.DataFrame:
    """Boxes of the images of split.csv as fractions of the canvas (columns: index, image_id, x0, y0, x1, y1, label)."""
    rows: list[dict[str, Any]] = []
    places = table[["index", "image_id", "left", "top", "width", "height"]]
    for box in places.merge(data.boxes, on="image_id").itertuples(index=False, name="Box"):
        place = Letterbox.of_square(box.left, box.top, box.width, box.height)
        (x0, y0), (x1, y1) = place.to_canvas(box.x0, box.y0), place.to_canvas(box.x1, box.y1)
        corners = {"x0": round(x0, 5), "y0": round(y0, 5), "x1": round(x1, 5), "y1": round(y1, 5)}
        rows.append({"index": box.index, "image_id": box.image_id, **corners, "label": box.label})
    return pd.DataFrame(rows, columns=["index", "image_id", "x0", "y0", "x1", "y1", "label"])


def content_hash(table: pd.DataFrame, columns: Sequence[str]) -> str:
    """Hex sha256 over the given cells of all rows, whatever their order."""
    lines = sorted("\0".join(cells) for cells in table[list(columns)].astype(str).itertuples(index=False, name=None))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def preprocess(
    data: Dataset, table: pd.DataFrame, options: PreprocessParams, folder: Path, cache: Path | None = None
) -> pd.DataFrame:
    """Write the whole of prepared/ into `folder`, with pixels from the folder `cache` if given; its split table."""
    preprocessing = Preprocessing.from_dict(options.model_dump())
    parts = split(table, options)
    paths = [data.folder / file for file in table["file"]]
    with pixel_cache.opened(preprocessing, cache) as kept:
        places = write_images(paths, preprocessing, folder / "images.npy", list(table["sha256"]), kept)
    result = split_table(table, parts, places, data.info.classes)
    hashed = result.assign(sha256=table["sha256"])
    write_text(folder / "split.csv", result.to_csv(index=False, lineterminator="\n"))
    write_text(folder / "boxes.csv", canvas_boxes(data, result).to_csv(index=False, lineterminator="\n"))
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
    )
    record.write(folder / "prepared.json")
    return result


def main() -> None:
    """Read data/ and reports/images.csv, write prepared/."""
    paths = Artifacts()
    options = params.load(paths.params).preprocess
    data = layout.read(paths.data)
    table = read_image_table(paths.images)
    check_image_table(paths.images, table, data)
    with atomic_folder(paths.prepared) as folder:
        result = preprocess(data, table, options, folder, paths.pixel_cache)
    for part in PARTS:
        chosen = result[result["part"] == part]
        counts = ", ".join(f"{count} {label}" for label, count in chosen["label"].value_counts().items())
        print(f"{part}: {len(chosen)} images in {chosen['group'].nunique()} groups ({counts})")


if __name__ == "__main__":
    exit_with_line(main)
