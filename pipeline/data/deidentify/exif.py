"""The orientation of a picture, the one fact of its metadata that is part of it."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

ORIENTATION = 274
"""EXIF and TIFF tag of the picture's orientation: 1 upright, 3 upside down, 6 and 8 on its side, ..."""
XMP_ORIENTATION = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([1-8])""")


def exif_orientation(tiff: bytes) -> int:
    """The orientation in an EXIF block (a little TIFF file), 1 when it says nothing usable."""
    try:
        order, entries = TiffReader(tiff).first_directory()
    except (struct.error, ValueError):
        return 1
    entry = entries.get(ORIENTATION)
    value = int(struct.unpack(f"{order}H", entry.value[:2])[0]) if entry and len(entry.value) >= 2 else 1
    return value if 1 <= value <= 8 else 1


def minimal_exif(orientation: int) -> bytes:
    """An EXIF block that holds nothing but the orientation."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, ORIENTATION, 3, 1, orientation, 0, 0)


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_MAX_TIFF_PAGES = 1000


@dataclass(frozen=True)
class TiffEntry:
    """One entry of a TIFF directory: type number, number of values, and their bytes in the file's order."""

    kind: int
    count: int
    value: bytes


class TiffReader:
    """The directories of a classic TIFF file; struct.error or ValueError where it is cut short or broken."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
        if order is None:
            raise ValueError("no TIFF")
        self.order = order

    def unpack(self, layout: str, at: int) -> tuple[int, ...]:
        """Numbers at a position."""
        return struct.unpack_from(f"{self.order}{layout}", self.content, at)

    def first_directory(self) -> tuple[str, dict[int, TiffEntry]]:
        """Byte order and entries of the first page."""
        return self.order, self.directory(self.unpack("I", 4)[0])[0]

    def pages(self) -> Iterator[dict[int, TiffEntry]]:
        """The entries of every page."""
        at = self.unpack("I", 4)[0]
        for _ in range(_MAX_TIFF_PAGES):
            if at == 0:
                return
            entries, at = self.directory(at)
            yield entries
        raise ValueError("too many pages")

    def directory(self, at: int) -> tuple[dict[int, TiffEntry], int]:
        """The entries of the directory at a position, and the position of the next one (0: none)."""
        (count,) = self.unpack("H", at)
        entries = {}
        for i in range(count):
            place = at + 2 + 12 * i
            tag, kind, number = self.unpack("HHI", place)
            size = _TIFF_SIZES.get(kind, 1) * number
            start = place + 8 if size <= 4 else self.unpack("I", place + 8)[0]
            entries[tag] = TiffEntry(kind, number, self.content[start : start + size])
        end = at + 2 + 12 * count
        following = self.unpack("I", end)[0] if end + 4 <= len(self.content) else 0
        return entries, following

    def numbers(self, entry: TiffEntry) -> tuple[int, ...]:
        """The whole numbers of an entry of kind SHORT or LONG."""
        return struct.unpack(f"{self.order}{entry.count}{ {3: 'H', 4: 'I'}[entry.kind] }", entry.value)
