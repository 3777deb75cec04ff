"""Grey radiographs stored as colour are read as grey; what is coloured is refused."""

import io
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from serving.imaging import decode
from tests.serving.imaging.dicom.builders import by_pydicom, fault, picture, radiograph, refusal

GREY = picture(8).astype(np.uint8)
PHOTOGRAPH = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((17, 13)), np.uint8
)

RGB: dict[str, Any] = {"samples_per_pixel": 3, "photometric_interpretation": "RGB", "planar_configuration": 0}


def three(grey: npt.NDArray[Any] = GREY) -> npt.NDArray[np.uint8]:
    return np.repeat(grey[..., np.newaxis], 3, axis=2).astype(np.uint8)


def coloured(pixels: npt.NDArray[Any], data: bytes | None = None, **elements: Any) -> bytes:
    """An object of three samples a pixel, by default RGB; `data` replaces its pixel data."""
    declared = {
        "PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0,
        "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7,
    }  # fmt: skip
    content = pixels.astype(np.uint8).tobytes() if data is None else data
    return radiograph(
        np.zeros(pixels.shape[:2]), **{**declared, "PixelData": content + bytes(len(content) % 2), **elements}
    )


def saved(pixels: npt.NDArray[Any], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def shown(content: bytes) -> npt.NDArray[np.int64]:
    return decode.decode(content).pixels.astype(np.int64)


def ybr(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]], np.uint8)


def palette(entries: npt.NDArray[Any], bits: int) -> dict[str, Any]:
    """A palette of (256, 3) entries."""
    tables: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR", "SamplesPerPixel": 1}
    for place, colour in enumerate(("Red", "Green", "Blue")):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        tables[f"{colour}PaletteColorLookupTableData"] = entries[:, place].astype(f"<u{bits // 8}").tobytes()
    return tables


def test_equal_channels_are_read_as_grey() -> None:
    np.testing.assert_array_equal(shown(coloured(three())), GREY)


def test_nearly_equal_channels_are_read_as_grey() -> None:
    tinted = np.clip(three().astype(int) + np.array([3, 0, -3]), 0, 255)
    np.testing.assert_allclose(shown(coloured(tinted)), GREY, atol=2)


def test_coloured_pixels_are_refused_as_a_photograph() -> None:
    assert fault(coloured(PHOTOGRAPH)) == "colour_photograph"


def test_a_coloured_banner_on_a_grey_radiograph_is_read() -> None:
    marked = np.repeat(np.repeat(three(), 4, 0), 4, 1)
    marked[:5] = (0, 90, 200)
    np.testing.assert_array_equal(shown(coloured(marked))[5:], marked[5:, :, 0])


def test_planes_are_read_one_after_the_other() -> None:
    planes = np.moveaxis(three(), 2, 0)
    np.testing.assert_array_equal(shown(coloured(three(), planes.tobytes(), PlanarConfiguration=1)), GREY)


@pytest.mark.parametrize(
    ("pixels", "code"), [(three(), ""), (PHOTOGRAPH, "colour_photograph")], ids=["grey", "colours"]
)
def test_luminance_and_chrominance_are_told_apart(pixels: npt.NDArray[np.uint8], code: str) -> None:
    content = coloured(ybr(pixels), PhotometricInterpretation="YBR_FULL")
    if code:
        assert fault(content) == code
    else:
        np.testing.assert_allclose(shown(content), GREY, atol=1)


def test_chrominance_of_every_second_pixel_is_read() -> None:
    even = GREY[:, :16]
    samples = np.stack([even[:, ::2], even[:, 1::2], np.full((13, 8), 128), np.full((13, 8), 128)], axis=-1)
    content = coloured(three(even), samples.astype(np.uint8).tobytes(), PhotometricInterpretation="YBR_FULL_422")
    np.testing.assert_array_equal(shown(content), even)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_a_jpeg_of_equal_channels_is_read_as_grey(photometric: str) -> None:
    data = encapsulate([saved(three(), "JPEG", quality=95)])
    content = coloured(three(), data, PhotometricInterpretation=photometric, syntax=JPEGBaseline8Bit)
    flat = np.abs(shown(content) - GREY) < 16
    assert flat.mean() > 0.95


def test_a_coloured_jpeg_is_refused_as_a_photograph() -> None:
    data = encapsulate([saved(PHOTOGRAPH, "JPEG", quality=95)])
    content = coloured(PHOTOGRAPH, data, PhotometricInterpretation="YBR_FULL_422", syntax=JPEGBaseline8Bit)
    assert fault(content) == "colour_photograph"


@pytest.mark.parametrize("photometric", ["YBR_RCT", "RGB"])
def test_jpeg_2000_of_equal_channels_is_read_as_grey(photometric: str) -> None:
    data = encapsulate([saved(three(), "JPEG2000", no_jp2=True, mct=int(photometric == "YBR_RCT"))])
    content = coloured(three(), data, PhotometricInterpretation=photometric, syntax=JPEG2000Lossless)
    np.testing.assert_array_equal(shown(content), GREY)


def test_run_lengths_of_equal_channels_are_read_as_grey() -> None:
    frame = by_pydicom(RLELossless, "pydicom", three(), 8, **RGB)
    np.testing.assert_array_equal(shown(coloured(three(), encapsulate([frame]), syntax=RLELossless)), GREY)


def test_jpeg_ls_of_equal_channels_is_read_as_grey() -> None:
    frame = by_pydicom(JPEGLSLossless, "pyjpegls", three(), 8, **RGB)
    np.testing.assert_array_equal(shown(coloured(three(), encapsulate([frame]), syntax=JPEGLSLossless)), GREY)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_grey_palette_is_read_as_grey(bits: int) -> None:
    ramp = np.repeat(np.arange(256)[::-1, np.newaxis], 3, axis=1) << (bits - 8)
    content = coloured(three(), GREY.tobytes(), **palette(ramp, bits))
    np.testing.assert_array_equal(shown(content), 255 - GREY)


def test_a_coloured_palette_is_refused_as_a_photograph() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (256, 3))
    assert fault(coloured(three(), GREY.tobytes(), **palette(colours, 8))) == "colour_photograph"


def test_an_object_without_its_palette_is_undecodable() -> None:
    content = coloured(three(), GREY.tobytes(), PhotometricInterpretation="PALETTE COLOR")
    assert fault(content) == "undecodable"


def test_colours_of_sixteen_bits_are_refused_with_the_reason() -> None:
    content = coloured(three(), bytes(2 * three().size), BitsAllocated=16, BitsStored=16, HighBit=15)
    assert "three samples of 16 bits" in refusal(content).message


def test_coloured_pixels_cut_short_are_read_as_far_as_they_go() -> None:
    decoded = decode.decode(coloured(three())[:-60])
    assert decoded.truncated
    assert decoded.pixels[:11].tolist() == GREY[:11].tolist()
    assert not decoded.pixels[12:].any()
