"""DICOM files of a ZIP archive, read one by one into memory: none is unpacked, whatever its name says."""

import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from pipeline.data.sources.dicom.files import HEAD
from pipeline.data.sources.dicom.objects import MAX_OBJECT_BYTES, TOO_LARGE, Offered, UnreadableError
from pipeline.errors import InputError
from serving.imaging.dicom.prefix import is_dicom

_MOST_MEMBERS = 1_000_000
_MOST_EXPANSION = 100
"""Times the archive's size that its members may have; radiographs shrink to a third at best, blank ones more."""
_SMALL = 256 << 20
"""Bytes of all members below which no expansion is suspicious."""
_ENCRYPTED = 0x1
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
"""What zipfile raises for a broken member or an unknown compression."""


class ArchiveObjects:
    """Every DICOM file of an archive; hidden files count as others.

    Raises InputError for an archive whose members bear names outside of it, overlap, or expand beyond reason.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.others = 0
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise InputError(
                f"{path}: is no ZIP archive that can be read ({type(error).__name__}); pack it anew"
            ) from None
        members = [info for info in self._archive.infolist() if not info.is_dir()]
        _check(path, members)
        self._members = [info for info in members if not _is_hidden(info.filename)]
        self.others = len(members) - len(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Offered]:
        for info in self._members:
            if self._is_other(info):
                self.others += 1
            else:
                yield Offered(info.filename, partial(self._read, info))

    def _is_other(self, info: zipfile.ZipInfo) -> bool:
        if PurePosixPath(info.filename).name.upper() == "DICOMDIR":
            return True
        try:
            with self._archive.open(info) as member:
                return not is_dicom(member.read(HEAD))
        except _BROKEN:
            return False  # reading it whole says what is wrong

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        if info.flag_bits & _ENCRYPTED:
            raise UnreadableError("is encrypted in the archive")
        if info.file_size > MAX_OBJECT_BYTES:
            raise UnreadableError(TOO_LARGE)
        try:
            with self._archive.open(info) as member:
                content = member.read(MAX_OBJECT_BYTES + 1)
        except _BROKEN as error:
            raise UnreadableError(f"is broken in the archive ({type(error).__name__})") from None
        if len(content) > MAX_OBJECT_BYTES:
            raise UnreadableError(TOO_LARGE)
        return content


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > _MOST_MEMBERS:
        raise InputError(f"{path}: has more than {_MOST_MEMBERS} members; pack several archives")
    for info in members:
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or parts[0].endswith(":"):
            raise InputError(f"{path}: has a member whose name leads out of the archive; use an archive you trust")
    size, whole = path.stat().st_size, sum(info.file_size for info in members)
    if sum(info.compress_size for info in members) > size:
        raise InputError(f"{path}: has members that overlap, as an archive made to fill disks has; use one you trust")
    if whole > max(_SMALL, _MOST_EXPANSION * size):
        raise InputError(
            f"{path}: would expand {whole // max(size, 1)} times, as an archive made to fill disks does; "
            "use one you trust"
        )


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
