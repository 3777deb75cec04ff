"""A folder of class-named folders, the layout users have: neutral ids, no identifying metadata, no names.

Original names go to a private table outside `data/`; no message of this module shows one.
"""

import hashlib
import io
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import pydicom
from PIL import Image, UnidentifiedImageError

from pipeline.data import deidentify
from pipeline.data.layout import IMAGE_SUFFIXES, DatasetInfo, read_table, rebuild
from pipeline.errors import InputError
from pipeline.files import atomic_file, project_root, write_text
from pipeline.progress import track

MAX_FILE_BYTES = 512 << 20
ID_PREFIX = "x-"
NORMAL_NAMES = frozenset(
    {"normal", "normals", "negative", "neg", "healthy", "intact", "control", "controls", "unfractured"}
    | {f"{no}{what}" for no in ("no", "not", "non", "without") for what in ("fracture", "fractures", "fractured")}
    | {"nofinding", "nofindings"}
)
"""Names of a normal class, lower case and without separators."""
SYNONYMS = {
    "file": ("file", "filename", "file_name", "path", "file_path", "image", "image_file"),
    "patient_id": ("patient_id", "patient", "patientid", "subject", "subject_id"),
    "study_id": ("study_id", "study", "studyid", "study_uid", "study_instance_uid", "exam", "exam_id"),
    "region": ("region", "body_part", "bodypart", "anatomy"),
    "view": ("view", "projection", "view_position"),
    "hardware": ("hardware", "implant", "implants"),
}
_BOX_FILE = ("file", "x0", "y0", "x1", "y1")
_IDENTIFYING = re.compile(
    r"name|birth|^dob$|accession|address|street|phone|e?mail$|^mrn$|medical_record|^ssn$|social_security|insurance|"
    r"physician|doctor|radiologist|operator|technician|referr|(^|_)date(_|$)|(^|_)uid$|zip_?code|post_?code|"
    r"^pat(ient)?(_|$)|patient|subject|initials|comment|remark|^notes?$|mrn|nhs|^pid$|hospital|case_?(no|nr|number|id)|fall_?n"
)
_RESERVED = {
    "image_id", "suffix", "content", "label", "class", "boxes", "polygons", "self", "note", "source", "listed", "part",
    "index", "group", "near_group", "near_duplicate", "near_opposite", "identical_opposite", "conflict", "excluded",
    "decoded", "error", "format", "mode", "bit_depth", "orientation", "bytes", "mean", "contrast", "colourfulness",
    "sha256", "perceptual_hash", "truncated", "left", "top", "width", "height",
}  # fmt: skip
"""Columns that this command or a later stage writes itself."""
_MOST_VALUES = 50
"""A further column with more values is free text or numbers somebody, and no slice of an evaluation."""

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Found:
    """What lies in the folder: image files by their path in it (`/`-separated), and what else was met."""

    images: dict[str, Path]
    others: int
    outside: int


@dataclass(frozen=True)
class Entry:
    """One image on its way in; `original` is its path in the user's folder and never leaves this module."""

    original: str
    image_id: str
    suffix: str
    label: str
    path: Path
    columns: dict[str, str]
    boxes: tuple[tuple[float, float, float, float, str], ...] = ()
    originals: Mapping[str, str] = field(default_factory=dict)


def fill(
    folder: Path,
    source_dir: Path,
    *,
    normal: str | None = None,
    table: Path | None = None,
    boxes: Path | None = None,
    name: str | None = None,
    force: bool = False,
    private_dir: Path | None = None,
) -> DatasetInfo:
    """Fill `folder` from `source_dir`, one folder a class, and write the names to `private_dir`.

    `normal` names the normal class where its name does not say so; `table` gives patient_id, study_id, region,
    view, hardware and further columns by file; `boxes` gives file, x0, y0, x1, y1 and optionally label, as
    fractions or pixels of the upright image. `name` is the data set's, by default that of the folder;
    `private_dir` is by default `private` in the project's root. Raises InputError, before anything is
    replaced, for whatever cannot be used; files it is about are listed in `private_dir`, not in the message.
    """
    private = Private(private_dir or project_root() / "private", _slug(name or source_dir.resolve().name))
    _check_places(folder, source_dir, private.folder)
    found = find(source_dir, private)
    classes = order_classes([file.split("/")[0] for file in found.images], normal, source_dir)
    rows = read_columns(table, found.images) if table else {}
    marks = read_boxes(boxes, found.images) if boxes else {}
    _announce(found, None if table is None else len(found.images) - len(rows))
    entries = _prepare(found, rows, marks, private)
    info = DatasetInfo(
        name=private.name,
        version=hashlib.sha256(_summary(entries, classes).encode()).hexdigest()[:12],
        licence="not stated; private images",
        citation="",
        source="folder",
        classes=classes,
    )
    with rebuild(folder, info, force) as building:
        for entry in track(entries, "write"):
            building.add(
                entry.image_id,
                entry.suffix,
                _without_identity(entry.path),
                entry.label,
                boxes=entry.boxes,
                **{"source": "folder", **entry.columns},
            )
        private.write_names(entries)
    return info


class Private:
    """The private folder of a data set: which image and which patient is behind a pseudonym (mode 0600)."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.names = folder / f"{name}-names.csv"
        self.refused = f"{name}-refused.csv"

    def write(self, file: str, table: pd.DataFrame) -> Path:
        """Write a table that only its owner can read, whole or not at all."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(self.folder / ".gitignore", "*\n")
        target = self.folder / file
        with atomic_file(target) as partial:
            partial.chmod(0o600)
            table.to_csv(partial, index=False, lineterminator="\n")
        return target

    def refuse(self, reasons: Mapping[str, str]) -> InputError:
        """The error for files that cannot be used, which lists them in the private folder only."""
        listed = pd.DataFrame(sorted(reasons.items()), columns=["file", "reason"])
        target = self.write(self.refused, listed)
        first = listed["reason"].iloc[0]
        several = f"{len(listed)} files" if len(listed) > 1 else "a file"
        return InputError(f"{several} cannot be used (the first {first}); move what {target} lists out of the folder")

    def known(self) -> pd.DataFrame:
        """The table written before, so that a patient keeps the pseudonym; empty when there is none."""
        columns = ["image_id", "original", "patient_id", "original_patient_id", "study_id", "original_study_id"]
        if not self.names.is_file():
            return pd.DataFrame(columns=columns, dtype=str)
        return read_table(self.names, columns)[columns]

    def write_names(self, entries: Iterable["Entry"]) -> Path:
        """Write the table from id to original name; rows of images that left the data set are kept."""
        rows = [
            {
                "image_id": entry.image_id,
                "original": entry.original,
                "patient_id": entry.columns.get("patient_id", ""),
                "original_patient_id": entry.originals.get("patient_id", ""),
                "study_id": entry.columns.get("study_id", ""),
                "original_study_id": entry.originals.get("study_id", ""),
            }
            for entry in entries
        ]
        known = self.known()
        kept = known[~known["image_id"].isin([row["image_id"] for row in rows])]
        table = pd.concat([kept, pd.DataFrame(rows, columns=kept.columns)]).sort_values("image_id", kind="stable")
        (self.folder / self.refused).unlink(missing_ok=True)
        return self.write(self.names.name, table)


def find(source_dir: Path, private: Private) -> Found:
    """Every image file of the class folders, by path; what is no image is counted.

    Raises InputError when the folder is missing or a symbolic link in it leads out of it or to a folder.
    """
    if not source_dir.is_dir():
        raise InputError(f"{source_dir}: is no folder; give the folder that holds one folder a class")
    images: dict[str, Path] = {}
    others = outside = 0
    refused: dict[str, str] = {}
    for place, folders, files in os.walk(source_dir, onerror=_raise):
        folders.sort()
        for name in [*folders, *files]:
            path = Path(place, name)
            original = path.relative_to(source_dir).as_posix()
            if path.is_symlink() and (reason := _wrong_link(path, source_dir)):
                refused[original] = reason
            elif name in folders:
                continue
            elif any(part.startswith(".") for part in original.split("/")) or not _is_image(path):
                others += 1
            elif "/" in original:
                images[original] = path
            else:
                outside += 1
    if refused:
        raise private.refuse(refused)
    return Found(dict(sorted(images.items())), others, outside)


def _raise(error: OSError) -> None:
    raise error


def _wrong_link(path: Path, root: Path) -> str:
    if not path.resolve().is_relative_to(root.resolve()):
        return "is a symbolic link that leads out of the folder"
    return "is a symbolic link to a folder" if path.is_dir() else ""


def _is_image(path: Path) -> bool:
    """By suffix; a file without one, or named by a UID, may be DICOM, as scanners and archives write it."""
    suffix = path.suffix.lower()
    if suffix in {*IMAGE_SUFFIXES, ".dicom", ".jpe", ".jfif"}:
        return True
    if path.name.upper() == "DICOMDIR" or (suffix and not suffix[1:].isdigit()):
        return False
    with path.open("rb") as file:
        return deidentify.sniff(file.read(132)) == ".dcm"


def order_classes(labels: Iterable[str], normal: str | None, source_dir: Path) -> tuple[str, ...]:
    """The class names, the normal class first, the others sorted.

    `normal` names it; else it is recognised by its name. Raises InputError when it is not, or when there are
    fewer than two classes.
    """
    names = sorted(set(labels))
    if len(names) < 2:
        found = f"{len(names)} folder{'s' if len(names) != 1 else ''}"
        raise InputError(
            f"{source_dir}: holds images in {found}; it must hold one folder a class, at least two, "
            "for example normal/ and fractured/"
        )
    listed = ", ".join(names)
    if normal is None:
        likely = [name for name in names if _plain(name) in NORMAL_NAMES]
        if len(likely) != 1:
            raise InputError(
                f"{source_dir}: which of the classes {listed} is the normal one? Say it with --normal NAME"
            )
    else:
        likely = [name for name in names if name == normal] or [
            name for name in names if _plain(name) == _plain(normal)
        ]
        if len(likely) != 1:
            raise InputError(f"--normal {normal}: is not one of the class folders {listed}; give one of them")
    return (likely[0], *(name for name in names if name != likely[0]))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return slug or "folder"


def _check_places(folder: Path, source_dir: Path, private_dir: Path) -> None:
    data, source, private = folder.resolve(), source_dir.resolve(), private_dir.resolve()
    if data.is_relative_to(source) or source.is_relative_to(data):
        raise InputError(f"{source_dir}: and {folder} lie in each other; keep the images in a folder of their own")
    if private.is_relative_to(data) or private.is_relative_to(source):
        raise InputError(f"{private_dir}: the table of names must lie outside {folder} and {source_dir}; move it")


def read_columns(path: Path, images: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Image -> its cells, from a table with a column `file` and any others, synonyms renamed.

    Raises InputError for a column that may identify a patient or is written by the source itself, a row
    without a file in the folder, and a file in two rows. Rows are named by number, never by their content.
    """
    table = read_table(path, ())
    table.columns = pd.Index(_column_names(path, table.columns))
    for column in table.columns:
        if column not in SYNONYMS and column != "file" and table[column].nunique() > _MOST_VALUES:
            raise InputError(
                f"{path}: column {column}: has {table[column].nunique()} different values and may identify a patient; "
                f"remove it, or give groups (at most {_MOST_VALUES} values)"
            )
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


def _column_names(path: Path, columns: Iterable[str]) -> list[str]:
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


def _files(path: Path, table: pd.DataFrame, images: Mapping[str, Path]) -> list[str]:
    """The image each row is about: by its path in the folder, or by a file name that stands there once."""
    by_name: dict[str, list[str]] = {}
    for file in images:
        by_name.setdefault(file.rsplit("/", 1)[-1], []).append(file)
    files = []
    for number, given in enumerate(table["file"], start=2):
        asked = given.replace("\\", "/").removeprefix("./")
        fitting = [asked] if asked in images else by_name.get(asked, [])
        if not fitting:
            raise InputError(f"{path}: row {number}: no class folder holds this image; mend or remove the row")
        if len(fitting) > 1:
            raise InputError(
                f"{path}: row {number}: {len(fitting)} images have this name; give the path, class folder first"
            )
        files.append(fitting[0])
    return files


def read_boxes(path: Path, images: Mapping[str, Path]) -> dict[str, list[tuple[Corners, str]]]:
    """Image -> its boxes as fractions of the upright image, each with its label (empty: the image's class).

    A row with a corner above 1 is in pixels of the upright image. Raises InputError naming the row of a box
    that is no box or lies outside its image.
    """
    table = read_table(path, _BOX_FILE)
    if "label" not in table.columns:
        table["label"] = ""
    boxes: dict[str, list[tuple[Corners, str]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for number, (file, row) in enumerate(zip(_files(path, table, images), table.to_dict("records"), strict=True), 2):
        place = f"{path}: row {number}"
        try:
            x0, y0, x1, y1 = (float(row[corner]) for corner in _BOX_FILE[1:])
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
    content = path.read_bytes()
    if deidentify.sniff(content) not in (None, ".dcm"):
        try:
            with Image.open(io.BytesIO(content)) as image:
                turned = image.getexif().get(deidentify.ORIENTATION, 1) in (5, 6, 7, 8)
                return (image.height, image.width) if turned else (image.width, image.height)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None
    try:
        header = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, force=True)
        return int(header.Columns), int(header.Rows)
    except deidentify.DICOM_BROKEN:
        return None


def _prepare(
    found: Found,
    rows: Mapping[str, Mapping[str, str]],
    marks: Mapping[str, list[tuple[Corners, str]]],
    private: Private,
) -> list[Entry]:
    """Give every image its id and every patient and study a pseudonym; nothing is written yet."""
    drafts: list[Entry] = []
    refused: dict[str, str] = {}
    for original, path in track(found.images.items(), "read", len(found.images)):
        try:
            content = _without_identity(path)
        except InputError as error:
            refused[original] = str(error)
            continue
        columns = dict(rows.get(original, {}))
        label = original.split("/")[0]
        drafts.append(
            Entry(
                original=original,
                image_id=ID_PREFIX + hashlib.sha256(content).hexdigest()[:12],
                suffix=deidentify.sniff(content) or _suffix_of_empty(path),
                label=label,
                path=path,
                columns=columns,
                boxes=tuple((*corners, name or label) for corners, name in marks.get(original, [])),
                originals=_originals(columns, path),
            )
        )
    if refused:
        raise private.refuse(refused)
    return _pseudonymised(_numbered(drafts), private.known())


def _without_identity(path: Path) -> bytes:
    """The image's bytes without metadata; an empty file, which validation judges, has none."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"is larger than {MAX_FILE_BYTES >> 20} MiB")
    content = path.read_bytes()
    return deidentify.deidentify(content, path.suffix) if content else b""


def _suffix_of_empty(path: Path) -> str:
    suffix = path.suffix.lower()
    return suffix if suffix in IMAGE_SUFFIXES else ".dcm"


def _originals(columns: Mapping[str, str], path: Path) -> dict[str, str]:
    """Patient and study by their real names: from the table, else from a DICOM header, which groups images too."""
    named = {column: columns.get(column, "") for column in ("patient_id", "study_id")}
    if all(named.values()):
        return named
    header = deidentify.dicom_identity(path)
    return {column: value or header[column] for column, value in named.items()}


def _numbered(drafts: list[Entry]) -> list[Entry]:
    """Sorted by id, which tells nothing of the original order; identical images get the suffixes -2, -3, ..."""
    seen: Counter[str] = Counter()
    entries = []
    for draft in sorted(drafts, key=lambda entry: (entry.image_id, entry.original)):
        seen[draft.image_id] += 1
        count = seen[draft.image_id]
        entries.append(replace(draft, image_id=f"{draft.image_id}-{count}") if count > 1 else draft)
    return entries


def _pseudonymised(entries: list[Entry], known: pd.DataFrame) -> list[Entry]:
    """Put p0001, p0002, ... for patients and s0001, ... for studies; those of an earlier table stay."""
    for column, letter in (("patient_id", "p"), ("study_id", "s")):
        pseudonyms = dict(zip(known[f"original_{column}"], known[column], strict=True))
        pseudonyms.pop("", None)
        number = max((int(name[1:]) for name in pseudonyms.values() if name[1:].isdigit()), default=0)
        for entry in entries:
            original = entry.originals[column]
            if original and original not in pseudonyms:
                number += 1
                pseudonyms[original] = f"{letter}{number:04d}"
        if pseudonyms or any(column in entry.columns for entry in entries):
            for entry in entries:
                entry.columns[column] = pseudonyms.get(entry.originals[column], "")
    return entries


def _summary(entries: Iterable[Entry], classes: Iterable[str]) -> str:
    """A text that changes with anything that is written."""
    return repr((tuple(classes), [(entry.image_id, entry.label, entry.columns, entry.boxes) for entry in entries]))


def _announce(found: Found, without_row: int | None) -> None:
    """Say how many files were left out or have no row; counts only, since names may be patients'."""
    lines = {
        "no images, so left out: {}": found.others,
        "in no class folder, so left out: {}": found.outside,
        "without a row in the table, so with empty cells: {}": without_row or 0,
    }
    for line, count in lines.items():
        if count:
            print(line.format(f"{count} file{'s' if count > 1 else ''}"), file=sys.stderr)
