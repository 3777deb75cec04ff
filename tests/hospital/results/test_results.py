"""Result objects by the standard: dciodvfy finds no error, and each says what the design asks."""

import os
import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from hospital.config import Results
from hospital.results import capture, presentation, report
from hospital.results.source import read_source
from hospital.results.version import NOT_A_DIAGNOSIS, Edition, View
from serving.http.schemas import Region, RegionBeside
from tests.hospital.conftest import Scorer
from tests.hospital.objects import LEAST_SUSPICIOUS, drawn, encoded, radiograph
from tests.hospital.peers import dcmtk

SAMPLES = sorted(Path(os.environ.get("DICOM_SAMPLES", "/nowhere")).glob("*.dcm"))


def edition(scorer: Scorer, *contents: bytes) -> Edition:
    views = [View(read_source(content), scorer.score(content).answer) for content in contents]
    return Edition(views, scorer.model, Results(), datetime.now().astimezone(), 1, [])


def made_of(scorer: Scorer, *contents: bytes) -> dict[str, pydicom.Dataset]:
    """One object of each role."""
    made = edition(scorer, *contents)
    return {one.role: one.dataset for one in (report.make(made), *capture.make(made), *presentation.make(made))}


@pytest.fixture(scope="module")
def objects(scorer: Scorer) -> dict[str, pydicom.Dataset]:
    """Make the objects of one fractured radiograph."""
    return made_of(scorer, encoded(radiograph()))


def errors(folder: Path, dataset: pydicom.Dataset) -> list[str]:
    path = folder / "object.dcm"
    path.write_bytes(encoded(dataset))
    program = shutil.which("dciodvfy")
    assert program, "dciodvfy is not installed (tests/system-packages.txt)"
    told = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    return [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]


INPUTS = {
    "CR": lambda: encoded(radiograph()),
    "DX": lambda: encoded(radiograph(sop_class="DX")),
    "CR without a finding": lambda: encoded(radiograph(drawn(LEAST_SUSPICIOUS))),
    "CR with little said": lambda: encoded(
        radiograph(PatientOrientation=None, StudyID=None, StudyTime=None, AccessionNumber=None, Laterality=None,
                   PatientSex=None, PatientBirthDate=None, ReferringPhysicianName=None)
    ),
    "inverse": lambda: encoded(radiograph(255 - drawn(), PhotometricInterpretation="MONOCHROME1")),
    **{path.stem: path.read_bytes for path in SAMPLES},
}  # fmt: skip


@pytest.mark.dicom3tools
@pytest.mark.parametrize("name", INPUTS)
def test_objects_have_no_error_of_dciodvfy(scorer: Scorer, name: str, tmp_path: Path) -> None:
    for role, dataset in made_of(scorer, INPUTS[name]()).items():
        assert errors(tmp_path, dataset) == [], role


@pytest.mark.dicom3tools
def test_report_of_several_views_has_no_error_of_dciodvfy(scorer: Scorer, tmp_path: Path) -> None:
    study = generate_uid()
    contents = [encoded(radiograph(shown, StudyInstanceUID=study)) for shown in (drawn(), drawn(LEAST_SUSPICIOUS))]
    assert errors(tmp_path, made_of(scorer, *contents)["report"]) == []


@pytest.mark.slow
@pytest.mark.pixelmed
@pytest.mark.parametrize("name", ["CR", "CR without a finding", "CR with little said"])
def test_report_has_no_error_of_pixelmeds_validator(scorer: Scorer, name: str, tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(encoded(made_of(scorer, INPUTS[name]())["report"]))
    # Its rules are more than Java by default lets one style sheet hold.
    limits = [f"-Djdk.xml.xpath{what}Limit=0" for what in ("TotalOp", "ExprOp", "ExprGrp")]
    program = "com.pixelmed.validate.DicomSRValidator"
    # It ends before thorough compilation pays.
    hasty = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    command = ["java", *hasty, *limits, "-cp", "/usr/share/java/pixelmed.jar", program, str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = (told.stdout + told.stderr).splitlines()
    assert "Found Root Template TID_1500 (MeasurementReport)" in lines
    assert "IOD validation complete" in lines
    assert [line for line in lines if line.startswith("Error")] == []
    # The judgement of the fracture, which TID 1410 leaves room for but does not name.
    warnings = {line.rpartition(": ")[2] for line in lines if line.startswith("Warning")}
    assert warnings == {"Content Item not in template"}


@pytest.mark.dcmtk
def test_presentation_state_is_read_by_dcmtk_with_its_box_and_shows_an_inverse_image_upright(
    scorer: Scorer, tmp_path: Path
) -> None:
    content = encoded(radiograph(255 - drawn(), PhotometricInterpretation="MONOCHROME1"))
    image, state, shown = tmp_path / "image.dcm", tmp_path / "state.dcm", tmp_path / "shown.pgm"
    image.write_bytes(content)
    made = edition(scorer, content)
    state.write_bytes(encoded(presentation.make(made)[0].dataset))
    command = [dcmtk("dcmp2pgm"), "-v", "-p", str(state), str(image), str(shown)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    (corners,) = re.findall(r"coordinates: (.*), $", told.stdout + told.stderr, re.MULTILINE)
    height, width = drawn().shape
    box = made.views[0].boxes[0]
    first = [float(part) for part in corners.split(", ")[0].split("\\")]
    assert first == pytest.approx([box.x0 * width, box.y0 * height], abs=0.01)
    np.testing.assert_allclose(np.asarray(Image.open(shown), int), drawn(), atol=1)


def test_results_join_the_study_in_series_of_their_own(objects: dict[str, pydicom.Dataset], scorer: Scorer) -> None:
    sent = radiograph()
    made = made_of(scorer, encoded(sent))
    assert {one.StudyInstanceUID for one in made.values()} == {sent.StudyInstanceUID}
    series = [one.SeriesInstanceUID for one in made.values()]
    assert len({*series, sent.SeriesInstanceUID}) == 4


@pytest.mark.parametrize("role", ["report", "capture", "presentation"])
def test_each_says_that_it_is_no_diagnosis(objects: dict[str, pydicom.Dataset], role: str) -> None:
    assert objects[role].SeriesDescription.endswith(NOT_A_DIAGNOSIS)
    assert objects[role].ContentQualification == "RESEARCH"
    assert objects[role].ContributingEquipmentSequence[0].DeviceUID.startswith("2.25.")


def test_report_is_unverified_and_preliminary(objects: dict[str, pydicom.Dataset]) -> None:
    found = objects["report"]
    assert (found.VerificationFlag, found.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def codes_of(item: pydicom.Dataset, depth: int = 9) -> list[str]:
    """Every concept name and coded value below an item."""
    named = [one.CodeValue for one in item.get("ConceptNameCodeSequence", [])]
    valued = [one.CodeValue for one in item.get("ConceptCodeSequence", [])]
    below = [code for one in item.get("ContentSequence", []) for code in codes_of(one, depth - 1)]
    return named + valued + below


def test_report_has_the_items_that_viewers_and_profiles_ask_for(objects: dict[str, pydicom.Dataset]) -> None:
    document = "126000 121007 363679005 111028 125007 112039 112040 121071 125605004"
    algorithm = "111001 111003 111002 111000 123110 111012 52101004 111030"
    assert {*document.split(), *algorithm.split()} <= set(codes_of(objects["report"]))


def test_box_is_a_closed_line_inside_the_image(objects: dict[str, pydicom.Dataset]) -> None:
    def regions(item: pydicom.Dataset) -> list[pydicom.Dataset]:
        own = [item] if item.get("ValueType") == "SCOORD" else []
        return own + [found for one in item.get("ContentSequence", []) for found in regions(one)]

    height, width = drawn().shape
    for region in regions(objects["report"]):
        points = list(zip(region.GraphicData[::2], region.GraphicData[1::2], strict=True))
        assert region.GraphicType == "POLYLINE"
        assert points[0] == points[-1]
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


def test_view_without_suspicion_is_judged_absent_over_the_whole_image(scorer: Scorer) -> None:
    content = encoded(radiograph())
    found = scorer.score(content).answer
    answer = found.model_copy(update={"suspicion": "none", "label": "Normal", "probability": 0.01})
    view = View(read_source(content), answer)
    made = Edition([view], scorer.model, Results(), datetime.now().astimezone(), 1, [])
    assert "272519000" in codes_of(report.make(made).dataset)
    assert presentation.make(made) == []


def test_of_several_regions_that_nobody_stated_none_is_the_site(scorer: Scorer) -> None:
    content = encoded(radiograph())
    answer = scorer.score(content).answer
    coded = []
    for also in (None, [RegionBeside(name="hand", probability=0.9)]):
        region = Region(name="shoulder", source="image", probability=0.99, also=also)
        view = View(read_source(content), answer.model_copy(update={"region": region}))
        made = Edition([view], scorer.model, Results(), datetime.now().astimezone(), 1, [])
        coded.append("16982005" in codes_of(report.make(made).dataset))
    assert coded == [True, False]


def test_capture_carries_no_window_or_rescale(objects: dict[str, pydicom.Dataset]) -> None:
    for keyword in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "VOILUTSequence"):
        assert keyword not in objects["capture"]
    assert objects["capture"].BurnedInAnnotation == "YES"


def test_capture_never_calls_a_suspicious_image_normal(scorer: Scorer) -> None:
    (view,) = edition(scorer, encoded(radiograph())).views
    answer = view.answer.model_copy(update={"suspicion": "possible", "label": "Normal", "probability": 0.08})
    assert capture.sentence(View(view.source, answer)) == "Suspicion possible; probability of a fracture 8%"


def test_capture_shows_box_and_words(scorer: Scorer) -> None:
    content = encoded(radiograph())
    (view,) = edition(scorer, content).views
    picture = capture.draw(view)
    height, width = drawn().shape
    box = view.boxes[0]
    assert picture.shape[0] > height
    assert tuple(picture[round(box.y0 * height), round(box.x0 * width)]) == (255, 220, 80)
    assert picture[height:].max() > 200


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_presentation_keeps_the_polarity_of_its_image(scorer: Scorer, photometric: str, shape: str) -> None:
    shown = 255 - drawn() if photometric == "MONOCHROME1" else drawn()
    made = made_of(scorer, encoded(radiograph(shown, PhotometricInterpretation=photometric)))
    assert made["presentation"].PresentationLUTShape == shape


def test_source_is_never_altered(scorer: Scorer) -> None:
    content = encoded(radiograph())
    before = bytes(content)
    made_of(scorer, content)
    assert content == before
