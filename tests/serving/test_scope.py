"""What a header says of an image's kind and body part decides whether it is answered."""

import json
from dataclasses import dataclass

import pytest
from pydicom import uid

from serving.errors import ImageError
from serving.scope import REGIONS, Scope, Terms, region_of

CR = "1.2.840.10008.5.1.4.1.1.1"


@dataclass(frozen=True)
class Header:
    modality: str = ""
    sop_class_uid: str = ""
    body_part: str = ""


def refused(header: Header, regions: tuple[str, ...] = REGIONS) -> bool:
    return refused_by(Scope.for_regions(regions), header)


def refused_by(scope: Scope, header: Header) -> bool:
    reason = scope.check(header, warn=True)
    if not reason:
        assert scope.check(header) == ""
        return False
    with pytest.raises(ImageError) as caught:
        scope.check(header)
    assert (caught.value.code, caught.value.message) == ("out_of_scope", reason)
    return True


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "NM", "PT", "XA", "MG", "IO", "PX", "ES", "SM", "ct"])
def test_other_modalities_are_refused(modality: str) -> None:
    assert refused(Header(modality, body_part="HAND"))


@pytest.mark.parametrize("modality", ["", "CR", "DX", "DR", "RG", "RF", "OT", "SC", "XX", "??"])
def test_a_modality_that_may_be_a_radiographs_is_not_refused(modality: str) -> None:
    assert not refused(Header(modality))


@pytest.mark.parametrize(
    "sop_class",
    [
        uid.CTImageStorage,
        uid.EnhancedCTImageStorage,
        uid.MRImageStorage,
        uid.EnhancedMRImageStorage,
        uid.UltrasoundImageStorage,
        uid.UltrasoundMultiFrameImageStorage,
        uid.NuclearMedicineImageStorage,
        uid.PositronEmissionTomographyImageStorage,
        uid.XRayAngiographicImageStorage,
        uid.EnhancedXAImageStorage,
        uid.DigitalMammographyXRayImageStorageForPresentation,
        uid.DigitalMammographyXRayImageStorageForProcessing,
        uid.DigitalIntraOralXRayImageStorageForPresentation,
        uid.BreastTomosynthesisImageStorage,
        uid.VLPhotographicImageStorage,
        uid.RTImageStorage,
    ],
    ids=lambda value: value.keyword,
)
def test_sop_classes_of_other_modalities_are_refused(sop_class: uid.UID) -> None:
    assert refused(Header(sop_class_uid=str(sop_class)))


@pytest.mark.parametrize(
    "sop_class",
    [
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.SecondaryCaptureImageStorage,
        uid.XRayRadiofluoroscopicImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.UID("1.2.3.4"),
    ],
    ids=str,
)
def test_sop_classes_that_may_hold_a_radiograph_are_not_refused(sop_class: uid.UID) -> None:
    assert not refused(Header(sop_class_uid=str(sop_class)))


@pytest.mark.parametrize(
    "body_part",
    [
        "CHEST",
        "SKULL",
        "SPINE",
        "CSPINE",
        "C-SPINE",
        "LUMBAR SPINE",
        "ABDOMEN",
        "HEAD",
        "THORAX",
        "CHEST PA",
        "RIB",
        "NECK",
        "BREAST",
        "JAW",
        "chest",
        "CERVICAL_SPINE",
        "HEAD; NECK",
        "WIRBELSÄULE",
    ],
)
def test_body_parts_that_hold_no_region_of_the_model_are_refused(body_part: str) -> None:
    assert refused(Header("CR", CR, body_part))


@pytest.mark.parametrize(
    "body_part",
    [
        "",
        "EXTREMITY",
        "PELVIS",
        "ARM",
        "ELBOW",
        "UPPER LIMB",
        "ABDOMEN AND PELVIS",
        "WHOLE BODY",
        "CHEST; SHOULDER",
        "UNKNOWN",
        "NOTHING IN THE LIST",
        "4711",
        "PORTABLE",
        "FEMORAL HEAD",
        "NECK OF HUMERUS",
    ],
)
def test_body_parts_that_may_hold_a_region_or_are_not_known_are_not_refused(body_part: str) -> None:
    assert not refused(Header("CR", CR, body_part))


@pytest.mark.parametrize(
    ("body_part", "region"),
    [
        ("HAND", "hand"),
        ("LEFT WRIST AP", "hand"),
        ("FINGER", "hand"),
        ("FOREARM", "hand"),
        ("FOOT", "leg"),
        ("Knee", "leg"),
        ("LOWER LEG", "leg"),
        ("LOWER_LIMB", "leg"),
        ("TIBIA/FIBULA", "leg"),
        ("ANKLE JOINT", "leg"),
        ("HIP JOINT", "hip"),
        ("HIP", "hip"),
        ("HÜFTE", "hip"),
        ("CLAVICLE", "shoulder"),
        ("AC JOINT", "shoulder"),
        ("SHOULDER", "shoulder"),
        ("PELVIS", ""),
        ("EXTREMITY", ""),
        ("CHEST", ""),
        ("", ""),
        ("HAND; SHOULDER", ""),
        ("ELBOW", ""),
    ],
)
def test_a_region_is_read_from_the_words_of_a_body_part(body_part: str, region: str) -> None:
    assert region_of(body_part) == region


def test_a_region_that_the_model_was_not_trained_for_is_refused() -> None:
    assert refused(Header("CR", CR, "SHOULDER"), ("hand", "leg"))


def test_a_region_that_the_model_was_trained_for_is_not_refused_whatever_it_is() -> None:
    assert not refused(Header("CR", CR, "CHEST"), ("hand", "chest"))


def test_regions_of_other_names_than_ours_refuse_none_of_ours() -> None:
    assert not refused(Header("CR", CR, "FOOT"), ("extremities",))
    assert refused(Header("CR", CR, "CHEST"), ("extremities",))


def test_a_model_that_names_no_region_is_meant_for_all_of_ours() -> None:
    assert not refused(Header("CR", CR, "FOOT"), ())


@pytest.mark.parametrize("regions", [REGIONS, ("hand", "chest"), ("extremities",), ()])
def test_the_list_of_what_is_refused_holds_what_is_refused(regions: tuple[str, ...]) -> None:
    listed = set(Terms.for_regions(regions).refused)
    areas = ("hand", "hip", "leg", "shoulder", "chest", "skull", "spine", "neck", "abdomen", "breast", "phantom")
    assert listed == {area for area in areas if refused(Header("CR", CR, area), regions)}


def test_the_refusal_says_why_and_what_the_model_is_for() -> None:
    with pytest.raises(ImageError) as caught:
        Scope.for_regions().check(Header("CR", CR, "CHEST PA"))
    assert caught.value.message == "the header says chest; this model is for radiographs of: hand, hip, leg, shoulder"


def test_the_refusal_repeats_no_free_text() -> None:
    with pytest.raises(ImageError) as caught:
        Scope.for_regions().check(Header("CR", CR, "CHEST OF JANE DOE"))
    assert "JANE" not in caught.value.message.upper()


def test_a_warning_has_the_words_of_the_refusal() -> None:
    assert Scope.for_regions(("hand",)).check(Header("MR"), warn=True) == (
        "the header says magnetic resonance (MR); this model is for radiographs of: hand"
    )


@pytest.mark.parametrize(
    "word",
    [
        "BRUST",
        "CRÁNEO",
        "CRANE",
        "POUMON",
        "TÓRAX",
        "TORACE",
        "COLUNA",
        "HWS",
        "RACHIS",
        "PULMÃO",
        "BUIK",
        "CHESTABDOMEN",
    ],
)
def test_other_languages_words_for_other_regions_are_refused(word: str) -> None:
    assert refused(Header("DX", body_part=word))


@pytest.mark.parametrize(
    ("word", "region"),
    [
        ("LHAND", "hand"), ("RTHAND", "hand"), ("RIGHTKNEE", "leg"), ("LTSHOULDER", "shoulder"), ("RHIP", "hip"),
        ("MAIN", "hand"), ("MAIN DROITE", "hand"), ("MÃO", "hand"), ("POLSO", "hand"), ("GINOCCHIO", "leg"),
        ("VOET", "leg"), ("JOELHO", "leg"), ("SPALLA", "shoulder"),
        ("SCHOUDER", "shoulder"), ("HEUP", "hip"), ("QUADRIL", "hip"),
    ],
)  # fmt: skip
def test_sides_and_other_languages_words_name_the_region(word: str, region: str) -> None:
    assert region_of(word) == region
    assert not refused(Header("DX", body_part=word))


@pytest.mark.parametrize(
    "word",
    [
        "LELBOW",
        "RARM",
        "CHESTABDPELV",
        "CHESTABDPELVIS",
        "ABDPELV",
        "LEAR",
        "RHEART",
        "TETE FEMORALE",
        "BACINO",
        "QQQ",
        "L",
    ],
)
def test_what_may_hold_a_region_or_is_unknown_is_not_refused(word: str) -> None:
    assert not refused(Header("DX", body_part=word))
    assert region_of(word) == ""


CHEST = Terms(
    intended={"chest": ("CHEST", "LUNG")},
    refused={"hand": ("HAND",)},
    either=("BODY",),
    modalities={"CT": "computed tomography"},
    sop_classes={str(uid.CTImageStorage): "CT"},
)


@pytest.mark.parametrize("header", [Header("CT"), Header("", str(uid.CTImageStorage)), Header("CR", CR, "LEFT HAND")])
def test_another_list_refuses_what_it_names(header: Header) -> None:
    assert refused_by(Scope(CHEST), header)


@pytest.mark.parametrize("header", [Header("MR"), Header("CR", CR, "CHEST"), Header(body_part="HAND BODY"), Header()])
def test_another_list_refuses_nothing_else(header: Header) -> None:
    assert not refused_by(Scope(CHEST), header)


def test_another_list_names_its_own_regions() -> None:
    found = Scope(CHEST)
    assert (found.region_of("LUNG PA"), found.region_of("HAND"), found.named) == ("chest", "", ("chest",))


def test_a_list_is_read_as_it_was_written() -> None:
    assert Terms.parse(CHEST.text().encode()) == CHEST


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"intended": {}}, "intended: .*at least 1"),
        ({"either": ["hand"]}, "either.0: .*pattern"),
        ({"either": ["LUNG"]}, "the word LUNG stands in it twice"),
        ({"sop_classes": {"1.2": "MR"}}, "names the modality MR, which modalities lacks"),
        ({"weight": 1}, "weight: Extra"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Terms.parse(json.dumps(CHEST.model_dump() | change).encode())
