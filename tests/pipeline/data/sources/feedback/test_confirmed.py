"""Which answered images have a truth."""

from typing import Any

import pytest

from pipeline.data.sources.feedback.confirmed import Confirmed, confirm
from pipeline.errors import InputError
from serving.store.records import AnswerRecord
from tests.serving.store.rows import answer, opinion

CLASSES = ("normal", "fractured")
HIGH, LOW = answer(1, probability=0.9, image_sha256="h"), answer(2, probability=0.1, image_sha256="l")
BOX = [0.1, 0.2, 0.3, 0.4]


def _confirm(*said: Any, rows: tuple[AnswerRecord, ...] = (HIGH, LOW), classes: Any = CLASSES) -> Confirmed:
    return confirm(rows, said, classes)


@pytest.mark.parametrize(
    ("number", "changes", "label"),
    [
        (1, {"opinion": "agree"}, "fractured"),
        (1, {"opinion": "disagree"}, "normal"),
        (2, {"opinion": "agree"}, "normal"),
        (2, {"opinion": "disagree"}, "fractured"),
        (1, {"opinion": "unsure", "label": "normal"}, "normal"),
    ],
)
def test_the_final_label_is_the_truth_else_what_agreeing_means(number: int, changes: Any, label: str) -> None:
    (found,) = _confirm(opinion(number, **changes), rows=(HIGH,) if number == 1 else (LOW,)).images
    assert (found.label, found.provenance) == (label, "reader")


def test_disagreeing_with_normal_names_no_kind_of_fracture() -> None:
    found = _confirm(opinion(2, opinion="disagree"), rows=(LOW,), classes=("normal", "spiral", "oblique"))
    assert (found.images, found.undecided) == ((), 1)


def test_readers_who_contradict_each_other_are_listed_with_their_votes() -> None:
    found = _confirm(opinion(1), opinion(1, reader="other", opinion="disagree"), rows=(HIGH,))
    assert found.images == ()
    assert found.conflicts[0].votes == (("ward", "fractured"), ("other", "normal"))


def test_a_report_counts_before_readers() -> None:
    report = opinion(1, reader="ris", source="report", opinion="agree", label="normal")
    (found,) = _confirm(opinion(1), report, rows=(HIGH,)).images
    assert (found.label, found.provenance) == ("normal", "report")


def test_an_image_that_was_sent_twice_is_one_under_its_first_answers_id() -> None:
    twice = answer(7, probability=0.8, image_sha256="h")
    (found,) = _confirm(opinion(7), opinion(1, reader="other"), rows=(HIGH, twice)).images
    assert (found.first.answer_id, len(found.answers), found.provenance) == (HIGH.answer_id, 2, "readers")


def test_boxes_of_a_fracture_are_the_last_ones_drawn_and_a_normal_image_has_none() -> None:
    (fractured,) = _confirm(opinion(1), opinion(1, reader="other", boxes=[BOX]), rows=(HIGH,)).images
    (normal,) = _confirm(opinion(1, label="normal", boxes=[BOX]), rows=(HIGH,)).images
    assert (fractured.boxes, normal.boxes) == ((tuple(BOX),), ())


def test_a_label_that_is_no_class_of_the_data_is_one_line() -> None:
    with pytest.raises(InputError, match=r"was labelled 'spiral', which is none of the classes of data/ \(normal, fr"):
        _confirm(opinion(1, label="spiral"), rows=(HIGH,))


@pytest.mark.parametrize(
    ("changes", "unit"),
    [
        ({"patient": "p", "study": "s"}, ("north", "p")),
        ({"study": "s"}, ("north", "s")),
        ({"site": "south"}, ("south", "h")),
    ],
)
def test_a_patients_images_belong_together_else_a_studys(changes: Any, unit: tuple[str, str]) -> None:
    (found,) = _confirm(opinion(1), rows=(answer(1, image_sha256="h", probability=0.9, **changes),)).images
    assert found.unit == unit
