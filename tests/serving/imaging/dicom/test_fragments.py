"""Objects cut short are read as far as they go."""

from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
)

from serving.errors import ImageError
from serving.imaging import decode
from tests.serving.imaging.dicom.builders import COMPRESSED, coded, extended_jpeg, fault, name, picture, radiograph

BY_ROWS = [JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, RLELossless]
"""Codecs that code one row after the other, and whose decoders tell how far they came."""
DELIMITER = 8


def noise(bits: int = 8) -> Any:
    return np.random.default_rng(0).integers(0, 2**bits, (64, 48))


def cut(frame: bytes, share: float) -> bytes:
    """The fragment of a frame of which only a share is there."""
    return encapsulate([frame[: int(len(frame) * share)]])


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
def test_the_delimiter_of_the_fragments_may_be_missing(syntax: UID) -> None:
    content = coded(picture(8), syntax, 8)
    decoded = decode.decode(content[:-DELIMITER])
    np.testing.assert_array_equal(decoded.pixels, decode.decode(content).pixels)
    assert decoded.truncated


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
def test_a_whole_object_is_not_called_truncated(syntax: UID) -> None:
    assert not decode.decode(coded(picture(8), syntax, 8)).truncated


@pytest.mark.parametrize("syntax", [*BY_ROWS[:3], JPEG2000Lossless], ids=name)
def test_the_end_marker_may_be_missing(syntax: UID) -> None:
    values = picture(8)
    decoded = decode.decode(coded(values, syntax, 8, lambda frame: encapsulate([frame[:-2]])))
    np.testing.assert_array_equal(decoded.pixels, decode.decode(coded(values, syntax, 8)).pixels)
    assert decoded.truncated


@pytest.mark.parametrize("syntax", BY_ROWS, ids=name)
def test_a_frame_cut_short_is_read_as_far_as_it_goes(syntax: UID) -> None:
    values = noise()
    decoded = decode.decode(coded(values, syntax, 8, lambda frame: cut(frame, 0.8))[:-DELIMITER])
    whole = decode.decode(coded(values, syntax, 8)).pixels
    np.testing.assert_array_equal(decoded.pixels[:40], whole[:40])
    assert not decoded.pixels[56:].any()
    assert decoded.truncated
    decode.check_complete(decoded)


def test_a_jpeg_of_twelve_bits_cut_short_is_read_as_far_as_it_goes() -> None:
    values = noise(12)
    window: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
    content = coded(values, JPEGExtended12Bit, 12, lambda _: cut(extended_jpeg(values), 0.8), **window)
    decoded = decode.decode(content)
    whole = decode.decode(coded(values, JPEGExtended12Bit, 12, **window)).pixels
    np.testing.assert_array_equal(decoded.pixels[:40], whole[:40])
    assert not decoded.pixels[56:].any()
    assert decoded.truncated


@pytest.mark.parametrize("syntax", BY_ROWS, ids=name)
def test_a_frame_that_lacks_most_of_its_rows_is_not_judged(syntax: UID) -> None:
    decoded = decode.decode(coded(noise(), syntax, 8, lambda frame: cut(frame, 0.4))[:-DELIMITER])
    with pytest.raises(ImageError, match="cut short"):
        decode.check_complete(decoded)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=name)
def test_a_frame_of_other_codecs_cut_short_is_undecodable(syntax: UID) -> None:
    assert fault(coded(noise(), syntax, 8, lambda frame: cut(frame, 0.8))) == "undecodable"


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_missing_rows_of_native_pixels_are_black(photometric: str) -> None:
    pixels = [[1000, 2000], [3000, 5000], [9, 9]]
    decoded = decode.decode(radiograph(pixels, PhotometricInterpretation=photometric)[:-3])
    whole = decode.decode(radiograph(pixels[:2], PhotometricInterpretation=photometric))
    assert decoded.pixels.tolist() == [*whole.pixels.tolist(), [0, 0]]
    assert decoded.truncated


def test_native_pixels_may_be_whole_rows_too_short() -> None:
    decoded = decode.decode(radiograph(noise(12), Rows=70))
    assert decoded.truncated
    assert decoded.pixels[:64].tolist() == decode.decode(radiograph(noise(12))).pixels.tolist()


def test_native_pixels_that_lack_most_of_their_rows_are_not_judged() -> None:
    with pytest.raises(ImageError, match="cut short: 40% of the image"):
        decode.check_complete(decode.decode(radiograph(noise(12), Rows=160)))


def test_the_values_behind_the_pixels_have_the_missing_rows_too() -> None:
    decoded = decode.decode(radiograph([[1000, 2000], [3000, 5000], [9, 9]])[:-3])
    assert decoded.values is not None
    assert decoded.values.tolist() == [[1000, 2000], [3000, 5000], [1000, 1000]]


def test_a_table_of_offsets_may_be_missing_altogether() -> None:
    values = picture(8)
    content = coded(values, JPEGLossless, 8, lambda frame: encapsulate([frame], has_bot=False))
    table = content.index(b"\xe0\x7f\x10\0OB") + 12
    without = content[:table] + content[table + 8 :]
    np.testing.assert_array_equal(decode.decode(without).pixels, decode.decode(content).pixels)


def test_a_native_object_cut_before_its_pixels_has_none() -> None:
    content = radiograph(syntax=ExplicitVRLittleEndian)
    assert fault(content[: content.index(b"\xe0\x7f\x10\0OW") + 12]) == "no_pixels"
