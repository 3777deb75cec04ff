"""In which order studies are listed, that none is left out, and what is told of those without an answer."""

from pathlib import Path

import pytest

from hospital.adt.corrections import keep
from hospital.adt.messages import Told
from hospital.database import Instance
from hospital.parts import Parts
from hospital.worklist import entries
from hospital.worklist.entries import Entry, Page
from tests.hospital.conftest import Site
from tests.hospital.objects import radiograph
from tests.hospital.worklist.rows import START, add_images, add_job, add_study, add_version


def page(parts: Parts, number: int = 1, size: int = 100) -> Page:
    return entries.page(parts, number, size)


def one(parts: Parts) -> Entry:
    (found,) = page(parts).entries
    return found


def test_most_suspicious_comes_first_and_unanswered_before_unsuspicious(parts: Parts) -> None:
    for number, suspicion in enumerate(("none", "", "possible", "high"), start=1):
        add_study(parts, f"1.{number}", suspicion)
    assert [entry.suspicion for entry in page(parts).entries] == ["high", "possible", "", "none"]


def test_study_whose_images_wait_is_shown_under_its_corrected_name(parts: Parts) -> None:
    add_images(parts, "1.1", "received")
    keep(parts, [Told("5000", "Korrigiert^Name", prior_id="4711")])
    found = one(parts)
    assert (found.patient["id"], found.patient["name"]) == ("5000", "Korrigiert^Name")


def test_among_equals_the_longest_waiting_comes_first(parts: Parts) -> None:
    for study, at in (("1.1", START + 60), ("1.2", START), ("1.3", START + 30)):
        add_study(parts, study, "high", at)
    assert [entry.study_uid for entry in page(parts).entries] == ["1.2", "1.3", "1.1"]


def test_study_whose_images_wait_is_listed_with_its_patient(parts: Parts) -> None:
    add_images(parts, "1.1", "received", StudyDescription="Wrist")
    found = one(parts)
    assert (found.state, found.reasons[0].code) == ("pending", "pending")
    assert (found.patient["id"], found.patient["study_description"]) == ("4711", "Wrist")


def test_study_out_of_scope_is_listed_with_the_reason(parts: Parts) -> None:
    add_study(parts, "1.1", "")
    found = one(parts)
    assert (found.state, found.reasons[0].code, found.reasons[0].text) == ("no_answer", "out_of_scope", "shows a chest")


def test_image_that_failed_is_listed_with_the_reason(parts: Parts) -> None:
    add_images(parts, "1.1", "dead")
    assert (one(parts).state, one(parts).reasons[0].text) == ("failed", "is broken")


def test_image_whose_study_could_not_be_read_has_a_row_of_its_own(parts: Parts) -> None:
    add_images(parts, "", "dead", "dead")
    assert [(entry.study_uid, entry.state) for entry in page(parts).entries] == 2 * [("", "failed")]


def test_study_put_aside_says_why_and_names_no_patient_where_images_are_at_odds(parts: Parts) -> None:
    add_images(parts, "1.1", "scored", PatientID="A")
    add_images(parts, "1.1", "scored", PatientID="B")
    add_job(parts, "assemble", "1.1", 1, "dead", code="patient_conflict", reason="different Patient IDs")
    found = one(parts)
    assert (found.state, found.patient, found.reasons[0].code) == ("failed", {}, "patient_conflict")


def test_late_image_is_told_beside_the_earlier_answer(parts: Parts) -> None:
    add_study(parts, "1.1", "high")
    add_images(parts, "1.1", "received")
    found = one(parts)
    assert (found.suspicion, found.images, found.answered, found.reasons[0].code) == ("high", 2, 1, "pending")


def test_newest_version_counts(parts: Parts) -> None:
    add_study(parts, "1.1", "none")
    add_version(parts, "1.1", "high")
    assert (one(parts).version, one(parts).suspicion) == (2, "high")


def test_pages_together_hold_every_study_once(parts: Parts) -> None:
    for number in range(5):
        add_study(parts, f"1.{number}", ("high", "", "none")[number % 3])
    pages = [page(parts, number, 2) for number in (1, 2, 3)]
    assert [one.pages for one in pages] == [3, 3, 3]
    assert sorted(entry.study_uid for one in pages for entry in one.entries) == [f"1.{number}" for number in range(5)]


@pytest.mark.parametrize("number", [-3, 0, 99])
def test_page_that_there_is_none_of_is_the_nearest_one(parts: Parts, number: int) -> None:
    add_study(parts, "1.1", "high")
    assert len(page(parts, number).entries) == 1


def test_counts_are_of_all_pages(parts: Parts) -> None:
    for number in range(3):
        add_study(parts, f"1.{number}", "high")
    assert page(parts, 1, 2).counts == {"high": 3, "possible": 0, "": 0, "none": 0}


def test_purged_study_is_gone(parts: Parts) -> None:
    add_study(parts, "1.1", "high")
    with parts.database.session() as session:
        session.get_one(Instance, 1).path = ""
    assert page(parts).total == 0


def test_broken_file_hides_no_study(parts: Parts) -> None:
    add_images(parts, "1.1", "received")
    with parts.database.session() as session:
        parts.spool.path(session.get_one(Instance, 1).path).write_bytes(b"\0" * 200)
    assert (one(parts).study_uid, one(parts).patient) == ("1.1", {})


def test_study_from_the_modality_to_the_list(site: Site, tmp_path: Path) -> None:
    sent = radiograph(StudyDescription="Lower leg")
    site.take(sent)
    assert one(site.parts).state == "pending"
    site.work()
    found = one(site.parts)
    assert (found.state, found.study_uid) == ("answered", sent.StudyInstanceUID)
    assert found.patient["study_description"] == "Lower leg"
