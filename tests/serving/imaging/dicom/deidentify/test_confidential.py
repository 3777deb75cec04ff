"""An exported radiograph: nothing planted is left, and its pixels are the source's."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from serving.imaging import decode
from serving.imaging.dicom import DECODERS
from serving.imaging.dicom.deidentify.confidential import RefusedError, deidentify, identify
from serving.imaging.dicom.deidentify.pseudonyms import Key
from tests.serving.imaging.dicom.builders import coded, picture
from tests.serving.imaging.dicom.deidentify.planted import (
    CR,
    DATE,
    DX,
    KEY,
    NAME,
    ROOT,
    marks_in,
    planted,
    radiograph,
    tags,
)

SAMPLES = os.environ.get("DICOM_SAMPLES", "")
TAGS = list(tags())
SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def exported(content: bytes, **options: Any) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(deidentify(content, KEY, **options).content))


def refusal(content: bytes, **options: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        deidentify(content, KEY, **options)
    assert "\n" not in caught.value.message
    assert NAME not in caught.value.message
    return caught.value


@pytest.fixture(scope="module")
def everything() -> bytes:
    """Make an object with all elements."""
    return radiograph(*map(planted, TAGS))


def test_the_source_names_the_patient_in_thousands_of_elements(everything: bytes) -> None:
    assert len(TAGS) > 4500
    assert everything.count(NAME.encode()) > 2000


def test_no_planted_value_is_anywhere_in_the_export(everything: bytes) -> None:
    assert marks_in(deidentify(everything, KEY).content) == []


def test_an_export_holds_none_of_the_planted_numbers(everything: bytes) -> None:
    content = deidentify(everything, KEY).content
    assert b"DOEJ" not in content
    assert b"077Y" not in content
    assert b"101112" not in content


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_no_encoding_hides_a_planted_value(syntax: str) -> None:
    content = radiograph(*map(planted, TAGS[::40]), syntax=syntax)
    assert marks_in(deidentify(content, KEY).content) == []


@pytest.mark.parametrize(
    "element",
    [
        DataElement(0x60003000, "OW", NAME.encode() + b" "),
        DataElement(0x60004000, "LT", NAME),
        DataElement(0x50003000, "OW", NAME.encode() + b" "),
        DataElement(0x00091010, "LO", NAME),
        DataElement(0xFFFCFFFC, "OB", NAME.encode() + b" "),
        DataElement(0x00420011, "OB", b"%PDF" + NAME.encode() + b" "),
        DataElement(0x40000010, "LT", NAME),
    ],
    ids=lambda element: str(element.tag),
)
def test_overlays_curves_private_elements_padding_and_documents_are_left_out(element: DataElement) -> None:
    content = radiograph(element)
    assert element.tag in pydicom.dcmread(io.BytesIO(content))
    assert element.tag not in exported(content)


def test_bytes_after_the_data_set_are_left_out() -> None:
    assert marks_in(deidentify(radiograph() + NAME.encode(), KEY).content) == []


def test_bytes_after_the_last_pixel_are_left_out() -> None:
    content = radiograph(Rows=2, Columns=16, PixelData=bytes(range(64)) + NAME.encode() + b" ")
    assert len(exported(content).PixelData) == 64


def test_bits_that_pixels_leave_unused_are_cleared() -> None:
    with_overlay = (np.arange(128, dtype="<u2") * 31 | 0xF000).tobytes()
    assert not np.frombuffer(exported(radiograph(PixelData=with_overlay)).PixelData, "<u2").max() >> 12


def test_a_table_ends_with_its_last_entry_and_loses_its_explanation() -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTExplanation = [2, 0, 16], NAME
    table.LUTData = b"\0\0\xff\xff" + NAME.encode() + b" "
    found = exported(radiograph(VOILUTSequence=[table])).VOILUTSequence[0]
    assert "LUTExplanation" not in found
    assert found.LUTData == b"\0\0\xff\xff"


def test_a_code_of_a_region_gets_our_own_meaning() -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "85562004", NAME, NAME
    found = exported(radiograph(AnatomicRegionSequence=[code])).AnatomicRegionSequence[0]
    assert (found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning) == ("85562004", "SCT", "Hand")


@pytest.mark.parametrize(
    "keyword", ["BodyPartExamined", "ViewPosition", "ImageType", "RescaleType", "PatientOrientation"]
)
def test_a_term_that_is_on_no_list_is_left_out(keyword: str) -> None:
    assert not exported(radiograph(**{keyword: NAME})).get(keyword)


def test_known_terms_stay() -> None:
    found = exported(radiograph(BodyPartExamined="HAND", ViewPosition="PA", Laterality="L", InstanceNumber=3))
    assert (found.BodyPartExamined, found.ViewPosition, found.Laterality, found.InstanceNumber) == (
        "HAND",
        "PA",
        "L",
        3,
    )


def test_the_method_names_profile_and_options() -> None:
    found = exported(radiograph())
    assert found.PatientIdentityRemoved == "YES"
    assert [one.CodeValue for one in found.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert found.LongitudinalTemporalInformationModified == "MODIFIED"


def test_uids_are_replaced_consistently() -> None:
    first, second = (exported(radiograph(SOPInstanceUID=f"{ROOT}.{number}")) for number in (7, 8))
    assert first.StudyInstanceUID == second.StudyInstanceUID == KEY.uid(f"{ROOT}.3")
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID


def test_dates_move_by_the_constant_of_the_patient() -> None:
    found = exported(radiograph(SeriesDate="19470817", AcquisitionDate="no date"))
    assert found.StudyDate == KEY.shifted(DATE, NAME)
    assert found.SeriesDate == KEY.shifted("19470817", NAME)
    assert "AcquisitionDate" not in found


def test_an_image_without_a_patient_id_is_grouped_by_its_study() -> None:
    first, second = (exported(radiograph(PatientID=None, SOPInstanceUID=f"{ROOT}.{n}")) for n in (7, 8))
    other = exported(radiograph(PatientID="", StudyInstanceUID=f"{ROOT}.9"))
    assert first.PatientID == second.PatientID != other.PatientID


def test_the_same_source_and_key_give_the_same_bytes() -> None:
    assert deidentify(radiograph(), KEY) == deidentify(radiograph(), KEY)


def test_another_key_gives_other_identifiers() -> None:
    assert deidentify(radiograph(), KEY).content != deidentify(radiograph(), Key(b"x" * 32)).content


def test_an_export_can_be_exported_again() -> None:
    again = exported(deidentify(radiograph(), KEY).content)
    assert again.StudyInstanceUID == KEY.uid(KEY.uid(f"{ROOT}.3"))


@pytest.mark.parametrize("syntax", DECODERS, ids=lambda syntax: syntax.name)
def test_an_export_looks_like_its_source_in_every_transfer_syntax(syntax: str) -> None:
    bits = 8 if syntax == "1.2.840.10008.1.2.4.50" else 12
    content = coded(picture(bits), pydicom.uid.UID(syntax), bits, StudyInstanceUID=ROOT, SOPInstanceUID=ROOT)
    written = deidentify(content, KEY).content
    np.testing.assert_array_equal(decode.decode(written).pixels, decode.decode(content).pixels)


@pytest.mark.parametrize("pixels", ["MONOCHROME1", "signed", "high bits"])
def test_an_export_looks_like_its_source_whatever_its_pixels_mean(pixels: str) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "MONOCHROME1": {"PhotometricInterpretation": "MONOCHROME1"},
        "signed": {
            "PixelRepresentation": 1,
            "WindowCenter": 0,
            "WindowWidth": 90,
            "PixelData": np.arange(-64, 64, dtype="<i2").tobytes(),
        },
        "high bits": {"HighBit": 15, "PixelData": (np.arange(128, dtype="<u2") << 4).tobytes()},
    }
    content = radiograph(**kinds[pixels])
    np.testing.assert_array_equal(decode.decode(deidentify(content, KEY).content).pixels, decode.decode(content).pixels)


@pytest.mark.skipif(not SAMPLES, reason="DICOM_SAMPLES does not say where the DICOM files are")
@pytest.mark.parametrize("name", ["hand_cr_monochrome_jpeg2000.dcm", "tibia_cr_monochrome1_jpeg2000.dcm"])
def test_a_real_radiograph_keeps_its_pixels_and_loses_its_names(name: str) -> None:
    content = (Path(SAMPLES) / name).read_bytes()
    source, found = pydicom.dcmread(io.BytesIO(content)), exported(content)
    np.testing.assert_array_equal(found.pixel_array, source.pixel_array)
    assert source.StudyInstanceUID not in str(found)
    assert not {"InstitutionName", "DeviceSerialNumber", "SeriesDescription"} & set(found.dir())


@pytest.mark.parametrize(
    "sop_class",
    [
        "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
        "1.2.840.10008.5.1.4.1.1.104.1",  # encapsulated PDF
        "1.2.840.10008.5.1.4.1.1.11.1",  # presentation state
        "1.2.840.10008.5.1.4.1.1.1.1.1",  # DX for processing
        NAME,
    ],
)
def test_what_is_no_radiograph_is_never_exported(sop_class: str) -> None:
    assert refusal(radiograph(SOPClassUID=sop_class)).code == "not_a_radiograph"


def test_text_that_the_header_declares_is_refused() -> None:
    assert refusal(radiograph(BurnedInAnnotation=" yes ")).code == "burned_in"


def test_text_that_a_person_has_reviewed_passes() -> None:
    found = exported(radiograph(BurnedInAnnotation="YES"), reviewed=[f"{ROOT}.1"])
    assert found.BurnedInAnnotation == "NO"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "broken"),
        (b"hello" * 100, "broken"),
        (bytes(128) + b"DICM", "broken"),
        (radiograph()[:-40], "broken"),
        (radiograph(StudyInstanceUID=None), "no_uid"),
        (radiograph(SOPInstanceUID="4711^Doe"), "no_uid"),
        (radiograph(Rows=4000, Columns=4000), "broken"),
        (radiograph(Rows=60_000, Columns=60_000), "broken"),
        (radiograph(NumberOfFrames=2), "broken"),
        (radiograph(PhotometricInterpretation=NAME), "broken"),
        (radiograph(DataElement(Tag("Rows"), "LO", NAME), Rows=None), "broken"),
    ],
)
def test_what_cannot_be_exported_has_one_line_that_names_nobody(content: bytes, code: str) -> None:
    assert refusal(content).code == code


def test_the_identity_is_read_from_the_header_alone() -> None:
    found = identify(radiograph()[:-200])
    assert (found.patient_id, found.study_instance_uid, found.sop_instance_uid) == (NAME, f"{ROOT}.3", f"{ROOT}.1")


def test_a_dx_object_keeps_what_its_type_asks_for() -> None:
    found = exported(radiograph(SOPClassUID=DX, PresentationIntentType="FOR PRESENTATION"))
    assert (found.Modality, found.PresentationIntentType, found.ImageLaterality) == ("DX", "FOR PRESENTATION", "U")


nested = st.recursive(
    st.lists(st.sampled_from(TAGS), min_size=1, max_size=4),
    lambda inner: st.tuples(st.lists(st.sampled_from(TAGS), max_size=3), inner),
    max_leaves=4,
)


def _built(shape: Any, text: str) -> list[DataElement]:
    """Elements with `text` after the planted name, where they hold text; a pair has a sequence of the inner shape."""
    if isinstance(shape, tuple):
        item = Dataset()
        for element in _built(shape[1], text):
            item.add(element)
        return [*_built(shape[0], text), DataElement(Tag("RequestAttributesSequence"), "SQ", [item])]
    return [_with(planted(tag), text) for tag in shape]


def _with(element: DataElement, text: str) -> DataElement:
    if element.VR in {"LO", "LT", "UT", "ST", "UC", "PN"}:
        element.value = NAME + text
    return element


@settings(max_examples=25, deadline=None)
@given(
    shape=nested,
    text=st.text(st.characters(codec="latin-1", exclude_characters="\\", exclude_categories=["Cc"]), max_size=20),
    private=st.integers(0x0009, 0x7FDF).filter(lambda group: group % 2 == 1),
    syntax=st.sampled_from(SYNTAXES),
    sop_class=st.sampled_from([CR, DX]),
)
def test_no_element_anywhere_carries_a_value_out(
    shape: Any, text: str, private: int, syntax: str, sop_class: str
) -> None:
    block = [
        DataElement(BaseTag(private << 16 | 0x10), "LO", NAME),
        DataElement(BaseTag(private << 16 | 0x1001), "UT", NAME),
    ]
    content = radiograph(*_built(shape, text), *block, syntax=syntax, SOPClassUID=sop_class)
    assert marks_in(deidentify(content, KEY).content) == []
