"""Every transfer syntax gives the stored values of its object."""

import json
import struct
import subprocess
import sys
import time
from functools import partial
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from serving.imaging import decode
from tests.serving.imaging.dicom.builders import (
    COMPRESSED,
    EXACT,
    RAMP,
    ROOT,
    coded,
    fault,
    name,
    picture,
    radiograph,
    refusal,
    shown,
    stored,
)


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
        (JPEGExtended12Bit, 12, 1),
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
def test_a_frame_cut_short_before_its_first_row_is_undecodable(syntax: UID) -> None:
    assert fault(coded(picture(8), syntax, 8, lambda frame: encapsulate([frame[: len(frame) // 4]]))) == "undecodable"


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
def test_an_extended_table_of_offsets_is_not_relied_on(syntax: UID) -> None:
    build = partial(coded, picture(8), syntax, 8)
    far: dict[str, Any] = {
        "ExtendedOffsetTable": struct.pack("<Q", 1 << 40),
        "ExtendedOffsetTableLengths": struct.pack("<Q", 7),
    }
    np.testing.assert_array_equal(decode.decode(build(**far)).pixels, decode.decode(build()).pixels)


def test_signed_values_are_read_as_signed() -> None:
    assert shown([[65_535, 0, 1]], PixelRepresentation=1) == [[0, 128, 255]]


def test_unused_bits_do_not_count() -> None:
    assert shown([[0xF000, 0xF00A]], BitsStored=12, HighBit=11) == [[0, 255]]


@pytest.mark.parametrize("size", [{"Rows": 1}, {"Columns": 3}, {"Columns": 1}, {"Rows": 0}])
def test_rows_or_columns_that_do_not_fit_the_pixels_are_refused(size: dict[str, Any]) -> None:
    assert fault(radiograph(**size)) == "undecodable"


def test_a_byte_of_padding_is_allowed() -> None:
    odd = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": bytes([0, 51, 255, 0])}
    assert shown([[0, 0, 0]], **odd) == [[0, 51, 255]]


def test_broken_compressed_pixels_are_undecodable() -> None:
    assert fault(radiograph(syntax=JPEG2000Lossless, PixelData=encapsulate([b"no image"]))) == "undecodable"


@pytest.mark.parametrize("length", [0xFFFFFFFF, 16 << 20], ids=["undefined length", "defined length"])
def test_millions_of_empty_fragments_are_not_waited_for(length: int) -> None:
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, length) + struct.pack("<HHL", 0xFFFE, 0xE000, 0) * (1 << 21)
    started = time.process_time()
    assert fault(radiograph(syntax=JPEGLSLossless, PixelData=None) + pixels) == "undecodable"
    assert time.process_time() - started < 1


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
        for bits in ([8] if syntax == JPEGBaseline8Bit else [8, 12])
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


@pytest.mark.parametrize("value", [b"\0", b"\xff"])
def test_padding_of_one_value_after_the_pixels_is_allowed(value: bytes) -> None:
    pixels = np.array(RAMP, "<u2").tobytes()
    assert shown(PixelData=pixels + value * 100) == shown()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=name)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_stored_bits_may_lie_at_the_top_of_their_cell(signed: bool, syntax: UID) -> None:
    values = picture(12, signed)
    build = partial(coded, values << 4, syntax, 16, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(stored(build, syntax, signed), values)


def test_stored_bits_may_lie_in_the_middle_of_their_cell() -> None:
    values = picture(12)
    build = partial(coded, (values << 2) | 0x8003, ExplicitVRLittleEndian, 16, BitsStored=12, HighBit=13)
    np.testing.assert_array_equal(stored(build, ExplicitVRLittleEndian), values)


@pytest.mark.parametrize("high", [None, 3, 16])
def test_a_high_bit_that_makes_no_sense_is_ignored(high: int | None) -> None:
    assert shown(BitsStored=12, HighBit=high) == shown(BitsStored=12, HighBit=11)


def test_a_high_bit_says_nothing_about_codecs_that_code_values() -> None:
    values = picture(12)
    build = partial(coded, values, JPEG2000Lossless, 12, HighBit=15)
    np.testing.assert_array_equal(stored(build, JPEG2000Lossless), values)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit], ids=name)
def test_a_jpeg_of_eight_bits_may_stand_where_sixteen_are_allocated(syntax: UID) -> None:
    build = partial(coded, picture(8), syntax, 8)
    np.testing.assert_array_equal(decode.decode(build(BitsAllocated=16)).pixels, decode.decode(build()).pixels)


SLOPE = np.add.outer(np.arange(50) * 7, np.arange(45) * 40)


@pytest.mark.parametrize("share", [0.6, 0.61, 0.75])
def test_pixel_data_shorter_than_the_image_are_read_as_far_as_they_go(share: float) -> None:
    content = SLOPE.astype(np.uint16).tobytes()
    decoded = decode.decode(radiograph(SLOPE, PixelData=content[: int(share * SLOPE.size) * 2]))
    rows = int(share * SLOPE.size) // SLOPE.shape[1]
    assert decoded.truncated
    assert decoded.values is not None
    assert np.array_equal(decoded.values[:rows], SLOPE[:rows])


def test_rows_that_are_narrower_than_stated_are_no_missing_rows() -> None:
    content = SLOPE[:, :38].astype(np.uint16).tobytes()
    assert fault(radiograph(SLOPE, PixelData=content)) == "undecodable"


@pytest.mark.parametrize(
    ("elements", "named"),
    [
        ({"BitsStored": 20}, "Bits Stored is 20, Bits Allocated 16"),
        ({"BitsStored": 0}, "Bits Stored is 0, Bits Allocated 16"),
        ({"PixelRepresentation": 3}, "Pixel Representation is 3, not 0 or 1"),
        ({"PixelRepresentation": None}, "Pixel Representation is missing, not 0 or 1"),
        ({"SamplesPerPixel": 3}, "Samples per Pixel is 3, not 1"),
        ({"SamplesPerPixel": None}, "Samples per Pixel is missing, not 1"),
    ],
)
def test_elements_that_do_not_fit_each_other_are_named(elements: dict[str, Any], named: str) -> None:
    found = refusal(radiograph(**elements))
    assert found.code == "undecodable"
    assert found.message == f"the DICOM object's elements do not fit each other: {named}; export it again"
