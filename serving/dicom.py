"""DICOM objects to grey pixels: transfer syntaxes, modality and VOI transformations, photometric interpretation.

Files come from strangers: what they inflate or decode to is bounded by the image they declare. Each transfer syntax
has one decoder, by name, so that every installation sees the same pixels, whatever else is installed.
"""

import io
import logging
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels import get_decoder

from serving.errors import ImageError

DECODERS: dict[uid.UID, Literal["pydicom", "pillow", "pyjpegls", "run lengths", "differences"]] = {
    uid.ImplicitVRLittleEndian: "pydicom",
    uid.ExplicitVRLittleEndian: "pydicom",
    uid.DeflatedExplicitVRLittleEndian: "pydicom",
    uid.ExplicitVRBigEndian: "pydicom",
    uid.RLELossless: "run lengths",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",
    uid.JPEGLossless: "differences",
    uid.JPEGLosslessSV1: "differences",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pillow",
    uid.JPEG2000: "pillow",
}
"""What decodes a transfer syntax: a plugin of pydicom, or `_run_lengths` or `_differences` of this module."""

_PREAMBLE = 128
_GREY = ("MONOCHROME1", "MONOCHROME2")
_PIXEL_DATA = 0x7FE00008  # and the two tags after it: float, double and integer pixel data
_MAX_HEADER = 4 << 20  # bytes inflated for the elements around the pixels, which take a few kB in a radiograph
_MAX_READS = 50_000  # steps of the parser, a few for each element: it is through them in less than a second
_MAX_FRAGMENTS = 10_000  # of the pixel data: there are radiographs with one for each line
_MAX_SEGMENTS = 256  # of a JPEG stream before its scan
_BLOCK = 1 << 18  # pixels looked up at a time

# It would log a traceback for each frame that it cannot decode, and warn of invalid values by repeating them, which may
# name a patient. The error says what is wrong.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def is_dicom(content: bytes) -> bool:
    """Whether the bytes carry the DICOM file prefix (PS3.10, 7.1)."""
    return content[_PREAMBLE : _PREAMBLE + 4] == b"DICM"


def inspect(content: bytes) -> dict[str, Any]:
    """The fields of `imaging.Header`, from the elements of the image pixel module, without touching pixels.

    Raises ImageError `undecodable` for a broken object and `no_pixels` for one without an image.
    """
    with _faults("the DICOM object is broken"):
        dataset = _read(content)
        rows, columns = _size(dataset)
        return {
            "format": "DICOM",
            "mode": str(dataset.PhotometricInterpretation),
            "bit_depth": int(dataset.BitsStored),
            "width": columns,
            "height": rows,
            "orientation": 1,
            "frames": int(dataset.get("NumberOfFrames") or 1),
            "sop_instance_uid": _identifier(dataset.get("SOPInstanceUID")),
        }


def decode(content: bytes) -> npt.NDArray[np.uint8]:
    """Grey pixels of a single-frame object, uint8 (rows, columns), bright bone.

    The window or VOI LUT of the object is applied (PS3.3, C.11.2); without one the range of the pixels is used.
    MONOCHROME1 is inverted. Memory is taken for as many pixels as the object declares: look at `inspect` first.
    Raises ImageError `undecodable`, `no_pixels` or `unsupported_dicom`.
    """
    with _faults("the DICOM object is broken"):
        header = _read(content)
        rows, columns = _size(header)
        _check_supported(header)
        dataset = _read(content, max(1, rows * columns * int(header.BitsAllocated) // 8))
    if "PixelData" not in dataset:
        raise ImageError("no_pixels", "the DICOM object holds no pixel data")
    with _faults(f"the DICOM pixels ({dataset.file_meta.TransferSyntaxUID.name}) cannot be decoded"):
        return _grey(_stored(dataset), dataset)


@contextmanager
def _faults(problem: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001  parsers and decoders raise whatever broken bytes lead them to
        detail = " ".join(str(error).split("available plugins:")[-1].split())[:120] or type(error).__name__
        raise ImageError("undecodable", f"{problem} ({detail})") from None


def _size(dataset: pydicom.Dataset) -> tuple[int, int]:
    if any(dataset.get(name) is None for name in ("Rows", "Columns", "PhotometricInterpretation", "BitsStored")):
        raise ImageError("no_pixels", "the DICOM object holds no image")
    return int(dataset.Rows), int(dataset.Columns)


def _check_supported(header: pydicom.Dataset) -> None:
    photometric = str(header.get("PhotometricInterpretation", ""))
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise ImageError("unsupported_dicom", "the DICOM object has several frames; send one image at a time")
    if photometric not in _GREY:
        raise ImageError("unsupported_dicom", f"photometric interpretation {photometric or 'missing'} is no radiograph")
    if header.get("BitsAllocated") not in {8, 16}:
        raise ImageError("unsupported_dicom", "Bits Allocated of a radiograph is 8 or 16 (PS3.3, C.8.11.3)")
    syntax = uid.UID(str(header.file_meta.get("TransferSyntaxUID", "")))
    if syntax not in DECODERS:
        raise _unsupported(syntax, "is not supported")


def _unsupported(syntax: uid.UID, problem: str) -> ImageError:
    name = f"{syntax} ({syntax.name})" if syntax.is_transfer_syntax else _identifier(syntax) or "missing"
    return ImageError("unsupported_dicom", f"transfer syntax {name} {problem}; send the object uncompressed")


def _identifier(value: Any) -> str:
    """A UID; empty where it is none: free text may name a patient."""
    found = uid.UID(str(value or ""))
    return str(found) if found.is_valid else ""


# The data set


class _Deflated(Exception):  # noqa: N818  no error: it says where the deflated data set begins
    def __init__(self, position: int) -> None:
        super().__init__()
        self.position = position


class _Source(io.BytesIO):
    """Bytes for pydicom to parse, which has no limits of its own."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:  # it reads all that is left only to inflate it, whole
            raise _Deflated(self.tell())
        self._reads += 1
        if self._reads > _MAX_READS:
            raise ImageError("undecodable", "the DICOM object is broken (it has too many elements)")
        return super().read(size)


def _read(content: bytes, pixel_bytes: int = 0) -> pydicom.Dataset:
    """The data set up to its pixel data or, where `pixel_bytes` tells their size, whole."""
    try:
        return pydicom.dcmread(_Source(content), stop_before_pixels=not pixel_bytes)
    except _Deflated as found:
        return _inflated(content, found.position, pixel_bytes)


def _inflated(content: bytes, position: int, pixel_bytes: int) -> pydicom.Dataset:
    """The data set of a deflated object (PS3.5, A.5), inflated as far as a header and `pixel_bytes` go."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    limit = _MAX_HEADER + pixel_bytes
    plain = inflater.decompress(content[position:], limit)
    reached = False

    def is_enough(tag: int, _vr: str | None, _length: int) -> bool:
        nonlocal reached
        reached = not pixel_bytes and tag >= _PIXEL_DATA
        return reached

    dataset = read_dataset(_Source(plain), is_implicit_VR=False, is_little_endian=True, stop_when=is_enough)
    if not reached and not inflater.eof:
        fault = "it ends early" if len(plain) < limit else "it inflates to more than a header and its image"
        raise ImageError("undecodable", f"the DICOM object is broken ({fault})")
    dataset.file_meta = pydicom.dcmread(io.BytesIO(content[:position])).file_meta
    return dataset


# Stored values


def _stored(dataset: pydicom.Dataset) -> npt.NDArray[np.integer]:
    """The stored values, (rows, columns), of the type that Bits Allocated and Pixel Representation name."""
    syntax = dataset.file_meta.TransferSyntaxUID
    rows, columns = _size(dataset)
    if not syntax.is_encapsulated:
        row = columns * int(dataset.BitsAllocated) // 8
        if len(dataset.PixelData) >= rows * row + max(row, 2):  # some writers pad, by less than a row
            raise _misfit(rows, columns)
        plugin = ""
    else:
        plugin = DECODERS[syntax]
        if dataset.PixelData.count(b"\xfe\xff\x00\xe0") > _MAX_FRAGMENTS:
            raise ValueError("too many fragments")
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        if plugin in {"pillow", "pyjpegls"}:
            dataset.PixelData = encapsulate([_codestream(frame, syntax, rows, columns)])
            for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):  # of the fragments as they were
                dataset.pop(keyword, None)
        else:
            size = int(dataset.BitsAllocated) // 8
            pixels = (_run_lengths if plugin == "run lengths" else _differences)(frame, rows, columns, size)
            dataset.PixelData = pixels.astype(f"<u{size}").tobytes()
            dataset.file_meta.TransferSyntaxUID = syntax = uid.ExplicitVRLittleEndian
            plugin = ""
    options: dict[str, Any] = {"decoding_plugin": plugin, "view_only": True}
    return get_decoder(syntax).as_array(dataset, **options)[0]


def _misfit(rows: int, columns: int) -> ImageError:
    return ImageError("undecodable", f"the DICOM pixels do not fit Rows x Columns, {rows} x {columns}")


def _codestream(frame: bytes, syntax: uid.UID, rows: int, columns: int) -> bytes:
    """The coded image of a frame, if of `rows` x `columns`: of another size it would be sheared, or fill the memory."""
    if syntax in {uid.JPEG2000Lossless, uid.JPEG2000}:
        start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # SOC, SIZ (ISO 15444-1, A.5.1); boxes of JP2 may come before
        if start < 0 or len(frame) < start + 45:
            raise ValueError("no JPEG 2000 codestream")
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        components, _, across, down = struct.unpack_from(">HBBB", frame, start + 40)
        if (bottom - top, right - left, components, across, down) != (rows, columns, 1, 1, 1):
            raise _misfit(rows, columns)
        return frame[start:]
    for marker, payload, _ in _segments(frame):
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}):  # SOF55 of JPEG-LS, SOFn
            precision = _check_frame(payload, rows, columns)
            if DECODERS[syntax] == "pyjpegls":
                return frame + b"\xff\xd9"  # EOI: at an end without it CharLS may look for a next bit for seconds
            if precision != 8:
                raise _unsupported(syntax, f"is supported with 8 bits, not with {precision}")
            return frame
    raise ValueError("the stream has no frame header")


def _segments(frame: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, payload and end of each segment of a JPEG or JPEG-LS stream up to its scan (ITU-T T.81, B.1.1)."""
    if not frame.startswith(b"\xff\xd8"):
        raise ValueError("no JPEG stream")
    end = 2
    for _ in range(_MAX_SEGMENTS):
        while frame.startswith(b"\xff\xff", end):  # fill bytes
            end += 1
        if len(frame) < end + 4:
            raise ValueError("the stream ends before its scan")
        prefix, marker, length = struct.unpack_from(">BBH", frame, end)
        if prefix != 0xFF or length < 2:
            raise ValueError("the stream has a broken marker")
        start, end = end + 4, end + 2 + length
        yield marker, frame[start:end], end
        if marker == 0xDA:
            return
    raise ValueError("the stream has too many segments")


def _check_frame(payload: bytes, rows: int, columns: int) -> int:
    """The bits of a pixel that a frame header tells (B.2.2)."""
    precision, coded_rows, coded_columns, components = struct.unpack_from(">BHHB", payload)
    if (coded_rows, coded_columns, components) != (rows, columns, 1):
        raise _misfit(rows, columns)
    return int(precision)


# RLE (PS3.5, annex G)


def _run_lengths(frame: bytes, rows: int, columns: int, size: int) -> npt.NDArray[np.uint16]:
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
        raise _misfit(rows, columns)
    pixels = np.zeros(rows * columns, np.uint16)
    for segment in segments:
        pixels <<= 8
        pixels |= _unpacked(segment, rows * columns)
    return pixels


def _unpacked(segment: bytes, length: int) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.frombytes("L", (length, 1), segment, "packbits", "L"), np.uint8).reshape(-1)


# JPEG Lossless (ITU-T T.81, annex H). Of the decoders for more than eight bits that could be installed, some end the
# whole process at a broken stream, and others may not be passed on with this project.

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
    """What the headers of a JPEG Lossless stream say; `lines` is the height of what is predicted without the rest."""

    codes: dict[int, npt.NDArray[np.uint16]] = field(default_factory=dict)
    lines: int = 0
    precision: int = 0
    table: int = 0
    predictor: int = 0
    shift: int = 0
    start: int = 0


def _differences(frame: bytes, rows: int, columns: int, size: int) -> npt.NDArray[np.uint16]:
    """The pixels of a JPEG Lossless stream of one component, which have to fit in `size` bytes."""
    scan = _lossless_scan(frame, rows, columns)
    if not (scan.shift < scan.precision <= 8 * size and 1 <= scan.predictor <= 7 and scan.table in scan.codes):
        raise ValueError(f"precision {scan.precision}, predictor {scan.predictor}, table {scan.table}")
    end = _END.search(frame, scan.start)
    parts = _RESTART.split(frame[scan.start : end.start() if end else len(frame)])
    if len(parts) != -(-rows // scan.lines):
        raise ValueError(f"{len(parts)} restart intervals")
    table = scan.codes[scan.table]
    lengths = table & 255
    lengths[lengths == 16] = 0  # the one difference of this length, 32768, is not followed by its bits
    steps = np.where(table == 0, 255, (table >> 8) + lengths).astype(np.uint8)
    bands = np.zeros((len(parts), scan.lines, columns), np.uint16)  # the last may be filled in part
    for number, (band, part) in enumerate(zip(bands, parts, strict=True)):
        size = min(scan.lines, rows - number * scan.lines) * columns
        _read_differences(part.replace(b"\xff\x00", b"\xff"), table, steps, band.reshape(-1)[:size])
    _undo_prediction(bands, 1 << (scan.precision - scan.shift - 1), scan.predictor)
    bands <<= scan.shift
    return bands.reshape(-1, columns)[:rows]


def _lossless_scan(frame: bytes, rows: int, columns: int) -> _Scan:
    scan = _Scan(lines=rows)
    for marker, payload, end in _segments(frame):
        if marker == 0xC4:
            scan.codes |= _huffman_codes(payload)
        elif marker == 0xC3:
            scan.precision = _check_frame(payload, rows, columns)
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
    """By the number of a table, for all values of sixteen bits: 256 x the length of the code that they begin with
    + the length of the difference that follows; 0 where they begin with no code (B.2.4.2, annex C).
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
) -> None:
    """Fill `differences`, modulo 2^16 (H.1.2.2); `steps` tells for sixteen bits how many of them the next code is away.

    This is looked up for every bit at once, so that going from one code to the next is all that takes the interpreter
    a step for each pixel.
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
            return
    raise ValueError("the stream ends before its last pixel")


def _sixteen_bits(words: npt.NDArray[np.uint32], position: npt.NDArray[np.integer]) -> npt.NDArray[np.uint32]:
    """The bits from `position` on; `words` holds, for each byte, it and the two after it."""
    return np.asarray(words[position >> 3] >> (8 - (position & 7)).astype(np.uint32) & 0xFFFF, np.uint32)


def _undo_prediction(bands: npt.NDArray[np.uint16], start: int, predictor: int) -> None:
    """Turn differences into pixels, in place and modulo 2^16 (H.1.2.1); each band begins anew."""
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
    for diagonal in range(2, rows + step):  # its pixels depend on those of the two before it
        begin = diagonal + max(1, diagonal - step) * step
        end = diagonal + min(rows - 1, diagonal - 1) * step + 1
        neighbours = (flat[:, begin - back : end - back : step] for back in (1, columns, columns + 1))
        predicted = _PREDICTORS[predictor](*(pixels.astype(np.int32) for pixels in neighbours))
        flat[:, begin:end:step] += predicted.astype(np.uint16)


# Display values


def _grey(stored: npt.NDArray[np.integer], dataset: pydicom.Dataset) -> npt.NDArray[np.uint8]:
    """Grey levels of stored values, through a table of those that occur: per pixel they would take much memory."""
    native = stored.dtype.newbyteorder("=")
    index = stored.view(stored.dtype.str.replace("i", "u")).reshape(-1)
    blocks = [slice(first, first + _BLOCK) for first in range(0, index.size, _BLOCK)]
    occurs = np.zeros(1 << (8 * native.itemsize), bool)
    for block in blocks:
        occurs[index[block]] = True
    values = np.flatnonzero(occurs)
    table = np.zeros(occurs.size, np.uint8)
    table[values] = _levels(values.astype(f"u{native.itemsize}").view(native).astype(np.int64), dataset)
    grey = np.empty(index.size, np.uint8)
    for block in blocks:
        np.take(table, index[block], out=grey[block], mode="clip")
    return grey.reshape(stored.shape)


def _levels(stored: npt.NDArray[np.int64], dataset: pydicom.Dataset) -> npt.NDArray[np.uint8]:
    levels = np.asarray(np.rint(_display(_modality(stored, dataset), dataset) * 255.0), np.uint8)
    return 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels


def _modality(stored: npt.NDArray[np.int64], dataset: pydicom.Dataset) -> npt.NDArray[np.float64]:
    """Stored values to modality values (PS3.3, C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        return _looked_up(stored, dataset.ModalityLUTSequence[0], dataset)
    if "RescaleSlope" in dataset and "RescaleIntercept" in dataset:
        return np.asarray(stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept), np.float64)
    return stored.astype(np.float64)


def _looked_up(values: npt.NDArray[Any], table: pydicom.Dataset, dataset: pydicom.Dataset) -> npt.NDArray[np.float64]:
    """What a modality or VOI LUT says of `values`: below its first entry the first, above its last the last."""
    count, first = int(table.LUTDescriptor[0]) or 1 << 16, int(table.LUTDescriptor[1])
    entries = table.LUTData
    if isinstance(entries, bytes):
        words = np.frombuffer(entries, "<u2" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">u2")
        packed = len(words) < count  # entries of eight bits, two in a word
        entries = words.astype("<u2").view(np.uint8) if packed else words
    entries = np.atleast_1d(np.asarray(entries, np.float64))[:count]
    return np.asarray(entries[np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)], np.float64)


def _display(values: npt.NDArray[np.float64], dataset: pydicom.Dataset) -> npt.NDArray[np.float64]:
    """Modality values to display values in [0, 1]."""
    if dataset.get("VOILUTSequence"):
        table = dataset.VOILUTSequence[0]
        bits = int(table.LUTDescriptor[2]) or 16
        return np.asarray(np.clip(_looked_up(values, table, dataset) / (2**bits - 1), 0, 1), np.float64)
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is None or width is None or width <= 0:
        low, high = float(values.min()), float(values.max())
        return np.asarray((values - low) / max(high - low, 1e-9), np.float64)
    function = str(dataset.get("VOILUTFunction", "LINEAR"))
    if function == "SIGMOID":
        exponent = np.clip(-4.0 * (values - center) / width, -700, 700)  # beyond it a float64 overflows
        return np.asarray(1.0 / (1.0 + np.exp(exponent)), np.float64)
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width <= 1:
        return np.asarray(values > center - 0.5, np.float64)  # a threshold, as the formula's limits say
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0, 1)


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, (int, float, str)) else next(iter(value), 0))
