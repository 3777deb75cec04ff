"""What the user's tables say of each image: columns and boxes."""

import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import pandas as pd

from pipeline.data.layout import read_table
from pipeline.data.sources.folder.records import Corners
from pipeline.errors import InputError
from serving.errors import ImageError
from serving.imaging import decode

SYNONYMS = {
    "file": ("file", "filename", "file_name", "path", "file_path", "image", "image_file"),
    "patient_id": ("patient_id", "patient", "patientid", "subject", "subject_id"),
    "study_id": ("study_id", "study", "studyid", "study_uid", "study_instance_uid", "exam", "exam_id"),
    "region": ("region", "body_part", "bodypart", "anatomy"),
    "view": ("view", "projection", "view_position"),
    "hardware": ("hardware", "implant", "implants"),
}
_SEPARATORS = (",", ";", "\t")
_UNNAMED = "Unnamed: "
"""How pandas calls a column that the header leaves without a name."""
_CORNERS = ("x0", "y0", "x1", "y1")
_NO_FILE = "no class folder holds this image"
_IDENTIFYING = re.compile(
    r"name|birth|^dob$|accession|address|street|phone|e?mail$|^mrn$|medical_record|^ssn$|social_security|insurance|"
    r"physician|doctor|radiologist|operator|technician|referr|(^|_)date(_|$)|(^|_)uid$|zip_?code|post_?code|"
    r"^pat(ient)?(_|$)|patient|subject|initials|comment|remark|^notes?$|mrn|nhs|^pid$|hospital|case_?(no|nr|number|id)|fall_?n"
)
_RESERVED = {
    "image_id",
    "suffix",
    "content",
    "label",
    "class",
    "boxes",
    "polygons",
    "self",
    "note",
    "source",
    "listed",
    "part",
    "index",
    "group",
    "near_group",
    "near_duplicate",
    "near_opposite",
    "identical_opposite",
    "conflict",
    "excluded",
    "decoded",
    "error",
    "format",
    "mode",
    "bit_depth",
    "orientation",
    "bytes",
    "mean",
    "contrast",
    "colourfulness",
    "sha256",
    "perceptual_hash",
    "truncated",
    "left",
    "top",
    "width",
    "height",
}
"""Columns that this command or a later stage writes itself."""
_MOST_VALUES = 50
"""A further column with more values is free text or numbers somebody, and no slice of an evaluation."""


def read_columns(path: Path, images: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Image -> its cells, from a table with a column `file` and any others, synonyms renamed.

    Raises InputError for a column that may identify a patient or is written by the source itself, a row
    without a file in the folder, and a file in two rows. Rows are named by number, never by their content.
    """
    table = read_any(path)
    table.columns = pd.Index(column_names(path, table.columns))
    check_values(path, table, ("file",))
    if "file" not in table.columns:
        raise InputError(f"{path}: column file is missing (found: {', '.join(table.columns)}); add it to the header")
    cells: dict[str, dict[str, str]] = {}
    numbers: dict[str, int] = {}
    for number, (file, row) in enumerate(zip(_files(path, table, images), table.to_dict("records"), strict=True), 2):
        if file in numbers:
            raise InputError(f"{path}: rows {numbers[file]} and {number} are about the same file; keep one")
        numbers[file] = number
        cells[file] = {str(column): str(value) for column, value in row.items() if column != "file"}
    return cells


def check_values(path: Path, table: pd.DataFrame, keys: Iterable[str]) -> None:
    """InputError where a column that is none of `keys` has so many values that it may tell persons apart."""
    for column in table.columns:
        if column not in SYNONYMS and column not in keys and table[column].nunique() > _MOST_VALUES:
            raise InputError(
                f"{path}: column {column}: has {table[column].nunique()} different values and may identify a patient; "
                f"remove it, or give groups (at most {_MOST_VALUES} values)"
            )


def read_any(path: Path, required: Iterable[str] = ()) -> pd.DataFrame:
    """A table with commas, semicolons or tabs between its cells, without the number of the row that pandas writes."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = file.readline()
    except (OSError, UnicodeDecodeError):
        head = ""  # of which `read_table` says what is wrong
    table = read_table(path, (), max(_SEPARATORS, key=head.count))
    numbers = [str(number) for number in range(len(table))]
    for column in table.columns:
        unnamed = column.startswith(_UNNAMED) and not set(table[column]) - {""}
        if unnamed or ((column.startswith(_UNNAMED) or column == "index") and list(table[column]) == numbers):
            table = table.drop(columns=column)
    missing = [column for column in required if column not in table.columns]
    if missing:
        found = ", ".join(table.columns)
        raise InputError(f"{path}: column {', '.join(missing)} is missing (found: {found}); add it to the header")
    return table


def _composed(name: str) -> str:
    """A name as most systems write it: macOS takes accents and letters apart."""
    return unicodedata.normalize("NFC", name)


def column_names(path: Path, columns: Iterable[str]) -> list[str]:
    """Headers as this project names them: lower case, `_` between words, synonyms replaced."""
    renamed = {synonym: name for name, synonyms in SYNONYMS.items() for synonym in synonyms}
    names = []
    for column in columns:
        name = re.sub(r"[\W_]+", "_", column.strip().casefold()).strip("_")
        name = renamed.get(name, name)
        if name in _RESERVED:
            raise InputError(f"{path}: column {column}: is written by this command itself; remove or rename the column")
        if not name:
            raise InputError(f"{path}: a column has no name; name or remove it")
        if name not in SYNONYMS and _IDENTIFYING.search(name):
            raise InputError(
                f"{path}: column {column}: may identify a patient; remove it (or rename it when it identifies nobody)"
            )
        names.append(name)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{path}: several columns mean {twice[0]}; keep one")
    return names


def _files(path: Path, table: pd.DataFrame, images: Mapping[str, Path], missing: str = _NO_FILE) -> list[str]:
    """The image each row is about: by its path in the folder, or by a file name that stands there once."""
    by_name: dict[str, list[str]] = {}
    for file in images:
        by_name.setdefault(_composed(file.rsplit("/", 1)[-1]), []).append(file)
    by_path = {_composed(file): file for file in images}
    files = []
    for number, given in enumerate(table["file"], start=2):
        asked = _composed(given.replace("\\", "/").removeprefix("./"))
        fitting = [by_path[asked]] if asked in by_path else by_name.get(asked, [])
        if not fitting:
            raise InputError(f"{path}: row {number}: {missing}; mend or remove the row")
        if len(fitting) > 1:
            raise InputError(
                f"{path}: row {number}: {len(fitting)} images have this name; give the path, class folder first"
            )
        files.append(fitting[0])
    return files


def read_boxes(
    path: Path, images: Mapping[str, Path], column: str = "file", left_out: Container[str] = ()
) -> dict[str, list[tuple[Corners, str]]]:
    """Image -> its boxes as fractions of the upright image, each with its label (empty: the image's class).

    A row with a corner above 1 is in pixels of the upright image. `column` names the images; rows of those in
    `left_out` are skipped. Raises InputError naming the row of a box that is no box or lies outside its image.
    """
    table = read_any(path, (column, *_CORNERS)).rename(columns={column: "file"})
    missing = _NO_FILE if column == "file" else f"the source holds no object with this {column}"
    if "label" not in table.columns:
        table["label"] = ""
    boxes: dict[str, list[tuple[Corners, str]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    files = _files(path, table, images, missing)
    for number, (file, row) in enumerate(zip(files, table.to_dict("records"), strict=True), start=2):
        if file in left_out:
            continue
        place = f"{path}: row {number}"
        try:
            x0, y0, x1, y1 = (float(str(row[corner]).replace(",", ".")) for corner in _CORNERS)
        except ValueError:
            raise InputError(f"{place}: x0, y0, x1 and y1 must be numbers") from None
        if max(x0, y0, x1, y1) > 1:
            width, height = sizes.setdefault(file, upright_size(images[file]) or (0, 0))
            if not width:
                raise InputError(f"{place}: the size of this image cannot be read; give its boxes as fractions")
            x0, y0, x1, y1 = x0 / width, y0 / height, x1 / width, y1 / height
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise InputError(f"{place}: the box must lie in the upright image, with x0 < x1 and y0 < y1")
        boxes.setdefault(file, []).append(((x0, y0, x1, y1), str(row["label"])))
    return boxes


def upright_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels with the EXIF orientation applied; None when they cannot be read."""
    try:
        header = decode.inspect(path.read_bytes())
    except ImageError:
        return None
    return header.width, header.height
