"""Bytes to a pydicom data set, bounded in time and memory: files are untrusted."""

import io
import logging
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom import uid
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset, read_partial

from serving.errors import ImageError
from serving.imaging.dicom.prefix import PREAMBLE, start_of
from serving.imaging.faults import faults

_FIRST_PIXEL_DATA, _PIXEL_DATA = 0x7FE00008, 0x7FE00010  # float, double and integer pixel data
_MAX_HEADER = 4 << 20  # bytes inflated for everything but the pixels; a radiograph needs a few kB
_MAX_READS = 50_000  # by the parser, a few per element; it makes as many in less than a second
_UNDEFINED = 0xFFFFFFFF
_DESCRIBING = (("PhotometricInterpretation", "Photometric Interpretation"), ("BitsStored", "Bits Stored"))
"""Elements without which pixels cannot be read, and their names."""

# pydicom logs a traceback for each frame that it cannot decode, and its warnings repeat invalid values, which may name
# a patient. Our error says what is wrong.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def image_size(dataset: pydicom.Dataset) -> tuple[int, int]:
    """Rows and Columns.

    Raises ImageError `no_pixels` where the object holds no image, and `undecodable` where it has one that lacks what
    tells how its pixels are stored.
    """
    if dataset.get("Rows") is None or dataset.get("Columns") is None:
        raise ImageError("no_pixels", "the DICOM object holds no image; if it should hold one, send it again whole")
    for keyword, name in _DESCRIBING:
        if dataset.get(keyword) in (None, ""):
            raise ImageError("undecodable", f"the DICOM object is incomplete: {name} is missing; export it again")
    return int(dataset.Rows), int(dataset.Columns)


def identifier(value: Any) -> str:
    """A valid UID, or an empty string: anything else is free text, which may name a patient."""
    found = uid.UID(str(value or ""))
    return str(found) if found.is_valid else ""


def value_of(dataset: pydicom.Dataset, keyword: str) -> Any:
    """An element's value; None where it is absent, or where pydicom cannot convert it: it does so when asked."""
    with suppress(ImageError), faults("the DICOM object is broken"):
        return dataset.get(keyword)
    return None


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


@dataclass(frozen=True)
class PixelElement:
    """The value of Pixel Data as it lies in the file; `length` is what the element states, or None where undefined.

    Of undefined length, `value` is all that follows. `vr` is empty where the object states none.
    """

    value: bytes
    length: int | None
    vr: str = ""

    @property
    def cut_short(self) -> bool:
        """Whether the file ends within the value."""
        return self.length is not None and len(self.value) < self.length


class _End:
    """Tells pydicom's parser to stop before the pixel data, whose value is not for it to read."""

    def __init__(self, source: _Source) -> None:
        self.reached = self.found = False
        self.length = self.position = 0
        self._vr = ""
        self._source = source

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        self.reached = tag >= _FIRST_PIXEL_DATA
        self.found = tag == _PIXEL_DATA
        self.length, self.position, self._vr = length, self._source.tell(), vr or ""
        return self.reached

    def pixels(self, content: bytes) -> PixelElement | None:
        if not self.found:
            return None
        if self.length == _UNDEFINED:
            return PixelElement(content[self.position :], None, self._vr)
        return PixelElement(content[self.position : self.position + self.length], self.length, self._vr)


def read(content: bytes) -> pydicom.Dataset:
    """The data set up to its pixel data.

    Where the transfer syntax is missing or no UID, `file_meta` holds that of an uncompressed object in the encoding
    that was found.
    """
    return _read(content, None)[0]


def read_whole(content: bytes, pixel_bytes: int) -> tuple[pydicom.Dataset, PixelElement | None]:
    """The data set up to its pixel data, and these; `pixel_bytes`, their expected size, bounds what is inflated."""
    return _read(content, pixel_bytes)


def _read(content: bytes, pixel_bytes: int | None) -> tuple[pydicom.Dataset, PixelElement | None]:
    start = start_of(content)
    if start not in {None, 0, PREAMBLE + 4}:
        content = content[start:]
    source = _Source(content)
    end = _End(source)
    try:
        dataset: pydicom.Dataset = read_partial(source, end, force=True)
    except _Deflated as found:
        dataset, pixels = _inflated(content, found.position, pixel_bytes)
    else:
        pixels = None if pixel_bytes is None else end.pixels(content)
    if not uid.UID(str(dataset.file_meta.get("TransferSyntaxUID", ""))).is_valid:
        dataset.file_meta.TransferSyntaxUID = _syntax_of(dataset)
    if dataset.get("PhotometricInterpretation") is not None:
        dataset.PhotometricInterpretation = str(dataset.PhotometricInterpretation).strip().upper()
    return dataset, pixels


def _syntax_of(dataset: pydicom.Dataset) -> uid.UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return uid.ImplicitVRLittleEndian
    return uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian


def _inflated(content: bytes, position: int, pixel_bytes: int | None) -> tuple[pydicom.Dataset, PixelElement | None]:
    """The data set of a deflated object (PS3.5, A.5); at most 4 MiB and `pixel_bytes` are inflated."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    limit = _MAX_HEADER + (pixel_bytes or 0)
    plain = inflater.decompress(content[position:], limit)
    source = _Source(plain)
    end = _End(source)
    dataset = read_dataset(source, is_implicit_VR=False, is_little_endian=True, stop_when=end)
    pixels = None if pixel_bytes is None else end.pixels(plain)
    too_long = not inflater.eof and len(plain) >= limit
    if too_long and (not end.reached or (pixels is not None and (pixels.length is None or pixels.cut_short))):
        raise ImageError("undecodable", "the DICOM object is broken (it inflates to more than a header and its image)")
    if not inflater.eof and not end.reached:
        raise ImageError("undecodable", "the DICOM object is broken (it ends early)")
    dataset.file_meta = FileMetaDataset(read_partial(io.BytesIO(content[:position]), force=True).file_meta)
    return dataset, pixels
