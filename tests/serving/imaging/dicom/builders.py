"""Builds DICOM objects in every transfer syntax, and reads what the decoder makes of them."""

import contextlib
import io
import struct
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from serving.errors import ImageError
from serving.imaging import decode, dicom

ROOT = Path(__file__).parents[4]

RAMP = [[0, 1000], [2000, 4000]]

Values = npt.NDArray[np.int64]


def radiograph(pixels: Any = RAMP, syntax: UID = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """A computed radiograph of 16 bits; an element given as None is left out."""
    values = np.asarray(pixels, np.uint16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    given = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": values.tobytes(),
        **elements,
    }
    for keyword, value in given.items():
        if value is not None:
            setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def shown(pixels: Any = RAMP, **elements: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return decode.decode(radiograph(pixels, **elements)).pixels.tolist()


def refusal(content: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode.decode(content)
    assert "\n" not in caught.value.message
    return caught.value


def fault(content: bytes) -> str:
    return refusal(content).code


def table(first: int, bits: int, entries: list[int]) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


def picture(bits: int, signed: bool = False) -> Values:
    """Smooth shapes with noise, and the extremes of `bits` side by side."""
    y, x = np.mgrid[:13, :17]
    waves = np.sin(x / 3) + np.cos(y / 4) + np.random.default_rng(bits).normal(0, 0.05, (13, 17))
    values = np.rint((waves + 3) / 6 * (2**bits - 1)).astype(np.int64)
    values[6, 3:9] = [0, 2**bits - 1, 0, 2 ** (bits - 1), 0, 1]
    return np.asarray(values - 2 ** (bits - 1) if signed else values, np.int64)


def coded(
    values: Values, syntax: UID, bits: int, pack: Callable[[bytes], bytes] | None = None, **elements: Any
) -> bytes:
    """A radiograph of `bits` stored bits, signed if it has negative values; `pack` turns a frame into pixel data."""
    size = 1 if bits <= 8 else 2
    signed = int(values.min() < 0)
    array = values.astype(f"{'ui'[signed]}{size}")
    data = array.astype(array.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")).tobytes()
    data += bytes(len(data) % 2)
    if syntax.is_encapsulated:
        data = (pack or (lambda frame: encapsulate([frame])))(FRAMES[syntax](array, bits))
    declared = {"BitsAllocated": 8 * size, "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": signed}
    return radiograph(np.zeros(values.shape), syntax, **{**declared, "PixelData": data, **elements})


def by_pydicom(syntax: UID, plugin: str, array: npt.NDArray[Any], bits: int, **options: Any) -> bytes:
    described = {
        "rows": array.shape[0],
        "columns": array.shape[1],
        "bits_allocated": 8 * array.itemsize,
        "bits_stored": bits,
        "pixel_representation": int(array.dtype.kind == "i"),
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "photometric_interpretation": "MONOCHROME2",
    }
    return bytes(get_encoder(syntax).encode(array, encoding_plugin=plugin, **{**described, **options}))


def jpeg(array: npt.NDArray[Any], bits: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def jpeg_2000(array: npt.NDArray[Any], bits: int, **options: Any) -> bytes:
    """Pillow codes 8 or 16 bits without a sign; of others it codes the same coefficients, and the header is changed."""
    signed = array.dtype.kind == "i"
    buffer = io.BytesIO()
    if bits % 8 or signed:
        centred = array.astype(np.int64) - (0 if signed else 2 ** (bits - 1))
        array = (centred + 2**15).astype(np.uint16)
    Image.fromarray(array).save(buffer, "JPEG2000", no_jp2=True, **options)
    stream = bytearray(buffer.getvalue())
    stream[42] = 128 * signed + bits - 1  # Ssiz (ISO 15444-1, A.5.1)
    return bytes(stream)


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(payload)) + payload


def lossless_jpeg(
    array: npt.NDArray[Any], bits: int, predictor: int = 1, shift: int = 0, lines: int = 0, **headers: bytes
) -> bytes:
    """ITU-T T.81, annex H, with a code of five bits for each length of a difference; `headers` replace its own."""
    values = (array.astype(np.int64) & (2**bits - 1)) >> shift
    rows, columns = values.shape
    scans = [
        _predicted(values[top : top + lines or rows], bits - shift, predictor) for top in range(0, rows, lines or rows)
    ]
    start = {
        "soi": b"\xff\xd8",
        "dht": segment(0xC4, bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])),
        "sof": segment(0xC3, struct.pack(">BHHBBBB", bits, rows, columns, 1, 1, 0x11, 0)),
        "dri": segment(0xDD, struct.pack(">H", lines * columns)) if lines else b"",
        "sos": segment(0xDA, bytes([1, 1, 0, predictor, 0, shift])),
        "data": b"".join(scan + bytes([0xFF, 0xD0 + number % 8]) for number, scan in enumerate(scans))[:-2],
        "eoi": b"\xff\xd9",
    }
    return b"".join({**start, **headers}.values())


def _predicted(values: Values, bits: int, predictor: int) -> bytes:
    code = ""
    for (row, column), value in np.ndenumerate(values):
        left, above = int(values[row, column - 1]), int(values[row - 1, column])
        corner = int(values[row - 1, column - 1])
        expected = {
            1: left,
            2: above,
            3: corner,
            4: left + above - corner,
            5: left + ((above - corner) >> 1),
            6: above + ((left - corner) >> 1),
            7: (left + above) >> 1,
        }[predictor]
        if row == 0 or column == 0:
            expected = left if column else above if row else 2 ** (bits - 1)
        difference = (int(value) - expected + 2**15 - 1) % 2**16 - 2**15 + 1  # -32767 to 32768
        length = abs(difference).bit_length()
        low = difference if difference > 0 else difference + 2**length - 1
        code += f"{length:05b}" + (f"{low:0{length}b}" if 0 < length < 16 else "")
    code += "1" * (-len(code) % 8)
    return int(code, 2).to_bytes(len(code) // 8, "big").replace(b"\xff", b"\xff\x00")


_PLACES = sorted(np.ndindex(8, 8), key=lambda at: (sum(at), at[(sum(at) + 1) % 2]))  # zigzag, ITU-T T.81, figure 5
_SYMBOLS = [0x00, 0xF0, *(16 * run + length for run in range(16) for length in range(1, 15))]  # F.1.2.2


def extended_jpeg(array: npt.NDArray[Any], step: int = 1, **headers: bytes) -> bytes:
    """ITU-T T.81, process 4, of 12 bits quantised by `step`; `headers` replace its own.

    Huffman codes are of one length each: 5 bits for the lengths of DC differences, 8 for runs of AC coefficients.
    """
    values = array.astype(np.int64) & 4095
    rows, columns = values.shape
    data = _transformed(np.pad(values, ((0, -rows % 8), (0, -columns % 8)), mode="edge") - 2048, step)
    start = {
        "soi": b"\xff\xd8",
        "dqt": segment(0xDB, bytes([0, *[step] * 64])),
        "sof": segment(0xC1, struct.pack(">BHHBBBB", 12, rows, columns, 1, 1, 0x11, 0)),
        "dc": segment(0xC4, bytes([0, *[0] * 4, 16, *[0] * 11, *range(16)])),
        "ac": segment(0xC4, bytes([0x10, *[0] * 7, len(_SYMBOLS), *[0] * 8, *_SYMBOLS])),
        "sos": segment(0xDA, bytes([1, 1, 0, 0, 63, 0])),
        "data": data,
        "eoi": b"\xff\xd9",
    }
    return b"".join({**start, **headers}.values())


def _transformed(values: Values, step: int) -> bytes:
    """The entropy-coded coefficients (F.1.2) of the discrete cosine transform (A.3.3) of whole blocks."""
    basis = np.cos(np.outer(range(8), 2 * np.arange(8) + 1) * np.pi / 16) / 2
    basis[0] /= np.sqrt(2)
    code, before = "", 0
    for top, left in np.ndindex(values.shape[0] // 8, values.shape[1] // 8):
        block = values[8 * top : 8 * top + 8, 8 * left : 8 * left + 8]
        first, *others = (int(value) for value in np.rint(basis @ block @ basis.T / step)[tuple(np.transpose(_PLACES))])
        length, low = _low_bits(first - before)
        code, before = f"{code}{length:05b}{low}", first
        run = 0
        for value in others:
            if not value:
                run += 1
                continue
            length, low = _low_bits(value)
            code += f"{_SYMBOLS.index(0xF0):08b}" * (run // 16) + f"{_SYMBOLS.index(run % 16 * 16 + length):08b}{low}"
            run = 0
        code += f"{_SYMBOLS.index(0):08b}" if run else ""
    code += "1" * (-len(code) % 8)
    return int(code, 2).to_bytes(len(code) // 8, "big").replace(b"\xff", b"\xff\x00")


def _low_bits(value: int) -> tuple[int, str]:
    """The length of a coefficient and the bits that tell it from others of that length (F.1.2.1)."""
    length = abs(value).bit_length()
    return length, f"{value if value > 0 else value + 2**length - 1:0{length}b}" if length else ""


def jpeg_of_either_depth(array: npt.NDArray[Any], bits: int) -> bytes:
    return jpeg(array, bits) if bits == 8 else extended_jpeg(array)


FRAMES: dict[UID, Callable[[npt.NDArray[Any], int], bytes]] = {
    RLELossless: partial(by_pydicom, RLELossless, "pydicom"),
    JPEGBaseline8Bit: jpeg,
    JPEGExtended12Bit: jpeg_of_either_depth,
    JPEGLossless: partial(lossless_jpeg, predictor=7),
    JPEGLosslessSV1: lossless_jpeg,
    JPEGLSLossless: partial(by_pydicom, JPEGLSLossless, "pyjpegls"),
    JPEGLSNearLossless: partial(by_pydicom, JPEGLSNearLossless, "pyjpegls", jls_error=2),
    JPEG2000Lossless: jpeg_2000,
    uid.JPEG2000: partial(jpeg_2000, irreversible=True),
}

LOSSY = [JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, uid.JPEG2000]

EXACT = [syntax for syntax in dicom.DECODERS if syntax not in LOSSY]

COMPRESSED = [syntax for syntax in dicom.DECODERS if syntax.is_encapsulated]


def name(value: Any) -> str | None:
    return value.keyword if isinstance(value, UID) else None


def stored(build: Callable[..., bytes], syntax: UID, signed: bool = False) -> Values:
    """All bits of the stored values: the two bytes of each shown one after the other through a VOI LUT."""
    elements: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": 2**15} if signed else {}
    every = np.arange(2**16)
    shown = []
    for entries in (every >> 8, every & 255):
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [0, 0, 8])
        item.add_new("LUTData", "OW", entries.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes())
        shown.append(decode.decode(build(VOILUTSequence=[item], **elements)).pixels.astype(np.int64))
    return shown[0] * 256 + shown[1] - (2**15 if signed else 0)


def peak(content: bytes) -> int:
    """The most bytes that decoding took at a time."""
    tracemalloc.start()
    with contextlib.suppress(ImageError):
        decode.decode(content)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most
