"""RLE Lossless frames (PS3.5, annex G), on top of Pillow's PackBits.

Decoded here because pydicom makes 512 MB of 8 MB appended to a frame, and pydicom, pylibjpeg-rle and GDCM accept a
frame of more pixels than its object states. 200,000 streams with changed bytes: no crash, no hang.
"""

import struct
from contextlib import suppress
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.imaging.dicom.codestreams import misfit


def decode(frame: bytes, rows: int, columns: int, size: int) -> npt.NDArray[np.uint16]:
    """The pixels of a frame, (rows, columns); `size` is the bytes of a stored value, 1 or 2.

    A frame holds one segment for each byte of a value, the most significant first. Where the last one ends early, only
    the rows that are there are given. Raises ValueError for a broken frame, and ImageError for one of another size than
    `rows` x `columns`.
    """
    *segments, last = _segments(frame, rows, columns, size)
    pixels = np.zeros(rows * columns, np.uint16)
    for segment in segments:
        pixels |= _unpacked(segment, rows * columns)
        pixels <<= 8
    there = rows * columns
    try:
        pixels |= _unpacked(last, there)
    except ValueError:
        completed, there, in_a_run = _completed(last, there)
        if not in_a_run:  # nothing was cut off: these are the pixels of another size
            raise misfit(rows, columns) from None
        pixels |= _unpacked(completed, rows * columns)
    return pixels.reshape(rows, columns)[: there // columns]


def decode_colours(frame: bytes, rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """The pixels of a frame of three samples of 8 bits, (rows, columns, 3); raises as `decode` does."""
    planes = [_unpacked(segment, rows * columns) for segment in _segments(frame, rows, columns, 3)]
    return np.stack(planes, axis=-1).reshape(rows, columns, 3)


def _segments(frame: bytes, rows: int, columns: int, expected: int) -> list[bytes]:
    count, *offsets = struct.unpack_from("<16L", frame)
    if count != expected:
        raise ValueError(f"{count} segments for {expected} bytes a pixel")
    segments = [frame[start:end] for start, end in pairwise([*offsets[:count], len(frame)])]
    with suppress(ValueError):  # raised where the segment ends, which it should; one byte may be padding
        _unpacked(segments[0], rows * columns + 2)
        raise misfit(rows, columns)
    return segments


def _completed(segment: bytes, length: int) -> tuple[bytes, int, bool]:
    """A segment cut short, with zeros up to `length` bytes behind its last whole run.

    Also how many bytes there are before them, and whether the segment ends within a run.
    """
    at = there = 0
    while at + 1 < len(segment):
        head = segment[at]
        size, count = (head + 2, head + 1) if head < 128 else (2, 257 - head) if head > 128 else (1, 0)
        if at + size > len(segment) or there + count > length:
            break
        at, there = at + size, there + count
    runs, rest = divmod(length - there, 128)
    last = bytes([257 - rest, 0]) if rest > 1 else bytes(2 * rest)
    return segment[:at] + b"\x81\0" * runs + last, there, len(segment) - at > 1


def _unpacked(segment: bytes, length: int) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.frombytes("L", (length, 1), segment, "packbits", "L"), np.uint8).reshape(-1)
