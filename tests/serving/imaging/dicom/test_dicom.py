"""DICOM objects to grey pixels: transfer syntaxes, exact display values (PS3.3, C.11.2.1.2), and what is refused."""

import contextlib
import io
import json
import logging
import os
import re
import struct
import subprocess
import sys
import time
import tracemalloc
import warnings
import zlib
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
    DeflatedExplicitVRLittleEndian,
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
from serving.imaging import canvas, decode, dicom

ROOT = Path(__file__).parents[4]
SAMPLES = os.environ.get("DICOM_SAMPLES", "")
real_data = pytest.mark.skipif(not SAMPLES, reason="DICOM_SAMPLES does not say where the sample objects are")

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


# Objects in every transfer syntax


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
    return bytes(get_encoder(syntax).encode(array, encoding_plugin=plugin, **described, **options))


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


FRAMES: dict[UID, Callable[[npt.NDArray[Any], int], bytes]] = {
    RLELossless: partial(by_pydicom, RLELossless, "pydicom"),
    JPEGBaseline8Bit: jpeg,
    JPEGExtended12Bit: jpeg,
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


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", EXACT, ids=name)
def test_a_lossless_transfer_syntax_gives_the_stored_values_exactly(syntax: UID, bits: int) -> None:
    values = picture(bits)
    np.testing.assert_array_equal(stored(partial(coded, values, syntax, bits), syntax), values)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("syntax", EXACT, ids=name)
def test_a_lossless_transfer_syntax_gives_signed_values_exactly(syntax: UID, bits: int) -> None:
    values = picture(bits, signed=True)
    np.testing.assert_array_equal(stored(partial(coded, values, syntax, bits), syntax, signed=True), values)


@pytest.mark.parametrize(
    ("syntax", "bits", "most"),
    [
        (JPEGBaseline8Bit, 8, 16),
        (JPEGExtended12Bit, 8, 16),
        (JPEGLSNearLossless, 8, 2),
        (JPEGLSNearLossless, 16, 2),
        (uid.JPEG2000, 8, 1),
        (uid.JPEG2000, 16, 40),
    ],
    ids=name,
)
def test_a_lossy_transfer_syntax_gives_nearly_the_stored_values(syntax: UID, bits: int, most: int) -> None:
    values = picture(bits)
    values[6, 3:9] = values[5, 3:9]  # extremes side by side are what is lost first
    difference = np.abs(stored(partial(coded, values, syntax, bits), syntax) - values).max()
    assert 0 < difference <= most


@pytest.mark.parametrize("syntax", dicom.DECODERS, ids=name)
def test_monochrome1_is_inverted_in_every_transfer_syntax(syntax: UID) -> None:
    build = partial(coded, picture(8), syntax, 8)
    inverted = decode.decode(build(PhotometricInterpretation="MONOCHROME1")).pixels
    np.testing.assert_array_equal(inverted, 255 - decode.decode(build()).pixels)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
def test_a_frame_may_come_in_several_fragments(syntax: UID) -> None:
    build = partial(coded, picture(8), syntax, 8)
    split = build(lambda frame: encapsulate([frame], fragments_per_frame=5))
    np.testing.assert_array_equal(decode.decode(split).pixels, decode.decode(build()).pixels)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
def test_a_frame_may_be_padded_to_even_length(syntax: UID) -> None:
    build = partial(coded, picture(8), syntax, 8)
    padded = build(lambda frame: encapsulate([frame + bytes(2 - len(frame) % 2)]))
    np.testing.assert_array_equal(decode.decode(padded).pixels, decode.decode(build()).pixels)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
def test_a_frame_needs_no_table_of_offsets(syntax: UID) -> None:
    build = partial(coded, picture(8), syntax, 8)
    bare = build(lambda frame: encapsulate([frame], has_bot=False))
    np.testing.assert_array_equal(decode.decode(bare).pixels, decode.decode(build()).pixels)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
def test_a_frame_cut_short_is_undecodable(syntax: UID) -> None:
    assert fault(coded(picture(8), syntax, 8, lambda frame: encapsulate([frame[: len(frame) // 2]]))) == "undecodable"


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
@pytest.mark.parametrize("size", [{"Rows": 14}, {"Rows": 12}, {"Columns": 18}, {"Columns": 16}], ids=str)
def test_a_frame_of_another_size_than_its_object_says_is_undecodable(syntax: UID, size: dict[str, Any]) -> None:
    assert fault(coded(picture(8), syntax, 8, **size)) == "undecodable"


@pytest.mark.parametrize("changed", [{41: 2}, {43: 2}, {44: 2}], ids=["components", "across", "down"])
def test_jpeg_2000_with_several_or_coarser_components_is_undecodable(changed: dict[int, int]) -> None:
    def pack(frame: bytes) -> bytes:
        return encapsulate([bytes(changed.get(place, value) for place, value in enumerate(frame))])

    assert "do not fit" in refusal(coded(picture(8), JPEG2000Lossless, 8, pack)).message


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
def test_an_extended_table_of_offsets_is_not_relied_on(syntax: UID) -> None:
    build = partial(coded, picture(8), syntax, 8)
    far: dict[str, Any] = {
        "ExtendedOffsetTable": struct.pack("<Q", 1 << 40),
        "ExtendedOffsetTableLengths": struct.pack("<Q", 7),
    }
    np.testing.assert_array_equal(decode.decode(build(**far)).pixels, decode.decode(build()).pixels)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, uid.JPEG2000], ids=name)
def test_a_jpeg_2000_codestream_may_stand_in_its_file_format(syntax: UID) -> None:
    def boxed(frame: bytes) -> bytes:
        return encapsulate([b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">L4s", 8 + len(frame), b"jp2c") + frame])

    build = partial(coded, picture(8), syntax, 8)
    np.testing.assert_array_equal(decode.decode(build(boxed)).pixels, decode.decode(build()).pixels)


def test_the_documentation_lists_the_transfer_syntaxes() -> None:
    listed = re.findall(r"^\| `([\d.]+)` \|", (ROOT / "docs" / "dicom.md").read_text(), re.MULTILINE)
    assert listed == list(dicom.DECODERS)


# JPEG Lossless


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_predictor_of_jpeg_lossless_is_undone(bits: int, predictor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FRAMES, JPEGLossless, partial(lossless_jpeg, predictor=predictor))
    values = picture(bits)
    np.testing.assert_array_equal(stored(partial(coded, values, JPEGLossless, bits), JPEGLossless), values)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2)], ids=str)
def test_every_predictor_of_jpeg_lossless_is_undone_in_a_line(
    shape: tuple[int, int], predictor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FRAMES, JPEGLossless, partial(lossless_jpeg, predictor=predictor))
    values = picture(12)[: shape[0], : shape[1]]
    np.testing.assert_array_equal(stored(partial(coded, values, JPEGLossless, 12), JPEGLossless), values)


@pytest.mark.parametrize("lines", [1, 3, 13])
@pytest.mark.parametrize("predictor", [1, 4, 7])
def test_a_restart_interval_of_jpeg_lossless_begins_anew(
    predictor: int, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FRAMES, JPEGLossless, partial(lossless_jpeg, predictor=predictor, lines=lines))
    values = picture(12)
    np.testing.assert_array_equal(stored(partial(coded, values, JPEGLossless, 12), JPEGLossless), values)


def test_the_point_transform_of_jpeg_lossless_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FRAMES, JPEGLossless, partial(lossless_jpeg, shift=3))
    values = picture(12)
    np.testing.assert_array_equal(stored(partial(coded, values, JPEGLossless, 12), JPEGLossless), values & ~7)


def test_a_long_jpeg_lossless_stream_is_read_in_blocks() -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (200, 250))  # more bytes than are read at a time
    np.testing.assert_array_equal(stored(partial(coded, values, JPEGLosslessSV1, 16), JPEGLosslessSV1), values)


@pytest.mark.parametrize(
    "stream",
    [
        "ffc3000b100005000401011100ffc4001a00000203010100000000000000000000000709030406080fffda0008010100040000"
        "f07d45f7c48bbd896b67b0c970b4f53dd66b1e42dcc684697fff",
        "ffe000104a46494600010100000100010000ffc3000b100005000401011100ffc4001b0000020203010000000000000000000000"
        "050906070004080fffda0008010100070000f07d45f7c48bbd894d2732364a330af75db1ae51b99cb26cafffff",
        "ffc3000b100005000401011100ffc40016000101010000000000000000000000000008090fffda0008010100010000"
        "c1f527d89277d12140ae7bd259dc1f103acb3370355cc1c220ff00",
    ],
    ids=["DCMTK, predictor 4", "DCMTK, predictor 7", "GDCM, predictor 1"],
)
def test_the_jpeg_lossless_of_others_is_decoded(stream: str) -> None:
    values = [
        [2005, 1745, 1526, 1254],
        [2279, 2064, 1852, 1588],
        [2572, 2299, 2075, 1852],
        [2807, 2641, 2350, 2121],
        [3178, 2937, 2716, 2492],
    ]
    frame = bytes.fromhex("ffd8" + stream + "ffd9")
    build = partial(radiograph, values, JPEGLossless, PixelData=encapsulate([frame]), BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(stored(build, JPEGLossless), values)


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"soi": b""}, "no JPEG stream"),
        ({"dht": b""}, "table 0"),
        ({"dht": segment(0xC4, bytes([0, 3, *[0] * 15, 0, 1, 2]))}, "Huffman table"),  # three codes of one bit
        ({"dht": segment(0xC4, bytes([0, *[0] * 4, 17, *[0] * 11, *range(9)]))}, "Huffman table"),  # nine symbols
        ({"dht": segment(0xC4, bytes([0, 1, *[0] * 15, 17]))}, "Huffman table"),  # a difference of 17 bits
        ({"dht": segment(0xC4, bytes([0, 0, 1, *[0] * 14, 5]))}, "no code"),  # for what begins with 01
        ({"sof": b""}, "precision 0"),
        ({"sof": segment(0xC3, struct.pack(">BHHBBBB", 12, 13, 17, 1, 1, 0x11, 0))}, "precision 12"),
        ({"sof": segment(0xC3, struct.pack(">BHHBBBBBBB", 8, 13, 17, 2, 1, 0x11, 0, 2, 0x11, 0))}, "do not fit"),
        ({"sof": segment(0xCB, struct.pack(">BHHBBBB", 8, 13, 17, 1, 1, 0x11, 0))}, "not JPEG Lossless"),  # arithmetic
        ({"dht": segment(0xC4, bytes([4, 0, 1, *[0] * 14, 5]))}, "Huffman table"),  # the fifth
        ({"dht": segment(0xFE, b"") * 300}, "too many segments"),
        ({"dri": segment(0xDD, struct.pack(">H", 34))}, "1 restart intervals"),
        ({"dri": segment(0xDD, struct.pack(">H", 18))}, "within a line"),
        ({"sos": segment(0xDA, bytes([1, 1, 0, 0, 0, 0]))}, "predictor 0"),
        ({"sos": segment(0xDA, bytes([1, 1, 0, 8, 0, 0]))}, "predictor 8"),
        ({"sos": segment(0xDA, bytes([2, 1, 0, 1, 0, 0]))}, "2 components"),
        ({"sos": segment(0xDA, bytes([1, 1, 0x30, 1, 0, 0]))}, "table 3"),
        ({"sos": b""}, "broken marker"),
        ({"data": b""}, "ends before its last pixel"),
        ({"data": b"", "eoi": b""}, "ends before its last pixel"),
    ],
    ids=str,
)
def test_a_broken_jpeg_lossless_stream_is_undecodable(
    headers: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FRAMES, JPEGLossless, partial(lossless_jpeg, **headers))
    found = refusal(coded(picture(8), JPEGLossless, 8))
    assert found.code == "undecodable"
    assert problem in found.message


# Display values


def test_without_a_window_the_range_of_the_pixels_is_used() -> None:
    assert shown([[1000, 2000], [3000, 5000]]) == [[0, 64], [128, 255]]


def test_a_flat_image_without_a_window_is_black() -> None:
    assert shown([[700, 700]]) == [[0, 0]]


def test_monochrome1_is_inverted() -> None:
    assert shown([[1000, 2000], [3000, 5000]], PhotometricInterpretation="MONOCHROME1") == [[255, 191], [127, 0]]


def test_a_linear_window_follows_the_standard() -> None:
    # c = 2048, w = 4096: the standard's own example, y = (x - 2047.5) / 4095 + 0.5
    assert shown([[0, 2047, 2048, 4095, 5000]], WindowCenter=2048, WindowWidth=4096) == [[0, 127, 128, 255, 255]]


def test_the_window_named_linear_is_the_default() -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 1001}
    assert shown(**window) == shown(VOILUTFunction="LINEAR", **window)


def test_a_linear_window_is_black_up_to_its_lower_limit_and_white_above_its_upper() -> None:
    # c = 100, w = 11: limits 99.5 - 5 and 99.5 + 5
    assert shown([[94, 95, 104, 105]], WindowCenter=100, WindowWidth=11) == [[0, 13, 242, 255]]


def test_a_linear_window_of_width_one_is_a_threshold() -> None:
    # x <= c - 0.5 is black
    assert shown([[99, 100, 101]], WindowCenter=100.5, WindowWidth=1) == [[0, 0, 255]]


def test_an_exact_linear_window_follows_the_standard() -> None:
    # y = (x - 100) / 10 + 0.5
    elements = {"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown([[94, 95, 98, 100, 104, 106]], **elements) == [[0, 0, 76, 128, 230, 255]]


def test_a_sigmoid_window_follows_the_standard() -> None:
    # y = 1 / (1 + exp(-4 (x - 100) / 10))
    elements = {"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "SIGMOID"}
    assert shown([[0, 95, 100, 105, 60_000]], **elements) == [[0, 30, 128, 225, 255]]


def test_the_first_of_several_windows_is_used() -> None:
    assert shown(WindowCenter=[2000, 9], WindowWidth=[1001, 9]) == shown(WindowCenter=2000, WindowWidth=1001)


def test_monochrome1_is_inverted_after_the_window() -> None:
    elements = {"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown([[94, 98, 106]], PhotometricInterpretation="MONOCHROME1", **elements) == [[255, 179, 0]]


@pytest.mark.parametrize("width", ["0", "-5", ""])
def test_a_window_without_a_width_is_ignored(width: str) -> None:
    assert shown(WindowCenter="7", WindowWidth=width) == shown()


def test_the_window_applies_to_rescaled_values() -> None:
    # 2 x - 1000 gives -1000, 1000, 3000, 7000; c = 1000, w = 4000, exactly linear
    elements = {"WindowCenter": 1000, "WindowWidth": 4000, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown(RescaleSlope=2, RescaleIntercept=-1000, **elements) == [[0, 128], [255, 255]]


def test_a_negative_slope_inverts() -> None:
    assert shown([[0, 1000]], RescaleSlope=-1, RescaleIntercept=0) == [[255, 0]]


def test_a_modality_table_is_looked_up() -> None:
    item = table(0, 16, [50, 10, 0])
    item.ModalityLUTType = "US"
    assert shown([[0, 1, 2]], ModalityLUTSequence=[item]) == [[255, 51, 0]]


def test_a_voi_table_is_looked_up_and_scaled_by_its_bits() -> None:
    assert shown([[10, 11, 12]], VOILUTSequence=[table(10, 12, [4095, 0, 2048])]) == [[255, 0, 128]]


def test_a_voi_table_repeats_its_ends() -> None:
    assert shown([[0, 10, 11, 99]], VOILUTSequence=[table(10, 8, [51, 204])]) == [[51, 51, 204, 204]]


def test_a_voi_table_of_eight_bits_may_have_more_than_256_entries() -> None:
    entries = [value // 16 for value in range(4096)]
    assert shown([[0, 300, 4095]], VOILUTSequence=[table(0, 8, entries)]) == [[0, 18, 255]]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=name)
@pytest.mark.parametrize("size", [1, 2])
def test_entries_of_a_table_may_be_words_or_bytes(size: int, syntax: UID) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4, 0, 8])
    words = np.array([0, 51, 204, 255], f"<u{size}").view("<u2")
    item.add_new("LUTData", "OW", words.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes())
    pixels = decode.decode(coded(np.array([[0, 1, 2, 3]]), syntax, 16, VOILUTSequence=[item])).pixels
    assert pixels.tolist() == [[0, 51, 204, 255]]


def test_a_table_is_looked_up_for_the_nearest_whole_value() -> None:
    # 0.29 x 100 is a little less than 29
    elements = {"RescaleSlope": 0.29, "RescaleIntercept": 0, "VOILUTSequence": [table(28, 8, [0, 255])]}
    assert shown([[97, 100]], **elements) == [[0, 255]]


def test_a_voi_table_comes_before_a_window() -> None:
    elements = {"WindowCenter": 0, "WindowWidth": 2, "VOILUTSequence": [table(0, 8, [0, 51])]}
    assert shown([[0, 1]], **elements) == [[0, 51]]


def test_signed_values_are_read_as_signed() -> None:
    assert shown([[65_535, 0, 1]], PixelRepresentation=1) == [[0, 128, 255]]


def test_unused_bits_do_not_count() -> None:
    assert shown([[0xF000, 0xF00A]], BitsStored=12, HighBit=11) == [[0, 255]]


@pytest.mark.parametrize("elements", [{}, {"WindowCenter": 500, "WindowWidth": 900}], ids=["range", "window"])
def test_showing_an_image_takes_little_more_memory_than_its_pixels(elements: dict[str, Any]) -> None:
    content = radiograph(np.random.default_rng(0).integers(0, 1000, (2000, 2000)), **elements)
    assert peak(content) < 2 * len(content)


def peak(content: bytes) -> int:
    """The most bytes that decoding took at a time."""
    tracemalloc.start()
    with contextlib.suppress(ImageError):
        decode.decode(content)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_the_header_tells_size_depth_and_photometric_interpretation() -> None:
    header = decode.inspect(radiograph([[1, 2, 3]], BitsStored=12, HighBit=11))
    assert header == decode.Header("DICOM", "MONOCHROME2", 12, 3, 1, 1, sop_instance_uid="1.2.3")


# Refused objects


def test_several_frames_are_refused() -> None:
    assert fault(radiograph(np.zeros((4, 2)), NumberOfFrames=2, Rows=2)) == "unsupported_dicom"


def test_the_frames_count_as_pixels() -> None:
    with pytest.raises(ImageError, match="2 x 2 x 30000000") as caught:
        decode.inspect(radiograph(NumberOfFrames=30_000_000))
    assert caught.value.code == "too_many_pixels"


def test_colours_are_refused() -> None:
    colours: dict[str, Any] = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    assert fault(radiograph(np.zeros((1, 6)), Columns=2, **colours)) == "unsupported_dicom"


@pytest.mark.parametrize("bits", [1, 12, 32, 64])
def test_an_object_that_allocates_neither_8_nor_16_bits_is_refused(bits: int) -> None:
    assert fault(radiograph(np.zeros((8, 8)), BitsAllocated=bits, PixelData=bytes(8 * bits))) == "unsupported_dicom"


def test_an_object_without_an_image_has_no_pixels() -> None:
    assert fault(radiograph(Rows=None)) == "no_pixels"


def test_an_image_without_its_pixel_data_has_no_pixels() -> None:
    assert fault(radiograph(PixelData=None)) == "no_pixels"


@pytest.mark.parametrize("size", [{"Rows": 3}, {"Rows": 1}, {"Columns": 3}, {"Columns": 1}, {"Rows": 0}])
def test_rows_or_columns_that_do_not_fit_the_pixels_are_refused(size: dict[str, Any]) -> None:
    assert fault(radiograph(**size)) == "undecodable"


def test_a_byte_of_padding_is_allowed() -> None:
    odd = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": bytes([0, 51, 255, 0])}
    assert shown([[0, 0, 0]], **odd) == [[0, 51, 255]]


def test_a_huge_image_is_refused_before_its_pixels_are_looked_at() -> None:
    assert fault(radiograph(Rows=30_000, Columns=30_000)) == "too_many_pixels"


@pytest.mark.parametrize(
    ("syntax", "stream"),
    [
        # SOC and SIZ: profile, width and height of the reference grid, its offsets, tiles, and the components
        (JPEG2000Lossless, "ff4fff51 0029 0000 00007530 00007530" + 24 * "00" + "0001 0f 01 01"),
        # SOI, an APP0 to step over, SOF55: 16 bits, height, width
        (JPEGLSLossless, "ffd8 ffe0 0004 abcd fff7 000b 10 7530 7530"),
    ],
)
def test_a_compressed_image_larger_than_its_object_says_is_refused(syntax: UID, stream: str) -> None:
    content = radiograph(syntax=syntax, PixelData=encapsulate([bytes.fromhex(stream)]))
    with pytest.raises(ImageError, match="do not fit Rows x Columns, 2 x 2"):
        decode.decode(content)


def test_broken_compressed_pixels_are_undecodable() -> None:
    assert fault(radiograph(syntax=JPEG2000Lossless, PixelData=encapsulate([b"no image"]))) == "undecodable"


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.MPEG4HP41, uid.JPIPHTJ2KReferenced], ids=name)
def test_another_transfer_syntax_is_refused_by_its_uid(syntax: UID) -> None:
    found = refusal(radiograph(syntax=syntax, PixelData=encapsulate([b"pixels"])))
    assert found.code == "unsupported_dicom"
    assert f"transfer syntax {syntax} ({syntax.name})" in found.message


def test_an_unknown_transfer_syntax_is_refused_by_its_uid() -> None:
    found = refusal(radiograph().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"))
    assert found.code == "unsupported_dicom"
    assert "transfer syntax 1.2.840.10008.9.9.9 " in found.message


def test_what_is_no_uid_is_repeated_neither_in_the_answer_nor_in_a_warning() -> None:
    content = radiograph().replace(b"1.2.840.10008.1.2.1\0", b"Doe^Jane            ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "transfer syntax missing" in refusal(content).message


def test_twelve_bits_of_jpeg_extended_are_refused_by_the_uid() -> None:
    frame = b"\xff\xd8" + segment(0xC1, struct.pack(">BHHBBBB", 12, 2, 2, 1, 1, 0x11, 0)) + b"\xff\xda"
    found = refusal(radiograph(syntax=JPEGExtended12Bit, PixelData=encapsulate([frame]), BitsStored=12, HighBit=11))
    assert found.code == "unsupported_dicom"
    assert "1.2.840.10008.1.2.4.51" in found.message
    assert "not with 12" in found.message


def test_a_frame_that_cannot_be_decoded_leaves_no_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert fault(coded(picture(8), JPEG2000Lossless, 8, lambda frame: encapsulate([frame[:100]]))) == "undecodable"
    assert not caplog.text


def test_an_object_cut_short_is_undecodable() -> None:
    assert fault(radiograph()[:-3]) == "undecodable"


def test_a_window_that_is_no_number_is_undecodable() -> None:
    content = radiograph(WindowCenter="100", WindowWidth="200").replace(b"100 ", b"abc ")
    assert fault(content) == "undecodable"


def test_nothing_but_the_prefix_has_no_pixels() -> None:
    assert fault(bytes(128) + b"DICM") == "no_pixels"


def test_the_prefix_is_looked_for_where_it_belongs() -> None:
    assert dicom.is_dicom(bytes(128) + b"DICM")
    assert not dicom.is_dicom(b"DICM")


# Objects made to do harm

ZEROS = 4 << 30
"""Bytes that a few kB of a deflated bomb would fill."""


def deflated(dataset: bytes, **elements: Any) -> bytes:
    """A deflated radiograph, whose data set is replaced; `dataset` is deflated already."""
    whole = radiograph(syntax=DeflatedExplicitVRLittleEndian, **elements)
    length = int.from_bytes(whole[140:144], "little")  # of the file meta information
    return whole[: 144 + length] + dataset


def plain(**elements: Any) -> bytes:
    """The data set of a radiograph, not deflated."""
    whole = radiograph(**elements)
    return whole[144 + int.from_bytes(whole[140:144], "little") :]


def squeezed(content: bytes, zeros: int = 0) -> bytes:
    """Deflated bytes, with so many zeros after them as fit without taking the memory to write them."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [deflater.compress(content), deflater.flush(zlib.Z_FULL_FLUSH)]
    million = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = million.compress(bytes(1 << 20)) + million.flush(zlib.Z_FULL_FLUSH)
    return b"".join([*parts, block * (zeros >> 20), deflater.flush()])


BOMBS = {
    "in the pixel data": plain(PixelData=None) + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, 0xFFFFFFFE),
    "in an element before": struct.pack("<HH2sHL", 9, 0x1001, b"OB", 0, 0xFFFFFFFE),
    "of empty elements": b"",
    "of empty items": struct.pack("<HH2sHL", 8, 0x1110, b"SQ", 0, 0xFFFFFFFF)
    + 60_000 * struct.pack("<HHL", 0xFFFE, 0xE000, 0),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_undecodable_or_has_no_pixels(kind: str) -> None:
    assert fault(deflated(squeezed(BOMBS[kind], ZEROS))) in {"undecodable", "no_pixels"}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("function", [dicom.inspect, dicom.decode], ids=["inspect", "decode"])
def test_a_bomb_takes_neither_time_nor_memory(function: Callable[[bytes], Any], kind: str) -> None:
    content = deflated(squeezed(BOMBS[kind], ZEROS))
    assert len(content) < ZEROS / 500
    started = time.process_time()
    with contextlib.suppress(ImageError):
        function(content)
    assert time.process_time() - started < 5
    assert peak(content) < 60 << 20


def test_a_bomb_is_found_however_late_its_transfer_syntax_comes() -> None:
    content = deflated(squeezed(BOMBS["in the pixel data"], ZEROS))
    late = struct.pack("<HH2sHL", 2, 1, b"OB", 0, 100_000) + bytes(100_000)
    assert peak(content[:144] + late + content[144:]) < 60 << 20


def test_a_deflated_object_may_have_a_long_header() -> None:
    notes = struct.pack("<HH2sHL", 9, 0x1001, b"OB", 0, 3 << 20) + bytes(3 << 20)
    assert decode.decode(deflated(squeezed(notes + plain()))).pixels.tolist() == shown()


@pytest.mark.parametrize("function", [dicom.inspect, dicom.decode], ids=["inspect", "decode"])
def test_a_deflated_object_with_a_header_without_end_is_undecodable(function: Callable[[bytes], Any]) -> None:
    notes = struct.pack("<HH2sHL", 9, 0x1001, b"OB", 0, 5 << 20) + bytes(5 << 20)
    with pytest.raises(ImageError, match="inflates to more than a header and its image") as caught:
        function(deflated(squeezed(notes + plain())))
    assert caught.value.code == "undecodable"


def test_deflated_pixels_of_another_size_than_the_object_says_are_undecodable() -> None:
    content = deflated(squeezed(plain(Rows=1)))
    assert "do not fit Rows x Columns, 1 x 2" in refusal(content).message


def test_a_deflated_object_cut_short_is_undecodable() -> None:
    content = radiograph(np.random.default_rng(0).integers(0, 9, (99, 99)), DeflatedExplicitVRLittleEndian)
    assert "it ends early" in refusal(content[:-100]).message


def test_the_header_of_a_deflated_object_cut_short_can_be_read() -> None:
    content = radiograph(np.random.default_rng(0).integers(0, 9, (99, 99)), DeflatedExplicitVRLittleEndian)
    assert decode.inspect(content[:-100]).height == 99


def test_a_broken_deflated_object_is_undecodable() -> None:
    assert fault(deflated(b"\xff" * 100)) == "undecodable"


def test_run_lengths_are_read_up_to_the_last_pixel_only() -> None:
    runs = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * (1 << 20)  # 128 MiB
    content = coded(picture(8), RLELossless, 8, lambda _: encapsulate([runs]))
    assert peak(content) < 20 << 20


@pytest.mark.parametrize("content", [b"\0" * 8, struct.pack("<HHL", 0xFFFE, 0xE000, 0)], ids=["elements", "items"])
def test_millions_of_empty_parts_are_not_waited_for(content: bytes) -> None:
    sequence = struct.pack("<HH2sHL", 8, 0x1110, b"SQ", 0, 0xFFFFFFFF) if content[0] else b""
    whole = radiograph()
    started = time.process_time()
    assert (
        fault(whole[: 144 + int.from_bytes(whole[140:144], "little")] + sequence + content * (1 << 21)) == "undecodable"
    )
    assert time.process_time() - started < 5


@pytest.mark.parametrize("length", [0xFFFFFFFF, 16 << 20], ids=["undefined length", "defined length"])
def test_millions_of_empty_fragments_are_not_waited_for(length: int) -> None:
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, length) + struct.pack("<HHL", 0xFFFE, 0xE000, 0) * (1 << 21)
    started = time.process_time()
    assert fault(radiograph(syntax=JPEGLSLossless, PixelData=None) + pixels) == "undecodable"
    assert time.process_time() - started < 1


def test_a_jpeg_ls_stream_that_ends_within_a_code_is_not_waited_for() -> None:
    frame = b"\xff\xd8" + segment(0xF7, struct.pack(">BHHBBBB", 16, 2, 2, 1, 1, 0x11, 0))
    frame += segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + b"\x20\0"
    started = time.process_time()
    assert fault(radiograph(syntax=JPEGLSLossless, PixelData=encapsulate([frame]))) == "undecodable"
    assert time.process_time() - started < 2


SURVIVE = """
import json, sys
from serving.imaging import decode
from serving.errors import ImageError
codes = set()
for content in json.load(sys.stdin):
    try:
        decode.decode(bytes.fromhex(content))
    except ImageError as error:
        codes.add(error.code)
print(*sorted(codes))
"""


def test_decoders_survive_what_is_broken() -> None:
    # In a process of its own: what fails here is a decoder that takes its process with it, or never comes back.
    chance = np.random.default_rng(0)
    broken = [
        coded(picture(bits), syntax, bits, lambda frame: encapsulate([spoiled(frame, chance)]))
        for syntax in COMPRESSED
        for bits in ([8] if syntax in {JPEGBaseline8Bit, JPEGExtended12Bit} else [8, 12])
        for _ in range(20)
    ]
    done = subprocess.run(
        [sys.executable, "-c", SURVIVE],
        input=json.dumps([content.hex() for content in broken]),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "undecodable" in done.stdout


def spoiled(frame: bytes, chance: np.random.Generator) -> bytes:
    """A frame with a few bytes changed, repeated or left out, most of them in its headers."""
    content = bytearray(frame)
    for _ in range(chance.choice([1, 1, 2, 5])):
        place = chance.integers(min(len(content), chance.choice([60, 200, len(content)])))
        other = place + chance.integers(1, 30)
        match chance.integers(4):
            case 0:
                content[place] ^= 1 << int(chance.integers(8))
            case 1:
                content[place] = int(chance.choice([0, 1, 0x7F, 0x80, 0xD9, 0xFF]))
            case 2:
                del content[place:other]
            case 3:
                content[place:place] = content[place:other]
    return bytes(content)


# Real objects


def sample(name: str) -> tuple[pydicom.Dataset, npt.NDArray[np.uint8]]:
    content = (Path(SAMPLES) / name).read_bytes()
    return pydicom.dcmread(io.BytesIO(content)), decode.decode(content).pixels


@real_data
def test_a_real_hand_is_shown_through_its_window() -> None:
    dataset, pixels = sample("hand_cr_monochrome_jpeg2000.dcm")
    expected = np.rint(((dataset.pixel_array - 2047.5) / 4095 + 0.5) * 255)  # c = 2048, w = 4096
    np.testing.assert_array_equal(pixels, expected)


@real_data
def test_a_real_monochrome1_tibia_is_shown_through_its_window_and_inverted() -> None:
    dataset, pixels = sample("tibia_cr_monochrome1_jpeg2000.dcm")
    expected = 255 - np.rint(np.clip((dataset.pixel_array - 549.5) / 1023 + 0.5, 0, 1) * 255)  # c = 550, w = 1024
    np.testing.assert_array_equal(pixels, expected)


@real_data
@pytest.mark.parametrize("name", ["hand_cr_monochrome_jpeg2000.dcm", "tibia_cr_monochrome1_jpeg2000.dcm"])
def test_a_real_radiograph_becomes_the_models_input(name: str) -> None:
    pixels, _, _ = decode.prepare((Path(SAMPLES) / name).read_bytes(), canvas.Preprocessing(224))
    assert pixels.shape == (224, 224)
    assert pixels.std() > 20
