"""Data sets that lack the preamble, the prefix, the meta information or the transfer syntax of a DICOM file."""

import struct
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from serving.imaging import decode, dicom
from tests.serving.imaging.dicom.builders import COMPRESSED, coded, fault, name, picture, radiograph, refusal

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
PREAMBLE, PREFIX = 128, 132


def bare(content: bytes) -> bytes:
    """The data set of a DICOM file."""
    return content[PREFIX + 12 + int.from_bytes(content[140:144], "little") :]


def without_syntax(content: bytes) -> bytes:
    """A DICOM file whose meta information holds no transfer syntax."""
    start = content.index(b"\2\0\x10\0UI")
    length = int.from_bytes(content[start + 6 : start + 8], "little")
    total = int.from_bytes(content[140:144], "little") - 8 - length
    return content[:140] + struct.pack("<L", total) + content[144:start] + content[start + 8 + length :]


def same(content: bytes, whole: bytes) -> None:
    assert decode.inspect(content) == decode.inspect(whole)
    np.testing.assert_array_equal(decode.decode(content).pixels, decode.decode(whole).pixels)


@pytest.mark.parametrize("syntax", NATIVE, ids=name)
def test_a_data_set_needs_no_preamble_and_no_meta_information(syntax: UID) -> None:
    content = coded(picture(12), syntax, 12)
    same(bare(content), content)


@pytest.mark.parametrize("syntax", NATIVE, ids=name)
def test_the_meta_information_needs_no_preamble(syntax: UID) -> None:
    content = coded(picture(12), syntax, 12)
    same(content[PREFIX:], content)


@pytest.mark.parametrize("syntax", NATIVE, ids=name)
def test_the_prefix_needs_no_preamble(syntax: UID) -> None:
    content = coded(picture(12), syntax, 12)
    same(content[128:], content)


@pytest.mark.parametrize("kind", [".jpg", ".png", ".bmp", ".tif", ".webp"])
def test_a_picture_whose_pixels_look_like_a_data_set_stays_a_picture(kind: str) -> None:
    content = cv2.imencode(kind, picture(8))[1].tobytes()
    disguised = content[:PREAMBLE].ljust(PREAMBLE, b"\0") + bare(coded(picture(12), ImplicitVRLittleEndian, 12))
    assert dicom.is_dicom(b"\0" * PREAMBLE + disguised[PREAMBLE:])
    assert not dicom.is_dicom(disguised)


@pytest.mark.parametrize("syntax", NATIVE, ids=name)
def test_the_preamble_needs_no_prefix(syntax: UID) -> None:
    content = coded(picture(12), syntax, 12)
    same(content[:128] + bare(content), content)


@pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED], ids=name)
def test_the_transfer_syntax_may_be_missing(syntax: UID) -> None:
    content = coded(picture(8), syntax, 8)
    same(without_syntax(content), content)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
def test_compressed_pixels_need_no_meta_information(syntax: UID) -> None:
    content = coded(picture(8), syntax, 8)
    same(bare(content), content)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
def test_compressed_pixels_may_be_called_uncompressed(syntax: UID) -> None:
    content = coded(picture(8), syntax, 8)
    same(content.replace(str(syntax).encode(), b"1.2.840.10008.1.2.1".ljust(len(syntax), b"\0")), content)


def test_uncompressed_pixels_may_be_called_compressed() -> None:
    content = coded(picture(12), ExplicitVRLittleEndian, 12)
    wrong = radiograph(np.zeros((13, 17)), RLELossless, BitsStored=12, HighBit=11, PixelData=encapsulate([b"__"]))
    wrong = wrong[: wrong.index(b"\xe0\x7f\x10\0")] + content[content.index(b"\xe0\x7f\x10\0") :]
    np.testing.assert_array_equal(decode.decode(wrong).pixels, decode.decode(content).pixels)


def test_a_data_set_may_begin_with_the_description_of_its_image() -> None:
    content = bare(radiograph())
    image = content[content.index(b"\x28\0\2\0US") :]
    assert decode.decode(image).pixels.tolist() == decode.decode(radiograph()).pixels.tolist()


def test_pixels_of_no_known_codec_are_refused_with_what_to_do() -> None:
    error = refusal(without_syntax(radiograph(syntax=RLELossless, PixelData=encapsulate([b"no codec's frame"]))))
    assert error.code == "unsupported_dicom"
    assert "send the object uncompressed" in error.message


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "ICO", "TGA", "PCX", "SGI", "PPM"])
def test_no_picture_is_taken_for_a_data_set(
    kind: str, draw: Callable[..., npt.NDArray[np.uint8]], encode: Callable[..., bytes]
) -> None:
    assert not dicom.is_dicom(encode(draw(1), kind))


def test_neither_text_nor_noise_is_taken_for_a_data_set() -> None:
    chance = np.random.default_rng(0)
    noise = [b"\x08\0" + chance.bytes(int(chance.integers(2, 2000))) for _ in range(2000)]
    assert not any(map(dicom.is_dicom, [b"", b"\x08\0", b"image,label\n" * 99, bytes(2000), *noise]))


@pytest.mark.parametrize("syntax", NATIVE, ids=name)
def test_the_first_kilobyte_tells_a_data_set(syntax: UID) -> None:
    assert dicom.is_dicom(bare(coded(picture(12), syntax, 12))[:1024])


def test_a_bare_data_set_without_an_image_has_no_pixels() -> None:
    assert fault(bare(radiograph(PixelData=None))) == "no_pixels"
