"""RLE Lossless frames (PS3.5, annex G)."""

import struct
from contextlib import suppress
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.imaging.dicom.codestreams import misfit


def decode(frame: bytes, rows: int, columns: int, size: int) -> npt.NDArray[np.uint16]:
    """Pixels of `size` bytes, from a segment for each of them, the most significant first.

    A segment is what others call PackBits. Pillow stops at the last pixel; pydicom's own decoder goes on, and makes
    64 times as many bytes of what a stranger appends.
    """
    count, *offsets = struct.unpack_from("<16L", frame)
    if count != size:
        raise ValueError(f"{count} segments for {size} bytes a pixel")
    segments = [frame[start:end] for start, end in pairwise([*offsets[:count], len(frame)])]
    with suppress(ValueError):  # which says that there is no more, but for padding
        _unpacked(segments[0], rows * columns + 2)
        raise misfit(rows, columns)
    pixels = np.zeros(rows * columns, np.uint16)
    for segment in segments:
        pixels <<= 8
        pixels |= _unpacked(segment, rows * columns)
    return pixels


def _unpacked(segment: bytes, length: int) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.frombytes("L", (length, 1), segment, "packbits", "L"), np.uint8).reshape(-1)
