"""Pixel data written anew: the pixels alone, without comments, unused bits and bytes that follow the last pixel.

Streams of JPEG, JPEG-LS and JPEG 2000 are taken apart at their markers (ITU-T T.81, B.1; T.87, C.1; T.800, A) and put
together from those that a decoder needs, so that nothing is encoded again. All others become uncompressed.
"""

import re
import struct
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

from serving.imaging.dicom import rle
from serving.imaging.dicom.codestreams import EOI
from serving.imaging.dicom.dataset import PixelElement, image_size
from serving.imaging.dicom.fragments import frame_of, syntax_of
from serving.imaging.dicom.stored import samples_of

_JPEG_KEPT = {*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, 0xF7, 0xF8} - {0xC8}
"""Frame headers, tables, scans, and the markers of JPEG-LS; application segments and comments are not among them."""
_SCAN_END = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
"""A marker that is no restart; within a scan a byte below 0x80 follows 0xFF (T.81, B.1.1.5; T.87, A.1)."""
_SOC, _SOT, _SOD = b"\xff\x4f", b"\xff\x90", b"\xff\x93"
_JPEG_2000_KEPT = {0x50, 0x51, 0x52, 0x53, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61}
"""CAP, SIZ, COD, COC, QCD, QCC, RGN, POC, PPM, PPT.

Tables of lengths (TLM, PLM, PLT) would be wrong afterwards; CRG and COM are for people.
"""


@dataclass(frozen=True)
class PixelData:
    """The value of Pixel Data and the transfer syntax that it is in."""

    value: bytes
    syntax: uid.UID
    is_interleaved: bool = False
    """Whether samples of a pixel that lay in planes now lie side by side."""


def rewritten_pixels(source: Dataset, element: PixelElement) -> PixelData:
    """The pixels of an object, which has been decoded before and is not changed.

    Raises ValueError for a stream that is broken or ends early, ImageError for pixels of another size.
    """
    syntax = syntax_of(source, element)
    if not syntax.is_encapsulated:
        return PixelData(
            _native(source, element.value, big_endian=syntax == uid.ExplicitVRBigEndian), uid.ExplicitVRLittleEndian
        )
    frame, cut_short = frame_of(element)
    if cut_short:
        raise ValueError("the pixel data ends early")
    if syntax == uid.RLELossless:
        return _unpacked(source, frame)
    if syntax in {uid.JPEG2000, uid.JPEG2000Lossless}:
        frame = _jpeg_2000(frame)
    else:
        frame = _jpeg(frame, grey=samples_of(source) == 1)
    return PixelData(encapsulate([frame]), syntax)


def _native(source: Dataset, value: bytes, *, big_endian: bool = False) -> bytes:
    rows, columns = image_size(source)
    size = int(source.BitsAllocated) // 8
    cells = rows * columns * (2 if source.PhotometricInterpretation == "YBR_FULL_422" else samples_of(source))
    if len(value) < cells * size:
        raise ValueError("the pixel data ends early")
    found = np.frombuffer(value, f"{'>' if big_endian else '<'}u{size}", cells)
    stored, high = int(source.BitsStored), source.get("HighBit")
    low = int(high) + 1 - stored if high in range(stored, 8 * size) else 0
    # Overlays of old objects lie in the bits of a cell that its pixel leaves unused (PS3.3, C.9.2).
    content = (found & np.array(((1 << stored) - 1) << low & (1 << 8 * size) - 1, found.dtype)).astype(f"<u{size}")
    return bytes(content.tobytes()) + bytes(content.nbytes % 2)


def _unpacked(source: Dataset, frame: bytes) -> PixelData:
    rows, columns = image_size(source)
    size = int(source.BitsAllocated) // 8
    colours = samples_of(source) > 1
    pixels = rle.decode_colours(frame, rows, columns) if colours else rle.decode(frame, rows, columns, size)
    value = _native(source, pixels.astype(f"<u{size}").tobytes())
    return PixelData(value, uid.ExplicitVRLittleEndian, is_interleaved=colours)


def _jpeg(frame: bytes, *, grey: bool) -> bytes:
    parts, at = [frame[:2]], 2
    while True:
        while frame.startswith(b"\xff\xff", at):
            at += 1
        if frame.startswith(EOI, at):
            return b"".join([*parts, EOI])
        if len(frame) < at + 4 or frame[at] != 0xFF:
            raise ValueError("the stream ends early")
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        payload, end = frame[at + 4 : at + 2 + length], at + 2 + length
        if marker == 0xDA:
            found = _SCAN_END.search(frame, end)
            end = found.start() if found else len(frame)
        if marker in _JPEG_KEPT:
            parts.append(frame[at:end])
        elif not grey and marker == 0xE0 and payload.startswith(b"JFIF\0"):
            parts.append(b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0")  # says YCbCr; no thumbnail
        elif not grey and marker == 0xEE and payload.startswith(b"Adobe"):
            parts.append(b"\xff\xee\x00\x0e" + payload[:12])
        at = end


def _jpeg_2000(frame: bytes) -> bytes:
    at = frame.find(_SOC + b"\xff\x51", 0, 4096)
    if at < 0:
        raise ValueError("no JPEG 2000 codestream")
    header, at = _kept_markers(frame, at + 2, _SOT)
    parts = [_SOC, header]
    last = frame.rfind(EOI)
    while frame.startswith(_SOT, at):
        tile, length, part = struct.unpack_from(">HLH", frame, at + 4)
        end = at + length if length else last
        header, start = _kept_markers(frame, at + 12, _SOD)
        data = frame[start + 2 : end]
        if not start < end <= last:
            raise ValueError("a tile ends early")
        parts.append(_SOT + struct.pack(">HHLH", 10, tile, 14 + len(header) + len(data), part))
        parts += [header, _SOD, data]
        at = end
    if not frame.startswith(EOI, at):
        raise ValueError("the stream ends early")
    return b"".join([*parts, EOI])


def _kept_markers(frame: bytes, at: int, end: bytes) -> tuple[bytes, int]:
    """The marker segments to keep from `at` up to the marker `end`, and where that lies."""
    parts = []
    while not frame.startswith(end, at):
        if len(frame) < at + 4 or frame[at] != 0xFF:
            raise ValueError("the stream has a broken header")
        following = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if frame[at + 1] in _JPEG_2000_KEPT:
            parts.append(frame[at:following])
        at = following
    return b"".join(parts), at
