"""Frames of JPEG Extended with 12 bits (ITU-T T.81, process 4)."""

import struct
from functools import partial
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGExtended12Bit

from serving.imaging.dicom import extended
from tests.serving.imaging.dicom.builders import (
    FRAMES,
    coded,
    extended_jpeg,
    picture,
    refusal,
    segment,
    stored,
)

READ = partial(stored, syntax=JPEGExtended12Bit)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_twelve_bits_are_read_within_one_of_what_was_coded(signed: bool) -> None:
    values = picture(12, signed)
    found = READ(partial(coded, values, JPEGExtended12Bit, 12), signed=signed)
    assert np.abs(found - values).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (8, 8), (9, 16), (13, 17)], ids=str)
def test_lines_of_any_length_keep_their_last_pixel(shape: tuple[int, int]) -> None:
    values = picture(12)[: shape[0], : shape[1]]
    found = extended.decode(extended_jpeg(values), *shape, 2)
    assert np.abs(found.astype(int) - values).max() <= 1


def test_a_coarser_quantisation_loses_more() -> None:
    values = picture(12)
    found = extended.decode(extended_jpeg(values, step=50), 13, 17, 2)
    assert 5 < np.abs(found.astype(int) - values).max() < 200


def test_the_jpeg_extended_of_libjpeg_turbo_is_decoded() -> None:
    frame = bytes.fromhex(
        "ffd8ffe000104a46494600010100000100010000ffdb0043000302020202020302020203030303040604040404040806"
        "06050609080a0a090809090a0c0f0c0a0b0e0b09090d110d0e0f101011100a0c12131210130f101010ffc1000b0c0005"
        "000301011100ffc4001400010000000000000000000000000000000affc4002210010000050207000000000000000000"
        "00010203041112050907080a0b131621ffda0008010100003f007c1be476673a685ddb79a169e3a29707bdd45e18f85d"
        "a6cc72f0cac9c9a9ba2dd2f741055fafffd9"
    )
    expected = [[2004, 1744, 1524], [2283, 2062, 1853], [2570, 2298, 2077], [2808, 2645, 2346], [3176, 2939, 2720]]
    assert extended.decode(frame, 5, 3, size=2).tolist() == expected


def test_a_frame_may_come_in_several_fragments() -> None:
    build = partial(coded, picture(12), JPEGExtended12Bit, 12)
    split = partial(build, lambda frame: encapsulate([frame], fragments_per_frame=5))
    np.testing.assert_array_equal(READ(split), READ(build))


@pytest.mark.parametrize("size", [{"Rows": 14}, {"Rows": 12}, {"Columns": 18}, {"Columns": 16}], ids=str)
def test_a_frame_of_another_size_than_its_object_says_is_undecodable(size: dict[str, Any]) -> None:
    found = refusal(coded(picture(12), JPEGExtended12Bit, 12, **size))
    assert (found.code, "do not fit" in found.message) == ("undecodable", True)


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"sof": b""}, "no frame header"),
        ({"sof": segment(0xC1, struct.pack(">BHHBBBB", 8, 13, 17, 1, 1, 0x11, 0))}, "not 12 bits"),
        ({"dqt": b""}, "decoder error"),
        ({"dc": segment(0xC4, bytes([0, 3, *[0] * 15, 0, 1, 2]))}, "decoder error"),  # three codes of one bit
        ({"dqt": segment(0xDB, bytes([0, 0]))}, "decoder error"),
    ],
    ids=["no frame header", "another precision", "no quantisation", "broken code", "short table"],
)
def test_a_broken_stream_is_refused(headers: dict[str, Any], problem: str) -> None:
    values = picture(12)
    with pytest.raises((ValueError, OSError), match=problem):
        extended.decode(extended_jpeg(values, **headers), 13, 17, 2)


def test_twelve_bits_do_not_fit_in_a_byte() -> None:
    byte: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    assert "do not fit in 1 byte" in refusal(coded(picture(12), JPEGExtended12Bit, 12, **byte)).message


def test_other_precisions_of_jpeg_extended_are_refused_by_the_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = extended_jpeg(picture(12), sof=segment(0xC1, struct.pack(">BHHBBBB", 10, 13, 17, 1, 1, 0x11, 0)))
    monkeypatch.setitem(FRAMES, JPEGExtended12Bit, lambda _array, _bits: frame)
    found = refusal(coded(picture(12), JPEGExtended12Bit, 12))
    assert found.code == "unsupported_dicom"
    assert "1.2.840.10008.1.2.4.51" in found.message
    assert "not with 10" in found.message
