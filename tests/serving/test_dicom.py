"""DICOM objects to grey pixels: exact display values (PS3.3, C.11.2.1.2), and what is refused."""

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
)

from serving import dicom, imaging
from serving.errors import ImageError

SAMPLES = os.environ.get("DICOM_SAMPLES", "")
real_data = pytest.mark.skipif(not SAMPLES, reason="DICOM_SAMPLES does not say where the sample objects are")

RAMP = [[0, 1000], [2000, 4000]]


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
        return imaging.decode(radiograph(pixels, **elements)).pixels.tolist()


def fault(content: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        imaging.decode(content)
    assert "\n" not in caught.value.message
    return caught.value.code


def table(first: int, bits: int, entries: list[int]) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


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


def test_a_voi_table_comes_before_a_window() -> None:
    elements = {"WindowCenter": 0, "WindowWidth": 2, "VOILUTSequence": [table(0, 8, [0, 51])]}
    assert shown([[0, 1]], **elements) == [[0, 51]]


def test_signed_values_are_read_as_signed() -> None:
    assert shown([[65_535, 0, 1]], PixelRepresentation=1) == [[0, 128, 255]]


def test_the_header_tells_size_depth_and_photometric_interpretation() -> None:
    header = imaging.inspect(radiograph([[1, 2, 3]], BitsStored=12, HighBit=11))
    assert header == imaging.Header("DICOM", "MONOCHROME2", 12, 3, 1, 1)


# Refused objects


def test_several_frames_are_refused() -> None:
    assert fault(radiograph(np.zeros((4, 2)), NumberOfFrames=2, Rows=2)) == "unsupported_dicom"


def test_the_frames_count_as_pixels() -> None:
    with pytest.raises(ImageError, match="2 x 2 x 30000000") as caught:
        imaging.inspect(radiograph(NumberOfFrames=30_000_000))
    assert caught.value.code == "too_many_pixels"


def test_colours_are_refused() -> None:
    colours: dict[str, Any] = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    assert fault(radiograph(np.zeros((1, 6)), Columns=2, **colours)) == "unsupported_dicom"


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
        # SOC and SIZ: profile, then width and height of the reference grid, then its offsets
        (JPEG2000Lossless, "ff4fff51 0029 0000 00007530 00007530 00000000 00000000"),
        # SOI, an APP0 to step over, SOF55: 16 bits, height, width
        (JPEGLSLossless, "ffd8 ffe0 0004 abcd fff7 000b 10 7530 7530"),
    ],
)
def test_a_compressed_image_larger_than_its_object_says_is_refused(syntax: UID, stream: str) -> None:
    content = radiograph(syntax=syntax, PixelData=encapsulate([bytes.fromhex(stream)]))
    with pytest.raises(ImageError, match="do not fit Rows x Columns, 2 x 2"):
        imaging.decode(content)


def test_broken_compressed_pixels_are_undecodable() -> None:
    assert fault(radiograph(syntax=JPEG2000Lossless, PixelData=encapsulate([b"no image"]))) == "undecodable"


def test_a_deflated_object_is_refused_before_it_is_inflated() -> None:
    assert fault(radiograph(syntax=DeflatedExplicitVRLittleEndian)) == "unsupported_dicom"


def test_an_unknown_transfer_syntax_is_undecodable() -> None:
    content = radiograph().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0")
    assert fault(content) == "undecodable"


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


# Real objects


def sample(name: str) -> tuple[pydicom.Dataset, npt.NDArray[np.uint8]]:
    content = (Path(SAMPLES) / name).read_bytes()
    return pydicom.dcmread(io.BytesIO(content)), imaging.decode(content).pixels


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
    pixels, _, _ = imaging.prepare((Path(SAMPLES) / name).read_bytes(), imaging.Preprocessing(224))
    assert pixels.shape == (224, 224)
    assert pixels.std() > 20
