"""Corrected and merged patients in the results of their studies."""

import pydicom
import pytest
from sqlalchemy import select

from hospital import queue, retention
from hospital.adt.corrections import corrections_for, keep
from hospital.adt.messages import Told
from hospital.config import Config, Results, Study
from hospital.database import Correction, Result, Version
from hospital.parts import Parts
from tests.hospital.conftest import Scorer, Site
from tests.hospital.objects import radiograph
from tests.hospital.worklist.rows import add_study

CORRECTED = Told("4711", "Korrigiert^Name", "19700203", "F")


@pytest.fixture
def site(parts: Parts, scorer: Scorer) -> Site:
    """Make a gateway that makes reports alone, which is all that is looked at here."""
    results = Results(capture=False, presentation=False)
    return Site(parts, scorer, Config(study=Study(stable_seconds=0), results=results))


def versions(site: Site) -> list[Version]:
    with site.parts.database.session() as session:
        return list(session.scalars(select(Version).order_by(Version.id)))


def reports(site: Site) -> list[pydicom.Dataset]:
    with site.parts.database.session() as session:
        rows = session.scalars(select(Result).where(Result.role == "report").order_by(Result.id)).all()
    return [pydicom.dcmread(site.parts.spool.path(row.path)) for row in rows]


def corrected(site: Site, *told: Told) -> list[str]:
    """Studies that what was told concerned, once their results were made anew."""
    found = keep(site.parts, told)
    site.work()
    return found


def test_correction_makes_a_version_that_names_its_predecessor(site: Site) -> None:
    sent = radiograph()
    site.take(sent)
    site.work()
    assert corrected(site, CORRECTED) == [sent.StudyInstanceUID]
    before, after = reports(site)
    assert (str(after.PatientName), after.PatientBirthDate, after.PatientSex) == ("Korrigiert^Name", "19700203", "F")
    named = after.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == before.SOPInstanceUID != after.SOPInstanceUID
    assert versions(site)[1].patient["name"] == "Korrigiert^Name"


def test_message_that_comes_again_makes_no_version(site: Site) -> None:
    site.take(radiograph())
    site.work()
    for _ in range(2):
        corrected(site, CORRECTED)
    assert len(versions(site)) == 2


def test_image_that_comes_after_the_message_is_corrected_as_well(site: Site) -> None:
    corrected(site, CORRECTED)
    site.take(radiograph())
    site.work()
    assert [str(one.PatientName) for one in reports(site)] == ["Korrigiert^Name"]


def test_merge_makes_a_version_for_the_patient_that_is_left(site: Site) -> None:
    site.take(radiograph())
    site.work()
    corrected(site, Told("5000", "Bleibt^Name", prior_id="4711"))
    after = reports(site)[-1]
    assert (after.PatientID, str(after.PatientName)) == ("5000", "Bleibt^Name")


CHAINS: dict[str, tuple[list[Told], str, str]] = {
    "merged twice": ([Told("5", prior_id="4711"), Told("6", "Neu", prior_id="5")], "6", "Neu"),
    "corrected after the merge": ([Told("5", prior_id="4711"), Told("5", "Neu")], "5", "Neu"),
    "in a circle, the last one counts": ([Told("5", prior_id="4711"), Told("4711", prior_id="5")], "4711", "Alt"),
    "spoken of late, still merged": ([Told("5", "Neu", prior_id="4711"), Told("4711", "Spät")], "5", "Neu"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_patient_after_several_messages(parts: Parts, name: str) -> None:
    told, patient_id, patient_name = CHAINS[name]
    for one in told:
        keep(parts, [one])
    header = pydicom.Dataset()
    header.PatientID, header.PatientName = "4711", "Alt"
    corrections_for(parts, [header]).correct(header)
    assert (header.PatientID, header.PatientName) == (patient_id, patient_name)


@pytest.mark.parametrize("patient", ["4711", "5"])
def test_message_concerns_studies_of_all_who_were_merged(parts: Parts, patient: str) -> None:
    add_study(parts, "1.2.3", "none", id="4711")
    keep(parts, [Told("5", prior_id="4711")])
    add_study(parts, "1.2.4", "none", id="5")
    assert keep(parts, [Told("5", "Neu")]) == ["1.2.3", "1.2.4"]
    assert keep(parts, [Told("6", prior_id=patient)]) == (["1.2.3"] if patient == "4711" else ["1.2.3", "1.2.4"])


def test_study_that_named_two_patients_goes_on_once_they_are_one(site: Site) -> None:
    first = radiograph()
    site.take(first)
    site.take(radiograph(StudyInstanceUID=first.StudyInstanceUID, PatientID="4712"))
    site.work()
    corrected(site, Told("4711", prior_id="4712"))
    with site.parts.database.session() as session:
        assert queue.listed(session, ["dead"], 9) == []
    assert [one.PatientID for one in reports(site)] == ["4711"]


def test_study_without_an_answer_is_shown_under_the_corrected_name(site: Site) -> None:
    site.take(radiograph(BodyPartExamined="CHEST"))
    site.work()
    corrected(site, CORRECTED)
    assert [one.patient["name"] for one in versions(site)] == ["Korrigiert^Name"]


def test_patient_of_no_study_concerns_none(site: Site) -> None:
    site.take(radiograph())
    site.work()
    assert corrected(site, Told("1", "Anderer^Name")) == []
    assert len(versions(site)) == 1


@pytest.mark.parametrize(("hours", "left"), [(1, {"4711", "5000", "99"}), (0, {"4711", "5000"})])
def test_what_was_told_of_patients_without_a_study_is_forgotten(parts: Parts, hours: float, left: set[str]) -> None:
    add_study(parts, "1.2.3", "none", id="5000")
    keep(parts, [Told("5000", "Name^Neu", prior_id="4711"), Told("99", "Fremd^Name")])
    retention.purge(parts, hours)
    with parts.database.session() as session:
        assert set(session.scalars(select(Correction.patient_id))) == left
