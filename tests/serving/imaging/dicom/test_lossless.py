"""Frames of JPEG Lossless (ITU-T T.81, annex H)."""

import struct
from functools import partial
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

from tests.serving.imaging.dicom.builders import (
    FRAMES,
    coded,
    lossless_jpeg,
    picture,
    radiograph,
    refusal,
    segment,
    stored,
)


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
        ({"data": b"", "eoi": b""}, "cut short"),
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
