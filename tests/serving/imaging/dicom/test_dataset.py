"""Bytes to a data set: broken objects, and objects made to do harm."""

import contextlib
import logging
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from serving.errors import ImageError
from serving.imaging import decode, dicom
from tests.serving.imaging.dicom.builders import coded, fault, peak, picture, radiograph, refusal, shown


def test_a_transfer_syntax_that_is_no_uid_is_repeated_neither_in_the_answer_nor_in_a_warning() -> None:
    content = coded(picture(8), JPEG2000Lossless, 8, lambda frame: encapsulate([b"nothing"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(content.replace(b"1.2.840.10008.1.2.4.90", b"Doe^Jane              ")).message
    assert "transfer syntax missing" in message


def test_a_frame_that_cannot_be_decoded_leaves_no_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert fault(coded(picture(8), JPEG2000Lossless, 8, lambda frame: encapsulate([frame[:100]]))) == "undecodable"
    assert not caplog.text


def test_an_object_cut_short_in_its_first_row_is_undecodable() -> None:
    assert fault(radiograph()[:-5]) == "undecodable"


def test_nothing_but_the_prefix_has_no_pixels() -> None:
    assert fault(bytes(128) + b"DICM") == "no_pixels"


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


def test_a_deflated_object_cut_short_is_read_as_far_as_it_goes() -> None:
    pixels = np.random.default_rng(0).integers(0, 9, (99, 99))
    decoded = decode.decode(radiograph(pixels, DeflatedExplicitVRLittleEndian)[:-100])
    assert decoded.truncated
    assert decoded.pixels[:90].tolist() == decode.decode(radiograph(pixels)).pixels[:90].tolist()


def test_a_deflated_object_cut_short_before_its_pixels_is_undecodable() -> None:
    content = radiograph(np.random.default_rng(0).integers(0, 9, (99, 99)), DeflatedExplicitVRLittleEndian)
    start = 144 + int.from_bytes(content[140:144], "little")
    assert "it ends early" in refusal(content[: start + 50]).message


def test_the_header_of_a_deflated_object_cut_short_can_be_read() -> None:
    content = radiograph(np.random.default_rng(0).integers(0, 9, (99, 99)), DeflatedExplicitVRLittleEndian)
    assert decode.inspect(content[:-100]).height == 99


def test_a_broken_deflated_object_is_undecodable() -> None:
    assert fault(deflated(b"\xff" * 100)) == "undecodable"


@pytest.mark.parametrize("content", [b"\0" * 8, struct.pack("<HHL", 0xFFFE, 0xE000, 0)], ids=["elements", "items"])
def test_millions_of_empty_parts_are_not_waited_for(content: bytes) -> None:
    sequence = struct.pack("<HH2sHL", 8, 0x1110, b"SQ", 0, 0xFFFFFFFF) if content[0] else b""
    whole = radiograph()
    started = time.process_time()
    assert (
        fault(whole[: 144 + int.from_bytes(whole[140:144], "little")] + sequence + content * (1 << 21)) == "undecodable"
    )
    assert time.process_time() - started < 5


def test_what_follows_the_pixel_data_is_not_read() -> None:
    assert decode.decode(radiograph() + bytes(1 << 20)).pixels.tolist() == shown()


def test_what_follows_deflated_pixel_data_is_not_read() -> None:
    assert decode.decode(deflated(squeezed(plain() + bytes(1 << 20)))).pixels.tolist() == shown()
