"""DICOM files of a folder, or those that the directory of a medium names (PS3.3, annex F; PS3.10, 8)."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pydicom

from pipeline.data.sources.dicom.objects import MAX_OBJECT_BYTES, TOO_LARGE, Offered, UnreadableError
from pipeline.errors import InputError
from serving.imaging.dicom.prefix import is_dicom

HEAD = 2048
_MAX_DIRECTORY_BYTES = 256 << 20


class FolderObjects:
    """Every DICOM file of a folder and the folders in it; hidden files and links out of it count as others."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.resolve().name
        self.others = 0
        self._folder = folder
        self._files: list[Path] = []
        root = folder.resolve()
        for place, folders, files in os.walk(folder, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                path = Path(place, name)
                is_hidden = name.startswith(".") or name.upper() == "DICOMDIR"
                if is_hidden or not path.resolve().is_relative_to(root) or not _starts_as_dicom(path):
                    self.others += 1
                else:
                    self._files.append(path)

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Offered]:
        for path in self._files:
            yield Offered(path.relative_to(self._folder).as_posix(), partial(read_file, path))


class DirectoryObjects:
    """The images that a DICOMDIR names; none of them may lie outside of its folder."""

    def __init__(self, directory: Path) -> None:
        root = directory.resolve().parent
        self.name = root.name
        self.others = 0
        self._files: dict[str, Path | None] = {}
        for number, record in enumerate(_records(directory), start=1):
            if "ReferencedFileID" not in record:
                continue
            if str(record.get("DirectoryRecordType", "")).strip() != "IMAGE":
                self.others += 1
                continue
            parts = [str(part) for part in _several(record.ReferencedFileID)]
            if not parts or any(
                part in {"", ".", ".."} or "/" in part or "\\" in part or "\0" in part for part in parts
            ):
                raise InputError(f"{directory}: record {number} points outside of its folder; use a medium you trust")
            path = _found(root, parts)
            if path is not None and not path.resolve().is_relative_to(root):
                raise InputError(f"{directory}: record {number} points outside of its folder; use a medium you trust")
            self._files["/".join(parts)] = path

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Offered]:
        for original, path in self._files.items():
            yield Offered(original, partial(_missing) if path is None else partial(read_file, path))


def read_file(path: Path) -> bytes:
    """A file's bytes; UnreadableError where it is too large or cannot be read."""
    try:
        if path.stat().st_size > MAX_OBJECT_BYTES:
            raise UnreadableError(TOO_LARGE)
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror})") from None


def _missing() -> bytes:
    raise UnreadableError("is named by the DICOMDIR, but is not there")


def _starts_as_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(HEAD))
    except OSError:
        return True  # reading it whole says what is wrong


def _raise(error: OSError) -> None:
    raise error


def _records(directory: Path) -> list[Any]:
    try:
        if directory.stat().st_size > _MAX_DIRECTORY_BYTES:
            raise InputError(f"{directory}: is larger than {_MAX_DIRECTORY_BYTES >> 20} MiB; give the folder instead")
        return list(pydicom.dcmread(directory).DirectoryRecordSequence)
    except (InputError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # pydicom raises whatever broken bytes lead it to
        raise InputError(
            f"{directory}: is no DICOMDIR that can be read ({type(error).__name__}); give its folder instead"
        ) from error


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value or [])


def _found(root: Path, parts: list[str]) -> Path | None:
    """The file of a path, whatever case its names have where the medium was copied to; None where there is none."""
    path = root
    for part in parts:
        exact = path / part
        if not exact.exists() and path.is_dir():
            exact = next((one for one in path.iterdir() if one.name.casefold() == part.casefold()), exact)
        path = exact
    return path if path.is_file() else None
