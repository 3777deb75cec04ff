"""The whole path of an object: its header, what is refused, and real radiographs."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from serving.errors import ImageError
from serving.imaging import canvas, decode
from serving.imaging.model_input import prepare
from serving.scope import region_of
from tests.serving.imaging.dicom.builders import fault, radiograph

SAMPLES = os.environ.get("DICOM_SAMPLES", "")

real_data = pytest.mark.skipif(not SAMPLES, reason="DICOM_SAMPLES does not say where the sample objects are")


def test_the_header_tells_size_depth_and_photometric_interpretation() -> None:
    header = decode.inspect(radiograph([[1, 2, 3]], BitsStored=12, HighBit=11))
    assert header == decode.Header(
        "DICOM", "MONOCHROME2", 12, 3, 1, 1, sop_instance_uid="1.2.3", sop_class_uid=ComputedRadiographyImageStorage
    )


def test_several_frames_are_refused() -> None:
    assert fault(radiograph(np.zeros((4, 2)), NumberOfFrames=2, Rows=2)) == "unsupported_dicom"


def test_the_frames_count_as_pixels() -> None:
    with pytest.raises(ImageError, match="2 x 2 x 30000000") as caught:
        decode.inspect(radiograph(NumberOfFrames=30_000_000))
    assert caught.value.code == "too_many_pixels"


@pytest.mark.parametrize("bits", [1, 12, 32, 64])
def test_an_object_that_allocates_neither_8_nor_16_bits_is_refused(bits: int) -> None:
    assert fault(radiograph(np.zeros((8, 8)), BitsAllocated=bits, PixelData=bytes(8 * bits))) == "unsupported_dicom"


def test_an_object_without_an_image_has_no_pixels() -> None:
    assert fault(radiograph(Rows=None)) == "no_pixels"


@pytest.mark.parametrize("end", [b"DICM", b"\x08\0\x16\0", b"\x28\0\x10\0"])
def test_an_object_cut_short_in_its_header_may_have_to_be_sent_again(end: bytes) -> None:
    content = radiograph()
    with pytest.raises(ImageError, match="send it again whole") as caught:
        decode.inspect(content[: content.index(end) + 4])
    assert caught.value.code == "no_pixels"


@pytest.mark.parametrize(
    ("keyword", "name"),
    [("PhotometricInterpretation", "Photometric Interpretation"), ("BitsStored", "Bits Stored")],
)
def test_an_image_that_does_not_say_how_it_is_stored_is_incomplete(keyword: str, name: str) -> None:
    absent: dict[str, Any] = {keyword: None}
    with pytest.raises(ImageError, match=f"{name} is missing; export it again") as caught:
        decode.inspect(radiograph(**absent))
    assert caught.value.code == "undecodable"


def test_an_image_without_its_pixel_data_has_no_pixels() -> None:
    assert fault(radiograph(PixelData=None)) == "no_pixels"


def test_a_huge_image_is_refused_before_its_pixels_are_looked_at() -> None:
    assert fault(radiograph(Rows=30_000, Columns=30_000)) == "too_many_pixels"


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
    pixels = prepare((Path(SAMPLES) / name).read_bytes(), canvas.Preprocessing(224)).pixels
    assert pixels.shape == (224, 224)
    assert pixels.std() > 20


def coded_region(value: str | None, meaning: str) -> Dataset:
    item = Dataset()
    if value is not None:
        item.CodeValue, item.CodingSchemeDesignator = value, "SCT"
    item.CodeMeaning = meaning
    return item


def test_the_header_tells_kind_and_body_part() -> None:
    header = decode.inspect(radiograph(Modality="DX", BodyPartExamined="hand"))
    assert (header.modality, header.body_part, region_of(header.body_part)) == ("DX", "HAND", "hand")
    assert header.sop_class_uid == ComputedRadiographyImageStorage


@pytest.mark.parametrize("value", ["72696002", "T-D9200"])
def test_a_coded_region_is_read_by_its_code(value: str) -> None:
    header = decode.inspect(radiograph(AnatomicRegionSequence=[coded_region(value, "Genou")]))
    assert (header.body_part, region_of(header.body_part)) == ("KNEE", "leg")


def test_a_coded_region_of_another_scheme_is_read_by_its_meaning() -> None:
    header = decode.inspect(radiograph(AnatomicRegionSequence=[coded_region("K1", "Left knee")]))
    assert region_of(header.body_part) == "leg"


def test_an_object_that_says_nothing_of_its_kind_has_an_empty_header() -> None:
    header = decode.inspect(radiograph(Modality="", AnatomicRegionSequence=[]))
    assert (header.modality, header.body_part, region_of(header.body_part)) == ("", "", "")


@pytest.mark.parametrize(("intent", "expected"), [("FOR PROCESSING", True), ("FOR PRESENTATION", False), (None, False)])
def test_the_header_tells_pixels_that_are_still_to_be_processed(intent: str | None, expected: bool) -> None:
    assert decode.inspect(radiograph(PresentationIntentType=intent)).for_processing is expected
