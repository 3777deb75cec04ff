"""The folder prepared/: what preprocess leaves for train and evaluate.

prepared/images.npy     uint8 (n, size, size), memory-mapped; or shards and images.json (`image_shards`)
prepared/split.csv      one row per image: index, image_id, label, class, part, group, box on the canvas, ...
prepared/boxes.csv      fracture boxes as fractions of the canvas
prepared/prepared.json  classes, preprocessing, hashes of data, split and test set
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.artifacts import DatasetRecord, PreparedRecord
from pipeline.data import image_shards
from pipeline.data.image_shards import ImageRows, ImageShards
from pipeline.errors import InputError
from serving.imaging.canvas import Letterbox, Preprocessing

# Names in a paragraph, which the formatter would write one a line.
NOT_SLICES = frozenset({
    "index", "image_id", "label", "class", "part", "fold", "group", "patient_id", "study_id", "note", "left", "top",
    "width", "height", "truncated", "laterality", "shown_x0", "shown_y0", "shown_x1", "shown_y1", "quarters",
    "inverted", "given_part",
})  # fmt: skip
"""Columns of split.csv that describe the file or the split; every other one is a slice of the evaluation."""
_NUMBERS = ("index", "class", "left", "top", "width", "height")
_TEXTS = ("image_id", "label", "part", "group")
_CORNERS = ("index", "x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Prepared:
    """The prepared data set; `images` are uint8 (n, size, size), by row."""

    images: ImageRows
    table: pd.DataFrame
    boxes: pd.DataFrame
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    data_hash: str
    split_hash: str
    test_hash: str
    dataset: DatasetRecord

    def rows(self, part: str) -> npt.NDArray[np.int64]:
        """Indices of the images of one part, ascending; int64."""
        return np.asarray(np.flatnonzero((self.table["part"] == part).to_numpy()), np.int64)

    def labels(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Class numbers of the given images, 0 = normal; int64."""
        return np.asarray(self.table["class"].to_numpy(np.int64)[rows], np.int64)

    def place_of(self, row: int) -> Letterbox:
        """Where an image lies on its canvas."""
        left, top, width, height = (int(self.table[name].iloc[row]) for name in ("left", "top", "width", "height"))
        return Letterbox.of_square(left, top, width, height)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Where all images lie on their canvas: left, top, width, height in pixels; int64 (n, 4)."""
        return np.asarray(self.table[["left", "top", "width", "height"]], np.int64)

    def boxes_of(self, row: int) -> npt.NDArray[np.float64]:
        """Fracture boxes (x0, y0, x1, y1) of one image as fractions of the canvas; float64 (k, 4)."""
        chosen = self.boxes[self.boxes["index"] == row]
        return np.asarray(chosen[["x0", "y0", "x1", "y1"]], np.float64)


def load(folder: Path) -> Prepared:
    """Open prepared/; InputError names the file that is missing or does not fit the others."""
    record = PreparedRecord.read(folder / "prepared.json")
    try:
        images = _images(folder)
        text = pd.read_csv(folder / "split.csv", keep_default_na=False, dtype=str)
        table = text.astype(dict.fromkeys(_NUMBERS, int))
        boxes = pd.read_csv(folder / "boxes.csv", keep_default_na=False)
    except (FileNotFoundError, KeyError, EOFError, ValueError) as error:
        raise InputError(f"{folder}: {error}; make it again with `dvc repro preprocess`") from None
    fault = _fault(images, table, boxes, record)
    if fault:
        raise InputError(f"{folder}: {fault}; make it again with `dvc repro -f preprocess`")
    return Prepared(
        images=images,
        table=table,
        boxes=boxes,
        classes=record.classes,
        preprocessing=Preprocessing.from_dict(record.preprocessing),
        data_hash=record.data_hash,
        split_hash=record.split_hash,
        test_hash=record.test_hash,
        dataset=record.dataset,
    )


def _images(folder: Path) -> ImageRows:
    if (folder / image_shards.INDEX).is_file():
        return ImageShards.open(folder)
    images: npt.NDArray[np.uint8] = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    return images


def _fault(images: ImageRows, table: pd.DataFrame, boxes: pd.DataFrame, record: PreparedRecord) -> str:
    """What does not fit together in the files of prepared/; empty when all does."""
    size = record.preprocessing.get("image_size")
    if images.shape != (len(table), size, size):
        name = image_shards.INDEX if isinstance(images, ImageShards) else "images.npy"
        return f"{name} has the shape {images.shape}, but split.csv {len(table)} rows and prepared.json {size} px"
    for name, columns, found in (("split.csv", _TEXTS, table.columns), ("boxes.csv", _CORNERS, boxes.columns)):
        missing = [column for column in columns if column not in found]
        if missing:
            return f"{name} lacks the column {', '.join(missing)}"
    if not table["class"].between(0, len(record.classes) - 1).all():
        return f"split.csv has a class number that is none of 0 to {len(record.classes) - 1}"
    missing = sorted({"train", "validation", "test"} - set(table["part"]))
    return f"split.csv has no image in the part {', '.join(missing)}" if missing else ""


def slices_of(table: pd.DataFrame, limit: int = 20) -> list[str]:
    """Columns of split.csv worth evaluating apart: 2 to `limit` different values, none of NOT_SLICES.

    Columns named `fracture...` describe the answer, not the image, and are no slices.
    """
    candidates = [c for c in table.columns if c not in NOT_SLICES and not c.startswith("fracture")]
    return [column for column in candidates if 2 <= table[column].nunique() <= limit]
