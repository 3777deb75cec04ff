"""JPEG Lossless frames of one component (ITU-T T.81, annex H).

Decoded here because every installable decoder falls short: GDCM crashes at 7 % of streams with changed bytes (this one
at none of 200,000), imagecodecs has no current release for Python 3.11 and takes the environment past 450 MB,
pydicom-jpeg-decoder gives wrong pixels with restart intervals, pylibjpeg-libjpeg is GPL. Price: 1.0 s for 5 million
pixels, where imagecodecs takes 0.04 s.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.imaging.dicom.codestreams import check_frame, segments

_PREDICTORS: dict[int, Callable[[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]], Any]] = {
    2: lambda _left, above, _corner: above,
    3: lambda _left, _above, corner: corner,
    4: lambda left, above, corner: left + above - corner,
    5: lambda left, above, corner: left + ((above - corner) >> 1),
    6: lambda left, above, corner: above + ((left - corner) >> 1),
    7: lambda left, above, _corner: (left + above) >> 1,
}
_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff+[\xd0-\xd7]")
_CODED_BLOCK = 1 << 16  # bytes decoded at a time


@dataclass
class _Scan:
    """What the headers of a JPEG Lossless stream state; `lines` is the height of a restart interval."""

    codes: dict[int, npt.NDArray[np.uint16]] = field(default_factory=dict)
    lines: int = 0
    precision: int = 0
    table: int = 0
    predictor: int = 0
    shift: int = 0
    start: int = 0


def decode(frame: bytes, rows: int, columns: int, size: int) -> npt.NDArray[np.uint16]:
    """The pixels of a JPEG Lossless stream of one component, (rows, columns); fewer rows of a stream cut short.

    `size` is the bytes of a stored value, 1 or 2. Raises ValueError for a broken stream or one of more bits than fit,
    and ImageError for one of another size than `rows` x `columns`.
    """
    scan = _lossless_scan(frame, rows, columns)
    if not (scan.shift < scan.precision <= 8 * size and 1 <= scan.predictor <= 7 and scan.table in scan.codes):
        raise ValueError(f"precision {scan.precision}, predictor {scan.predictor}, table {scan.table}")
    end = _END.search(frame, scan.start)
    parts = _RESTART.split(frame[scan.start : end.start() if end else len(frame)])
    count = -(-rows // scan.lines)
    if len(parts) > count or (end and len(parts) < count):
        raise ValueError(f"{len(parts)} restart intervals")
    table = scan.codes[scan.table]
    lengths = table & 255
    lengths[lengths == 16] = 0  # only 32768 has this length, so no bits follow (H.1.2.2)
    steps = np.where(table == 0, 255, (table >> 8) + lengths).astype(np.uint8)
    bands = np.zeros((len(parts), scan.lines, columns), np.uint16)  # the last may be only partly filled
    rows = min(rows, len(parts) * scan.lines)
    for number, (band, part) in enumerate(zip(bands, parts, strict=True)):
        size = min(scan.lines, rows - number * scan.lines) * columns
        done = _read_differences(part.replace(b"\xff\x00", b"\xff"), table, steps, band.reshape(-1)[:size])
        if done < size:
            if end or number < len(parts) - 1:
                raise ValueError("the stream ends before its last pixel")
            rows = number * scan.lines + max(0, done - 1) // columns  # the bits of the last one are not all there
    _undo_prediction(bands, 1 << (scan.precision - scan.shift - 1), scan.predictor)
    bands <<= scan.shift
    return bands.reshape(-1, columns)[:rows]


def _lossless_scan(frame: bytes, rows: int, columns: int) -> _Scan:
    scan = _Scan(lines=rows)
    for marker, payload, end in segments(frame):
        if marker == 0xC4:
            scan.codes |= _huffman_codes(payload)
        elif marker == 0xC3:
            scan.precision = check_frame(payload, rows, columns)
        elif 0xC0 <= marker <= 0xCF:
            raise ValueError("the stream is not JPEG Lossless with Huffman codes")
        elif marker == 0xDD:
            (interval,) = struct.unpack(">H", payload)
            if interval % columns:
                raise ValueError("a restart interval ends within a line")  # which H.1.1 does not allow
            scan.lines = interval // columns or rows
        elif marker == 0xDA:
            components, _, table, scan.predictor, _, shift = struct.unpack(">6B", payload)
            if components != 1:
                raise ValueError(f"{components} components")
            scan.table, scan.shift, scan.start = table >> 4, shift & 15, end
    return scan


def _huffman_codes(payload: bytes) -> dict[int, npt.NDArray[np.uint16]]:
    """Lookup tables by table number, each with an entry for every 16-bit window of the stream (B.2.4.2, annex C).

    An entry is 256 x the length of the code at the start of the window + the length of the difference that follows it;
    0 where the window starts with no code.
    """
    tables = {}
    while payload:
        number, counts, symbols = payload[0], payload[1:17], payload[17:]
        table = np.zeros(1 << 16, np.uint16)
        filled = used = 0
        for length, count in enumerate(counts, start=1):
            for symbol in symbols[used : used + count]:
                table[filled : filled + (1 << (16 - length))] = length << 8 | symbol
                filled += 1 << (16 - length)
            used += count
        if number > 3 or number in tables or filled > 1 << 16 or used > len(symbols) or (table & 255).max() > 16:
            raise ValueError("a broken Huffman table")
        tables[number] = table
        payload = symbols[used:]
    return tables


def _read_differences(
    coded: bytes, table: npt.NDArray[np.uint16], steps: npt.NDArray[np.uint8], differences: npt.NDArray[np.uint16]
) -> int:
    """Fill `differences` with the decoded values, modulo 2^16 (H.1.2.2), as far as they go; how many there are.

    `table` comes from `_huffman_codes`; `steps` holds the bits to the next code, per 16-bit window. The steps from all
    bit positions are looked up at once, so that the interpreter only has to hop from code to code, once per pixel.
    """
    padded = np.frombuffer(coded + bytes(8), np.uint8)
    done = position = 0
    for first in range(0, len(coded), _CODED_BLOCK):
        count = min(_CODED_BLOCK, len(coded) - first)
        data = padded[first : first + count + 8].astype(np.uint32)
        words = np.asarray(data[:-2] << 16 | data[1:-1] << 8 | data[2:], np.uint32)
        following = np.stack([steps[words[:count] >> (8 - bit) & 0xFFFF] for bit in range(8)], axis=1).tobytes()
        begins = bytearray(len(following))
        while position < len(following):
            begins[position] = 1
            position += following[position]
        position -= len(following)
        at = np.flatnonzero(np.frombuffer(begins, np.uint8))[: len(differences) - done]
        found = table[_sixteen_bits(words, at)]
        if not found.all():
            raise ValueError("bits that are no code")
        length = (found & 255).astype(np.int32)
        value = (_sixteen_bits(words, at + (found >> 8)) >> (16 - length)).astype(np.int32)
        value = np.where(value < (1 << length) >> 1, value - (1 << length) + 1, value)
        differences[done : done + len(at)] = np.where(length == 16, 1 << 15, value).astype(np.uint16)
        done += len(at)
        if done == len(differences):
            break
    return done


def _sixteen_bits(words: npt.NDArray[np.uint32], position: npt.NDArray[np.integer]) -> npt.NDArray[np.uint32]:
    """The 16-bit windows at the bits `position`; `words` holds each byte of the stream followed by the next two."""
    return np.asarray(words[position >> 3] >> (8 - (position & 7)).astype(np.uint32) & 0xFFFF, np.uint32)


def _undo_prediction(bands: npt.NDArray[np.uint16], start: int, predictor: int) -> None:
    """Turn differences into pixels, in place and modulo 2^16 (H.1.2.1); prediction restarts in each band."""
    count, rows, columns = bands.shape
    bands[:, 0, 0] += start
    bands[:, :, 0] = np.cumsum(bands[:, :, 0], axis=1, dtype=np.uint16)
    if predictor == 1:
        np.cumsum(bands, axis=2, dtype=np.uint16, out=bands)
        return
    bands[:, 0] = np.cumsum(bands[:, 0], axis=1, dtype=np.uint16)
    if min(rows, columns) == 1:
        return
    flat, step = bands.reshape(count, -1), columns - 1
    for diagonal in range(2, rows + step):  # its pixels depend only on the two diagonals before it
        begin = diagonal + max(1, diagonal - step) * step
        end = diagonal + min(rows - 1, diagonal - 1) * step + 1
        neighbours = (flat[:, begin - back : end - back : step] for back in (1, columns, columns + 1))
        predicted = _PREDICTORS[predictor](*(pixels.astype(np.int32) for pixels in neighbours))
        flat[:, begin:end:step] += predicted.astype(np.uint16)
