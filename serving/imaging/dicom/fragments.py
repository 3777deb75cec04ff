"""Encapsulated pixel data (PS3.5, A.4): fragments to one frame, and the codec where no transfer syntax names it."""

import struct

import pydicom
from pydicom import uid

from serving.imaging.dicom.codestreams import segments
from serving.imaging.dicom.dataset import PixelElement
from serving.imaging.dicom.syntaxes import unsupported

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_MAX_FRAGMENTS = 10_000  # of the pixel data: there are radiographs with one for each line
_JPEG_2000 = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")  # a codestream, and one in its file format
_JPEG_PROCESSES = {
    0xC0: uid.JPEGBaseline8Bit,
    0xC1: uid.JPEGExtended12Bit,
    0xC3: uid.JPEGLossless,
    0xF7: uid.JPEGLSNearLossless,
}
"""By the marker of the frame header (ITU-T T.81, table B.1; T.87); each decoder reads the near relatives as well."""


def syntax_of(dataset: pydicom.Dataset, element: PixelElement) -> uid.UID:
    """The transfer syntax in which the pixels are: that of the object, or what they show themselves.

    Some writers unpack or compress the pixels and leave the object as it was. Raises ImageError `unsupported_dicom`
    where fragments hold no known codec.
    """
    stated = uid.UID(str(dataset.file_meta.TransferSyntaxUID))
    encapsulated = element.value.startswith(_ITEM) and (element.length is None or len(element.value) >= 16)
    if not encapsulated:
        return uid.ExplicitVRLittleEndian if stated.is_encapsulated else stated
    if stated.is_encapsulated:
        return stated
    found = codec(frame_of(element)[0])
    if found is None:
        raise unsupported(uid.UID(""), "is missing and the pixels are of no known codec")
    return found


def frame_of(element: PixelElement) -> tuple[bytes, bool]:
    """The fragments of a single frame, joined, and whether the value was cut short.

    Raises ValueError for too many fragments, or none.
    """
    value, at = element.value, 0
    fragments: list[bytes] = []
    while at + 8 <= len(value) and value.startswith(_ITEM, at):
        if len(fragments) > _MAX_FRAGMENTS:
            raise ValueError("too many fragments")
        length = int.from_bytes(value[at + 4 : at + 8], "little")
        fragments.append(value[at + 8 : at + 8 + length])
        at += 8 + length
    whole = value.startswith(_DELIMITER, at) or at == element.length
    # The first item is a table of offsets, which some writers leave out.
    frame = b"".join(fragments if fragments and codec(fragments[0]) else fragments[1:])
    if not frame:
        raise ValueError("there is no fragment")
    return frame, not whole


def codec(frame: bytes) -> uid.UID | None:
    """The transfer syntax of a coded frame, from its first bytes; None where they are those of no codec."""
    if frame.startswith(_JPEG_2000):
        return uid.JPEG2000
    if frame.startswith(b"\xff\xd8"):
        try:
            found = [_JPEG_PROCESSES[marker] for marker, _, _ in segments(frame) if marker in _JPEG_PROCESSES]
        except ValueError:
            return None
        return found[0] if found else None
    if len(frame) > 64:
        count, first = struct.unpack_from("<2L", frame)
        if 1 <= count <= 15 and first == 64:  # the header of RLE Lossless (PS3.5, G.5)
            return uid.RLELossless
    return None
