"""What the pages show, and that nothing of an image becomes part of the page."""

import pytest

from hospital.parts import Parts
from hospital.worklist import entries, page
from hospital.worklist.settings import Worklist
from tests.hospital.worklist.rows import START, add_images, add_job, add_study

HOSTILE = '"><script>alert(1)</script>'


def drawn(parts: Parts, **settings: object) -> str:
    shown = entries.page(parts, 1, 100)
    return page.worklist(shown, Worklist.model_validate(settings), "reader", "token", START + 3600)


def test_study_is_shown_with_answer_patient_and_age(parts: Parts) -> None:
    add_study(parts, "1.1", "high")
    text = drawn(parts)
    for told in ("Doe, Jane", "4711", "1970-01-01", "50 %", "Wrist", "1 h 00 min", "High suspicion"):
        assert told in text


@pytest.mark.parametrize(
    "field", ["name", "id", "birth_date", "sex", "accession_number", "study_date", "study_description"]
)
def test_script_in_a_header_is_only_text(parts: Parts, field: str) -> None:
    add_study(parts, "1.1", "high", START, **{field: HOSTILE})
    text = drawn(parts, viewer="https://v.example/{accession_number}?{patient_id}")
    assert "<script>alert" not in text
    assert "alert(1)" in text


def test_script_in_a_study_uid_and_in_a_reason_is_only_text(parts: Parts) -> None:
    add_images(parts, HOSTILE, "scored", PatientID="A")
    add_images(parts, HOSTILE, "scored", PatientID="B")
    add_job(parts, "assemble", HOSTILE, 1, "dead", code="x", reason=HOSTILE)
    assert "<script>alert" not in drawn(parts)


def test_script_in_a_user_name_of_the_form_is_only_text() -> None:
    assert "<script>alert" not in page.login("token", "Wrong.", HOSTILE)


def test_page_needs_no_script_and_no_style_of_its_own(parts: Parts) -> None:
    add_study(parts, "1.1", "high")
    text = drawn(parts) + page.login("token")
    assert "style=" not in text
    assert text.count("<script") == 1
    assert "onclick" not in text


def test_study_without_an_answer_says_why(parts: Parts) -> None:
    add_study(parts, "1.1", "")
    assert "Shows a chest" in drawn(parts)


def test_patient_is_not_certain_where_images_are_at_odds(parts: Parts) -> None:
    add_images(parts, "1.1", "scored", PatientID="A")
    add_images(parts, "1.1", "scored", PatientID="B")
    assert "Patient not certain" in drawn(parts)


def test_failed_delivery_is_told(parts: Parts) -> None:
    version = add_study(parts, "1.1", "high")
    add_job(parts, "deliver", "1:a", version, "done", destination="a")
    add_job(parts, "deliver", "1:b", version, "dead", destination="b")
    assert "delivery failed" in drawn(parts)


def test_empty_list_says_so(parts: Parts) -> None:
    assert "No study is here." in drawn(parts)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Doe^Jane", "Doe, Jane"), ("Doe", "Doe"), ("^Jane", "Jane"), ("", ""), ("^^^^", ""),
        ("Yamada^Tarou=山田^太郎", "Yamada, Tarou"), ("=山田^太郎", "山田, 太郎"), ("Doe^Jane^Q^Dr", "Doe, Jane Q Dr"),
    ],
)  # fmt: skip
def test_name_is_shown_as_people_write_it(name: str, shown: str) -> None:
    assert page._person(name) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-5, "0 min ago"), (3540, "59 min ago"), (3660, "1 h 01 min ago"), (200_000, "2 days ago")]
)
def test_age_is_told_as_people_say_it(seconds: float, shown: str) -> None:
    assert page._ago(seconds) == shown
