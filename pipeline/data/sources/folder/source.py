"""A folder of class-named folders, the layout users have: neutral ids, no identifying metadata, no names.

Original names go to a private table outside `data/`; no message of this package shows one.
"""

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from pipeline.data import deidentify
from pipeline.data.layout import GIVEN_PART, DatasetInfo, rebuild
from pipeline.data.sources.acceptance import Acceptance
from pipeline.data.sources.folder.parts import Placed, place
from pipeline.data.sources.folder.private import Private
from pipeline.data.sources.folder.records import Corners, Entry, Found
from pipeline.data.sources.folder.search import find, order_classes
from pipeline.data.sources.folder.tables import read_boxes, read_columns
from pipeline.errors import InputError
from pipeline.files import project_root
from pipeline.progress import track

MAX_FILE_BYTES = 512 << 20
ID_PREFIX = "x-"
FEW = 0.01
"""Share of the files that may be left out because they cannot be used; more are a mistake of the whole folder."""


def fill(
    folder: Path,
    source_dir: Path,
    *,
    normal: str | None = None,
    table: Path | None = None,
    boxes: Path | None = None,
    name: str | None = None,
    keep_split: bool = False,
    force: bool = False,
    scope: str = "",
    private_dir: Path | None = None,
) -> DatasetInfo:
    """Fill `folder` from `source_dir`, one folder a class, and write the names to `private_dir`.

    The class folders may lie in folders named train, val and test; `keep_split` then writes the column `given_part`,
    which the split follows. At most 1 % of the files may be none that can be used, those among them that the service
    refuses before its network looks; they are left out. `scope`, refuse or warn, is by default as FRACTURE_SCOPE says.

    `normal` names the normal class where its name does not say so; `table` gives patient_id, study_id, region,
    view, hardware and further columns by file; `boxes` gives file, x0, y0, x1, y1 and optionally label, as
    fractions or pixels of the upright image. `name` is the data set's, by default that of the folder;
    `private_dir` is by default `private` in the project's root. Raises InputError, before anything is
    replaced, for whatever cannot be used; files it is about are listed in `private_dir`, not in the message.
    """
    private = Private(private_dir or project_root() / "private", slug(name or source_dir.resolve().name))
    check_places(folder, source_dir, private.folder)
    found = find(source_dir, private)
    placed = place(found.images)
    found = _with_class(found, placed)
    if keep_split and "test" not in placed.parts.values():
        raise InputError(f"{source_dir}: has no folders train and test that hold the classes; leave --keep-split out")
    classes = order_classes(placed.labels.values(), normal, source_dir)
    rows = read_columns(table, found.images) if table else {}
    marks = read_boxes(boxes, found.images) if boxes else {}
    _announce(found, None if table is None else len(found.images) - len(rows))
    _announce_parts(placed, keep_split)
    if keep_split:
        rows = {file: {**rows.get(file, {}), GIVEN_PART: placed.parts[file]} for file in found.images}
    acceptance = Acceptance.of({cells.get("region", "") for cells in rows.values()}, scope)
    entries, refused = _prepare(found, placed.labels, rows, marks, acceptance)
    if refused:
        _leave_out(refused, len(found.images), private)
    entries = _pseudonymised(_numbered(entries), private.known())
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
                deidentify.deidentify(_read(entry.path), entry.path.suffix),
                entry.label,
                boxes=entry.boxes,
                **{"source": "folder", **entry.columns},
            )
        private.write_names(entries)
        if refused:
            private.write_refused(refused)
    return info


def _with_class(found: Found, placed: Placed) -> Found:
    """What was found, where an image that lies in no class folder counts as outside."""
    images = {file: path for file, path in found.images.items() if file in placed.labels}
    return replace(found, images=images, outside=found.outside + len(found.images) - len(images))


def slug(name: str) -> str:
    """A name in lower case, for files and for dataset.json."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return slug or "folder"


def check_places(folder: Path, source_dir: Path, private_dir: Path) -> None:
    """InputError where source, data and private folder lie in each other."""
    data, source, private = folder.resolve(), source_dir.resolve(), private_dir.resolve()
    if data.is_relative_to(source) or source.is_relative_to(data):
        raise InputError(f"{source_dir}: and {folder} lie in each other; keep the images in a folder of their own")
    if private.is_relative_to(data) or private.is_relative_to(source):
        raise InputError(f"{private_dir}: the table of names must lie outside {folder} and {source_dir}; move it")


def _prepare(
    found: Found,
    labels: Mapping[str, str],
    rows: Mapping[str, Mapping[str, str]],
    marks: Mapping[str, list[tuple[Corners, str]]],
    acceptance: Acceptance,
) -> tuple[list[Entry], dict[str, str]]:
    """Give every image its id, and say of each file that cannot be used why; nothing is written yet."""
    drafts: list[Entry] = []
    refused: dict[str, str] = {}
    for original, path in track(found.images.items(), "read", len(found.images)):
        try:
            content = _usable(path, acceptance)
        except InputError as error:
            refused[original] = str(error)
            continue
        columns = dict(rows.get(original, {}))
        label = labels[original]
        drafts.append(
            Entry(
                original=original,
                image_id=ID_PREFIX + hashlib.sha256(content).hexdigest()[:12],
                suffix=deidentify.sniff(content) or ".dcm",
                label=label,
                path=path,
                columns=columns,
                boxes=tuple((*corners, name or label) for corners, name in marks.get(original, [])),
                originals=_originals(columns, path),
            )
        )
    return drafts, refused


def _leave_out(refused: Mapping[str, str], images: int, private: Private) -> None:
    """Say of each file that cannot be used why it is left out; InputError where they are too many for a slip."""
    if len(refused) > FEW * images:
        raise private.refuse(refused)
    for row, (_, reason) in enumerate(sorted(refused.items()), start=2):
        print(
            f"left out: a file that {reason}; {private.folder / private.refused}, row {row}, names it", file=sys.stderr
        )


def _usable(path: Path, acceptance: Acceptance) -> bytes:
    """The image's bytes without metadata; InputError says why a file cannot be used."""
    content = _read(path)
    found = deidentify.deidentify(content, path.suffix) if content else b""
    # The file as the service would get it: of its header less is kept than says what it shows.
    if reason := acceptance.problem(content):
        raise InputError(reason)
    return found


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"is larger than {MAX_FILE_BYTES >> 20} MiB")
    return path.read_bytes()


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


def _announce_parts(placed: Placed, keep_split: bool) -> None:
    """Say that the folder came with a split, and what becomes of it."""
    if not placed.parts:
        return
    counts = ", ".join(f"{count} {part}" for part, count in sorted(Counter(placed.parts.values()).items()))
    kept = (
        "is kept"
        if keep_split
        else "is not kept, since copies of an image may lie in several parts (--keep-split keeps it)"
    )
    print(f"the classes lie in folders of a given split ({counts}), which {kept}", file=sys.stderr)
    for names in placed.merged:
        print(f"taken for one class, {names[0]}: {', '.join(names)}", file=sys.stderr)
