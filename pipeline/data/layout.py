"""The canonical `data/` layout: read it, check it, write it.

    data/images/<image_id>.<ext>   the source's pixels, untouched
    data/labels.csv                image_id, file, label, patient_id, region, view, hardware, source, ...
    data/boxes.csv                 image_id, x0, y0, x1, y1 (fractions of the upright image), label, polygon
    data/dataset.json              name, version, licence, citation, source, classes in order, options

A source fills a `Building`; everything downstream starts from `read`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import InputError
from pipeline.files import atomic_folder, locked, write_json, write_text
from serving.errors import one_line

LABEL_COLUMNS = ("image_id", "file", "label", "patient_id", "region", "view", "hardware", "source")
"""Columns every labels.csv has; a source may add more, which become slices of the evaluation."""
BOX_COLUMNS = ("image_id", "x0", "y0", "x1", "y1", "label", "polygon")
GIVEN_PART = "given_part"
"""Column of labels.csv in which a source hands on a split that is to be kept: train, validation or test."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".dcm")

_IMAGE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True)
class DatasetInfo:
    """What dataset.json says. `classes` is ordered, the normal class first."""

    name: str
    version: str
    licence: str
    citation: str
    source: str
    classes: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def identity(self) -> str:
        """What makes two data sets the same one, so that writing it again loses nothing."""
        return json.dumps([self.name, self.version, self.source, self.classes, dict(self.options)], sort_keys=True)

    def title(self) -> str:
        """A short name for messages."""
        return f"{self.name} {self.version} ({', '.join(self.classes)})"


@dataclass(frozen=True)
class Dataset:
    """A data set on disk; every cell of the tables is text, as in the files (boxes' corners are float64)."""

    folder: Path
    info: DatasetInfo
    labels: pd.DataFrame
    boxes: pd.DataFrame

    def image_files(self) -> list[Path]:
        """Every file under images/, sorted."""
        images = self.folder / "images"
        return sorted(path for path in images.rglob("*") if path.is_file()) if images.is_dir() else []


def read_table(path: Path, required: Iterable[str], separator: str = ",") -> pd.DataFrame:
    """Read a UTF-8 CSV (a byte-order mark is allowed) as a table of text without missing values.

    Raises InputError naming the file when it is absent, not UTF-8, not a table, or lacks a column.
    """
    try:
        read = partial(pd.read_csv, path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        table: pd.DataFrame = read(index_col=False)
        header = read(header=None, nrows=1)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; fill the folder with `fracture data ...`") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 (byte {error.start}); save it with UTF-8 encoding, for example "
            f"`iconv -f latin1 -t utf-8`"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: is not a comma-separated table ({one_line(error)}); mend or replace it") from None
    names = [str(name).strip() for name in header.iloc[0]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path}: column {', '.join(twice)} stands in the header more than once; keep one")
    missing = [column for column in required if column not in table.columns]
    if missing:
        raise InputError(
            f"{path}: column {', '.join(missing)} is missing (found: {', '.join(table.columns)}); add it to the header"
        )
    return pd.DataFrame({column: table[column].str.strip() for column in table.columns})


def read(folder: Path) -> Dataset:
    """Read a data folder and check that its tables hold together.

    Raises InputError naming file and row for a missing or broken file, a duplicate or unusable image_id, a
    file name that leaves the images folder, or a box outside the image. What the images and labels are worth
    is the business of the validate stage, not of this function.
    """
    info = _read_info(folder / "dataset.json")
    labels = read_table(folder / "labels.csv", LABEL_COLUMNS)
    _check_labels(folder / "labels.csv", labels)
    boxes_path = folder / "boxes.csv"
    boxes = read_table(boxes_path, BOX_COLUMNS[:6]) if boxes_path.is_file() else pd.DataFrame(columns=list(BOX_COLUMNS))
    if "polygon" not in boxes.columns:
        boxes["polygon"] = ""
    return Dataset(folder, info, labels, _check_boxes(boxes_path, boxes, set(labels["image_id"])))


def _read_info(path: Path) -> DatasetInfo:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; fill the folder with `fracture data sample` or another source") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: is not valid JSON ({error}); write the data again with `fracture data ...`"
        ) from None
    keys = {"name", "version", "licence", "citation", "source", "classes"}
    if not isinstance(raw, dict) or not keys <= raw.keys():
        missing = sorted(keys - raw.keys()) if isinstance(raw, dict) else sorted(keys)
        raise InputError(f"{path}: key {', '.join(missing)} is missing; add it or run `fracture data ...` again")
    classes = raw["classes"]
    if not isinstance(classes, list) or len(set(map(str, classes))) < 2 or len(set(map(str, classes))) != len(classes):
        raise InputError(f"{path}: classes must be a list of at least two different names, the normal class first")
    return DatasetInfo(
        name=str(raw["name"]),
        version=str(raw["version"]),
        licence=str(raw["licence"]),
        citation=str(raw["citation"]),
        source=str(raw["source"]),
        classes=tuple(map(str, classes)),
        options=raw.get("options", {}),
    )


def _check_labels(path: Path, labels: pd.DataFrame) -> None:
    for column in ("image_id", "file"):
        repeated = labels[labels[column].duplicated(keep=False) & (labels[column] != "")]
        if len(repeated):
            rows = ", ".join(str(row + 2) for row in repeated.index[:5])
            raise InputError(f"{path}: {column} {repeated[column].iloc[0]!r} stands in several rows ({rows}); keep one")
    for row, (image_id, file) in enumerate(zip(labels["image_id"], labels["file"], strict=True), start=2):
        if not _IMAGE_ID.fullmatch(image_id):
            raise InputError(f"{path}: row {row}: image_id {image_id!r} may hold only letters, digits, - and _")
        if not file.startswith("images/") or ".." in file.split("/") or "\\" in file:
            raise InputError(f"{path}: row {row}: file {file!r} must lie in images/")


def _check_boxes(path: Path, boxes: pd.DataFrame, known: set[str]) -> pd.DataFrame:
    boxes = boxes.copy()
    corners = ["x0", "y0", "x1", "y1"]
    for column in corners:
        numbers = pd.to_numeric(boxes[column], errors="coerce")
        if numbers.isna().any():
            row = int(numbers.index[numbers.isna()][0])
            raise InputError(f"{path}: row {row + 2}: {column} {boxes[column][row]!r} is not a number")
        boxes[column] = numbers.astype("float64")
    wrong = (
        (boxes[corners] < 0).any(axis=1)
        | (boxes[corners] > 1).any(axis=1)
        | (boxes["x0"] >= boxes["x1"])
        | (boxes["y0"] >= boxes["y1"])
    )
    if wrong.any():
        row = int(boxes.index[wrong][0])
        raise InputError(f"{path}: row {row + 2}: a box needs 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
    strange = [image_id for image_id in boxes["image_id"] if image_id not in known]
    if strange:
        raise InputError(f"{path}: image_id {strange[0]!r} is not in labels.csv; remove the row or add the image")
    return boxes


class Building:
    """A data set being written aside; `add` one image at a time, then the block of `rebuild` swaps it in."""

    def __init__(self, folder: Path, info: DatasetInfo) -> None:
        self.folder = folder
        self.info = info
        self._rows: list[dict[str, str]] = []
        self._boxes: list[dict[str, str]] = []
        (folder / "images").mkdir()

    def add(
        self,
        image_id: str,
        suffix: str,
        content: bytes,
        label: str,
        *,
        boxes: Iterable[tuple[float, float, float, float, str]] = (),
        polygons: Iterable[str] = (),
        **columns: str,
    ) -> None:
        """Write one image's bytes and remember its rows.

        `suffix` is one of IMAGE_SUFFIXES. A box is (x0, y0, x1, y1, label), fractions of the upright image in
        [0, 1]; `polygons`, when given, has one entry a box: `x y;x y;...` in the same fractions. `columns` are
        further cells of labels.csv (patient_id, region, view, hardware, source, ...), empty where unknown.
        """
        if label not in self.info.classes:
            raise InputError(f"{image_id}: label {label!r} is not one of {', '.join(self.info.classes)}")
        file = f"images/{image_id}{suffix}"
        (self.folder / file).write_bytes(content)
        self._rows.append({"image_id": image_id, "file": file, "label": label, **columns})
        outlines = list(polygons)
        for i, (x0, y0, x1, y1, name) in enumerate(boxes):
            corners = {"x0": f"{x0:.5f}", "y0": f"{y0:.5f}", "x1": f"{x1:.5f}", "y1": f"{y1:.5f}"}
            outline = outlines[i] if i < len(outlines) else ""
            self._boxes.append({"image_id": image_id, **corners, "label": name, "polygon": outline})

    def write_tables(self) -> None:
        """Write labels.csv, boxes.csv and dataset.json, rows sorted by image_id."""
        extra = sorted({column for row in self._rows for column in row} - set(LABEL_COLUMNS))
        labels = pd.DataFrame(self._rows, columns=[*LABEL_COLUMNS, *extra]).astype(object).fillna("")
        boxes = pd.DataFrame(self._boxes, columns=list(BOX_COLUMNS))
        for name, table in (("labels.csv", labels), ("boxes.csv", boxes)):
            text = table.sort_values("image_id", kind="stable").to_csv(index=False, lineterminator="\n")
            write_text(self.folder / name, text)
        write_json(self.folder / "dataset.json", asdict(self.info))


@contextmanager
def rebuild(folder: Path, info: DatasetInfo, force: bool = False) -> Iterator[Building]:
    """Build a data set beside `folder` and swap it in when the block ends well.

    Raises InputError when `folder` holds another data set (or something else) and `force` is off. Whatever
    ends the block early, an error, a signal or a full disk, leaves `folder` as it was.
    """
    if not force:
        _refuse_to_replace(folder, info)
    lock = folder.with_name(f".{folder.name}.lock")
    with locked(lock, f"another command is filling {folder.name}/; wait for it"), atomic_folder(folder) as partial:
        building = Building(partial, info)
        yield building
        building.write_tables()
        read(partial)


def _refuse_to_replace(folder: Path, info: DatasetInfo) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        return
    try:
        present = _read_info(folder / "dataset.json")
    except InputError:
        raise InputError(
            f"{folder}: holds files that no `fracture data` command wrote; move them away or give --force"
        ) from None
    if present.identity() != info.identity():
        raise InputError(
            f"{folder}: holds another data set, {present.title()}; give --force to replace it with {info.title()}"
        )
