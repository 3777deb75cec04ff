"""Bytes to a pydicom data set, bounded in time and memory: files are untrusted."""

import io
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pydicom
from pydicom import uid
from pydicom.filereader import read_dataset, read_partial

from serving.errors import ImageError, one_line

_FIRST_PIXEL_DATA, _PIXEL_DATA = 0x7FE00008, 0x7FE00010  # float, double and integer pixel data
_MAX_HEADER = 4 << 20  # bytes inflated for everything but the pixels; a radiograph needs a few kB
_MAX_READS = 50_000  # by the parser, a few per element; it makes as many in less than a second

# pydicom logs a traceback for each frame that it cannot decode, and its warnings repeat invalid values, which may name
# a patient. Our error says what is wrong.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@contextmanager
def faults(problem: str) -> Iterator[None]:
    """Turn any exception into an ImageError `undecodable` whose message starts with `problem`; ImageErrors pass."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001  parsers and decoders raise whatever broken bytes lead them to
        detail = one_line(str(error).split("available plugins:")[-1], 120) or type(error).__name__
        raise ImageError("undecodable", f"{problem} ({detail})") from None


def image_size(dataset: pydicom.Dataset) -> tuple[int, int]:
    """Rows and Columns; ImageError `no_pixels` where the object holds no image."""
    if any(dataset.get(name) is None for name in ("Rows", "Columns", "PhotometricInterpretation", "BitsStored")):
        raise ImageError("no_pixels", "the DICOM object holds no image")
    return int(dataset.Rows), int(dataset.Columns)


def identifier(value: Any) -> str:
    """A valid UID, or an empty string: anything else is free text, which may name a patient."""
    found = uid.UID(str(value or ""))
    return str(found) if found.is_valid else ""


class _Deflated(Exception):  # noqa: N818  not an error: it tells where the deflated data set starts
    def __init__(self, position: int) -> None:
        super().__init__()
        self.position = position


class _Source(io.BytesIO):
    """Bytes for pydicom to parse, with a limit on reads: pydicom has none."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:  # only in order to inflate the rest without a limit
            raise _Deflated(self.tell())
        self._reads += 1
        if self._reads > _MAX_READS:
            raise ImageError("undecodable", "the DICOM object is broken (it has too many elements)")
        return super().read(size)


class _End:
    """Tells pydicom's parser to stop before the pixel data, or after it: some writers append kilobytes of zeros."""

    def __init__(self, with_pixels: bool) -> None:
        self.reached = False
        self._with_pixels = with_pixels
        self._passed = False

    def __call__(self, tag: int, _vr: str | None, _length: int) -> bool:
        self.reached = self._passed or (not self._with_pixels and tag >= _FIRST_PIXEL_DATA)
        self._passed = tag == _PIXEL_DATA
        return self.reached


def read(content: bytes, pixel_bytes: int = 0) -> pydicom.Dataset:
    """The data set up to its pixel data, or the whole of it where `pixel_bytes`, the size of the pixels, is given."""
    try:
        dataset: pydicom.Dataset = read_partial(_Source(content), _End(with_pixels=bool(pixel_bytes)))
    except _Deflated as found:
        dataset = _inflated(content, found.position, pixel_bytes)
    if dataset.get("PhotometricInterpretation") is not None:
        dataset.PhotometricInterpretation = str(dataset.PhotometricInterpretation).strip().upper()
    return dataset


def _inflated(content: bytes, position: int, pixel_bytes: int) -> pydicom.Dataset:
    """The data set of a deflated object (PS3.5, A.5); at most 4 MiB and `pixel_bytes` are inflated."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    limit = _MAX_HEADER + pixel_bytes
    plain = inflater.decompress(content[position:], limit)
    end = _End(with_pixels=bool(pixel_bytes))
    dataset = read_dataset(_Source(plain), is_implicit_VR=False, is_little_endian=True, stop_when=end)
    if not end.reached and not inflater.eof:
        fault = "it ends early" if len(plain) < limit else "it inflates to more than a header and its image"
        raise ImageError("undecodable", f"the DICOM object is broken ({fault})")
    dataset.file_meta = pydicom.dcmread(io.BytesIO(content[:position])).file_meta
    return dataset
