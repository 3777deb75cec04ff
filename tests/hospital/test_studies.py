"""From images to versions of a study's result, with the released model and no network."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid
from sqlalchemy import select

from hospital import images, queue, spool, studies
from hospital.config import Config, Results, Study
from hospital.database import Instance, Job, Result, Version
from hospital.delivery.fhir_file import FhirFileSender
from hospital.delivery.settings import FhirFile
from hospital.delivery.worker import Deliverer
from hospital.operation import listed
from hospital.parts import Parts
from tests.hospital.conftest import Scorer, Site
from tests.hospital.objects import LEAST_SUSPICIOUS, MOST_SUSPICIOUS, PATIENT, drawn, radiograph


def versions(site: Site) -> list[Version]:
    with site.parts.database.session() as session:
        return list(session.scalars(select(Version).order_by(Version.id)))


def results(site: Site, version: Version) -> list[pydicom.Dataset]:
    with site.parts.database.session() as session:
        rows = session.scalars(select(Result).where(Result.version_id == version.id)).all()
    return [pydicom.dcmread(site.parts.spool.path(row.path)) for row in rows]


def dead(site: Site) -> list[str]:
    with site.parts.database.session() as session:
        return [job.code for job in queue.listed(session, ["dead"], 9)]


def test_study_is_as_suspicious_as_its_most_suspicious_view(site: Site) -> None:
    first = radiograph(drawn(LEAST_SUSPICIOUS))
    site.take(first)
    site.take(radiograph(StudyInstanceUID=first.StudyInstanceUID))
    site.work()
    assert [(one.number, one.suspicion) for one in versions(site)] == [(1, "high")]


@pytest.mark.parametrize(("rank", "told"), [(MOST_SUSPICIOUS, ["files", "worklist"]), (LEAST_SUSPICIOUS, ["files"])])
def test_server_of_work_items_is_told_of_high_suspicion_alone(
    parts: Parts, scorer: Scorer, rank: int, told: list[str]
) -> None:
    destinations = [
        {"kind": "ups", "name": "worklist", "url": "http://127.0.0.1:9/ups"},
        {"kind": "fhir_file", "name": "files", "path": "-"},
    ]
    given = Config.model_validate({"study": {"stable_seconds": 0}, "destinations": destinations})
    site = Site(parts, scorer, given)
    site.take(radiograph(drawn(rank)))
    site.work()
    with parts.database.session() as session:
        found = session.scalars(select(Job.destination).where(Job.kind == "deliver")).all()
    assert sorted(found) == told


NO_OBJECTS = {"report": False, "capture": False, "presentation": False}


@pytest.mark.parametrize(
    ("made", "told"),
    [(NO_OBJECTS, ["files", "ris"]), ({**NO_OBJECTS, "report": True}, ["files", "pacs", "ris"])],
)
def test_result_without_objects_goes_where_words_are_enough(
    parts: Parts, scorer: Scorer, tmp_path: Path, made: dict[str, bool], told: list[str]
) -> None:
    destinations: list[dict[str, object]] = [
        {"kind": "hl7", "name": "ris", "host": "127.0.0.1", "port": 9},
        {"kind": "fhir_file", "name": "files", "path": str(tmp_path)},
    ]
    if any(made.values()):
        destinations.append({"kind": "dicom", "name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 9})
    given = Config.model_validate({"study": {"stable_seconds": 0}, "results": made, "destinations": destinations})
    site = Site(parts, scorer, given)
    site.take(radiograph())
    site.work()
    with parts.database.session() as session:
        found = session.scalars(select(Job.destination).where(Job.kind == "deliver")).all()
    assert sorted(found) == told
    files = next(one for one in given.destinations if isinstance(one, FhirFile))
    assert Deliverer("files", FhirFileSender(files), 0, parts).step()
    (document,) = tmp_path.glob("*.json")
    kinds = {entry["resource"]["resourceType"] for entry in json.loads(document.read_text())["entry"]}
    assert "DiagnosticReport" in kinds


def test_archive_gets_nothing_of_a_study_without_objects(parts: Parts, scorer: Scorer) -> None:
    destinations = [
        {"kind": "stow", "name": "pacs", "url": "http://127.0.0.1:9/dicom-web"},
        {"kind": "fhir_file", "name": "files", "path": "-"},
    ]
    boxes = {**NO_OBJECTS, "presentation": True}  # which an image without suspicion has not
    given = Config.model_validate({"study": {"stable_seconds": 0}, "results": boxes, "destinations": destinations})
    site = Site(parts, scorer, given)
    site.take(radiograph(drawn(LEAST_SUSPICIOUS)))
    site.work()
    with parts.database.session() as session:
        assert session.scalars(select(Job.destination).where(Job.kind == "deliver")).all() == ["files"]


def test_late_image_makes_a_version_that_names_its_predecessor(site: Site) -> None:
    first = radiograph(drawn(LEAST_SUSPICIOUS))
    site.take(first)
    site.work()
    site.take(radiograph(StudyInstanceUID=first.StudyInstanceUID))
    site.work()
    before, after = versions(site)
    assert (after.number, after.predecessor_id) == (2, before.id)
    named = results(site, after)[0].PredecessorDocumentsSequence[0]
    old = results(site, before)[0]
    assert named.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID


def test_corrected_name_makes_new_objects_with_new_uids(site: Site) -> None:
    sent = radiograph()
    site.take(sent)
    site.work()
    sent.PatientName = "Korrigiert^Name"
    site.take(sent)
    site.work()
    before, after = versions(site)
    old, new = results(site, before), results(site, after)
    assert str(new[0].PatientName) == "Korrigiert^Name"
    assert not {one.SOPInstanceUID for one in old} & {one.SOPInstanceUID for one in new}


def test_same_object_again_changes_nothing_and_is_scored_once(site: Site, scorer: Scorer) -> None:
    sent = radiograph()
    before = scorer.asked
    for _ in range(3):
        site.take(sent)
        site.work()
    assert scorer.asked == before + 1
    assert len(versions(site)) == 1


def test_same_input_gives_the_same_uids_anywhere(site: Site, scorer: Scorer) -> None:
    sent = radiograph()
    site.take(sent)
    site.work()
    first = [one.SOPInstanceUID for one in results(site, versions(site)[0])]
    with site.parts.database.session() as session:
        for table in (Result, Job, Version, Instance):
            session.execute(table.__table__.delete())  # type: ignore[attr-defined]
    site.take(sent)
    site.work()
    assert [one.SOPInstanceUID for one in results(site, versions(site)[0])] == first


def test_out_of_scope_image_gets_a_row_that_says_why_and_no_objects(site: Site) -> None:
    site.take(radiograph(BodyPartExamined="CHEST"))
    site.work()
    (version,) = versions(site)
    assert version.suspicion == ""
    assert version.summary["views"][0]["code"] == "out_of_scope"
    assert results(site, version) == []


def test_answer_beyond_the_scope_says_so_in_its_report_and_in_the_worklist(parts: Parts) -> None:
    given = Config(study=Study(stable_seconds=0), results=Results(capture=False, presentation=False))
    site = Site(parts, Scorer(warn_of_scope=True), given)
    site.take(radiograph(BodyPartExamined="CHEST"))
    site.work()
    (version,) = versions(site)
    (report,) = results(site, version)
    told = "Its answer is for research only."
    assert version.summary["statement"].count(told) == 1
    assert told in report.to_json()


def test_undecodable_image_does_not_hold_up_its_study(site: Site) -> None:
    first = radiograph()
    site.take(first)
    site.take(radiograph(StudyInstanceUID=first.StudyInstanceUID, PixelData=b"\0\0"))
    site.work()
    (version,) = versions(site)
    assert version.suspicion == "high"
    assert sorted(view["state"] for view in version.summary["views"]) == ["refused", "scored"]


def test_image_dropped_by_hand_does_not_hold_up_its_study(site: Site) -> None:
    first = radiograph()
    site.take(radiograph(StudyInstanceUID=first.StudyInstanceUID))
    with site.parts.database.session() as session:
        queue.drop_by_hand(session, session.scalars(select(Job)).one())
    site.take(first)
    site.work()
    (version,) = versions(site)
    assert sorted(view["state"] for view in version.summary["views"]) == ["dead", "scored"]


def test_known_uid_in_another_series_is_put_aside(site: Site) -> None:
    first = radiograph()
    site.take(first)
    site.work()
    first.SeriesInstanceUID = generate_uid()
    site.take(first)
    site.work()
    assert dead(site) == ["uid_conflict"]
    assert len(versions(site)) == 1


def test_missing_patient_id_is_put_aside(site: Site) -> None:
    site.take(radiograph(PatientID=""))
    site.work()
    assert dead(site) == ["no_patient_id"]


def test_conflicting_patient_ids_are_put_aside_until_corrected(site: Site) -> None:
    first = radiograph()
    other = radiograph(StudyInstanceUID=first.StudyInstanceUID, PatientID="4712")
    site.take(first)
    site.take(other)
    site.work()
    assert dead(site) == ["patient_conflict"]
    other.PatientID = "4711"
    site.take(other)
    site.work()
    assert dead(site) == []
    assert len(versions(site)) == 1


def test_study_whose_only_image_cannot_be_read_has_an_entry_that_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: bytes) -> pydicom.Dataset:
        raise struct.error("unpack requires more bytes")

    monkeypatch.setattr(images, "read_header", broken)
    monkeypatch.setattr(studies, "read_header", broken)
    site.take(radiograph())
    site.work()
    (version,) = versions(site)
    assert [view["code"] for view in version.summary["views"]] == ["undecodable"]


def test_object_that_no_radiograph_is_as_large_as_has_no_answer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_READ", 1000)
    monkeypatch.setattr(spool, "MOST_READ", 10_000)
    site.take(radiograph())
    site.work()
    (version,) = versions(site)
    assert [view["code"] for view in version.summary["views"]] == ["object_size"]


def test_results_come_back_unanalysed(site: Site) -> None:
    site.take(radiograph())
    site.work()
    for own in results(site, versions(site)[0]):
        assert site.take(own) == "own"


def test_study_waits_until_it_is_quiet(site: Site, scorer: Scorer) -> None:
    patient = Site(site.parts, scorer, Config(study=Study(stable_seconds=60)))
    patient.take(radiograph())
    patient.work()
    assert versions(site) == []


@pytest.mark.parametrize("name", [PATIENT, "王^小东=王^小东", "Иванов^Пётр"])
def test_names_survive_in_every_object(site: Site, name: str) -> None:
    site.take(radiograph(PatientName=name))
    site.work()
    assert {str(one.PatientName) for one in results(site, versions(site)[0])} == {name}


def test_name_in_another_character_set_survives(site: Site) -> None:
    sent = radiograph(SpecificCharacterSet="ISO_IR 144")
    sent.PatientName = "Иванов^Пётр"
    site.take(sent)
    site.work()
    assert {str(one.PatientName) for one in results(site, versions(site)[0])} == {"Иванов^Пётр"}


@pytest.mark.parametrize("zone", ["+0100", "-0330", "+0545"])
def test_times_are_in_the_zone_of_the_study(site: Site, zone: str) -> None:
    site.take(radiograph(TimezoneOffsetFromUTC=zone))
    site.work()
    (version,) = versions(site)
    for one in results(site, version):
        assert one.TimezoneOffsetFromUTC == zone
        stated = pydicom.valuerep.DT(f"{one.InstanceCreationDate}{one.InstanceCreationTime}{zone}")
        assert stated.timestamp() == pytest.approx(version.made_at, abs=1)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this machine stand in Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("date", "offset"), [("20250715", "+0200"), ("20260115", "+0100")])
@pytest.mark.usefixtures("berlin")
def test_study_that_names_no_zone_keeps_the_time_it_was_taken_in(date: str, offset: str) -> None:
    header = pydicom.Dataset()
    header.StudyDate, header.StudyTime = date, "120000"
    moment = studies._moment([header])
    assert f"{moment:%z}" == offset
    assert moment.timestamp() == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize("date", ["", "20261399", "00010101"])
def test_study_without_a_date_gets_the_time_of_this_machine(date: str) -> None:
    header = pydicom.Dataset()
    header.add_new("StudyDate", "LO", date)
    header.StudyTime = "120000"
    assert studies._moment([header]).timestamp() == pytest.approx(time.time(), abs=5)


def test_inverse_of_an_image_has_the_same_score(site: Site) -> None:
    shown = drawn()
    site.take(radiograph(shown))
    site.take(radiograph(255 - shown, PhotometricInterpretation="MONOCHROME1"))
    site.work()
    first, second = (one.summary["views"][0]["probability"] for one in versions(site))
    assert first == pytest.approx(second, abs=0.02)


def test_worklist_of_the_operation_hides_none_and_puts_no_answer_before_no_suspicion(site: Site) -> None:
    site.take(radiograph(BodyPartExamined="CHEST"))
    site.take(radiograph(drawn(LEAST_SUSPICIOUS)))
    site.take(radiograph())
    site.work()
    with site.parts.database.session() as session:
        found = [entry["suspicion"] for entry in listed(session)]
    assert found == ["high", None, "none"]
