"""The image files of a folder, and which class is which."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.data import deidentify
from pipeline.data.layout import IMAGE_SUFFIXES
from pipeline.data.sources.folder.private import Private
from pipeline.data.sources.folder.records import Found
from pipeline.errors import InputError

NORMAL_NAMES = frozenset(
    {"normal", "normals", "negative", "neg", "healthy", "intact", "control", "controls", "unfractured"}
    | {f"{no}{what}" for no in ("no", "not", "non", "without") for what in ("fracture", "fractures", "fractured")}
    | {"nofinding", "nofindings"}
)
"""Names of a normal class, lower case and without separators."""


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
        return deidentify.sniff(file.read(deidentify.HEAD)) == ".dcm"


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
        likely = [name for name in names if plain(name) in NORMAL_NAMES]
        if len(likely) != 1:
            raise InputError(
                f"{source_dir}: which of the classes {listed} is the normal one? Say it with --normal NAME"
            )
    else:
        likely = [name for name in names if name == normal] or [name for name in names if plain(name) == plain(normal)]
        if len(likely) != 1:
            raise InputError(f"--normal {normal}: is not one of the class folders {listed}; give one of them")
    return (likely[0], *(name for name in names if name != likely[0]))


def plain(name: str) -> str:
    """A folder's name in lower case and without separators."""
    return re.sub(r"[\W_]+", "", name.casefold())
