"""Files of more than eight bits a sample, written here or by tifffile: no reader that is tested has made them."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour types by channels."""


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(
    samples: npt.NDArray[np.uint16], transparent: Sequence[int] = (), chunks: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    """A PNG of 16 bits, of grey (h, w) or of 2 to 4 channels, with a transparent colour and chunks before its picture.

    Its rows take all filters in turn (PNG, 9.2), so that a reader which does not know how long a pixel is fails.
    """
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    rows = samples.astype(">u2").view(np.uint8).reshape(height, -1).astype(np.int32)
    size = 2 * channels
    left = np.pad(rows, ((0, 0), (size, 0)))[:, :-size]
    above = np.pad(rows, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(above, ((0, 0), (size, 0)))[:, :-size]
    nearest = [np.abs(above - corner), np.abs(left - corner), np.abs(left + above - 2 * corner)]
    a, b, c = nearest
    paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, above, corner))
    guesses = [np.zeros_like(rows), left, above, (left + above) // 2, paeth]
    filtered = b"".join(
        bytes([y % 5]) + ((rows[y] - guesses[y % 5][y]) % 256).astype(np.uint8).tobytes() for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 16, _KINDS[channels], 0, 0, 0)
    extra = [*chunks, *([(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))] if len(transparent) else [])]
    before = b"".join(_chunk(name, data) for name, data in extra)
    picture = _chunk(b"IDAT", zlib.compress(filtered))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + before + picture + _chunk(b"IEND", b"")


def tiff_of(samples: npt.NDArray[Any], **options: Any) -> bytes:
    """A TIFF as tifffile writes it."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


def packed_tiff_of(grey: npt.NDArray[np.uint16], order: str = "<") -> bytes:
    """A TIFF of 12 bits, two pixels in three bytes (TIFF 6.0, BitsPerSample)."""
    height, width = grey.shape
    bits = np.unpackbits(grey.astype(">u2").view(np.uint8).reshape(height, width, 2), axis=2)[:, :, 4:]
    data = np.packbits(bits.reshape(height, -1), axis=1).tobytes()
    tags = [
        (256, width),
        (257, height),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 0),
        (277, 1),
        (278, height),
        (279, len(data)),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in tags)
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(order + "IH", 8, len(tags)) + entries + struct.pack(order + "I", 0) + data
