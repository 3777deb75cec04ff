"""What moved, and what only seems to."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from pipeline.monitoring.changes import Change, against_before, against_training, corrected
from pipeline.monitoring.drift import evidence
from pipeline.monitoring.window import Window, window_of
from serving.bundle import Bundle
from serving.store.records import AnswerRecord
from tests.pipeline.monitoring.conftest import NOON, Answers


def _window(rows: list[AnswerRecord]) -> Window:
    return window_of(rows, [], NOON, NOON, "normal")


def _moved(changes: list[Change]) -> set[str]:
    return {change.what for change in corrected(changes) if change.moved}


def test_answers_like_those_of_training_have_not_moved(opened: Bundle, answers: Answers) -> None:
    now, before = _window(answers(300, seed=1)), _window(answers(300, seed=2))
    changes = [*against_training("all", now, opened), *against_before("all", now, before)]
    assert len(changes) == 8 + 32 + 8 + 32 + 1
    assert _moved(changes) == set()


def test_a_detector_that_is_twice_as_sharp_is_found_against_training_and_before(
    opened: Bundle, answers: Answers
) -> None:
    now, before = _window(answers(200, seed=1, scale=2.0)), _window(answers(200, seed=2))
    assert _moved(against_training("all", now, opened)) == {"sharpness"}
    assert _moved(against_before("all", now, before)) == {"sharpness"}


def test_features_that_moved_are_found(opened: Bundle, answers: Answers) -> None:
    now = _window(answers(200, seed=1, shift=1.5))
    found = _moved(against_training("all", now, opened))
    assert found
    assert all(name.startswith("features") for name in found)


@pytest.mark.parametrize("named", ["patient", "study"])
def test_many_images_of_a_few_patients_are_no_reason_for_alarm(opened: Bundle, answers: Answers, named: str) -> None:
    earlier = answers(300, seed=2)

    def of(row: AnswerRecord, who: str | None) -> AnswerRecord:
        changed: dict[str, Any] = {named: who}
        return replace(row, **changed)

    few = [of(row, f"{number}") for number, row in enumerate(answers(4, seed=1, scale=1.6))]
    many = [replace(row, answer_id=f"{n}-{row.answer_id}") for row in few for n in range(25)]
    now, before = _window(many), _window(earlier)
    assert _moved(against_training("all", now, opened)) == set()
    assert _moved(against_before("all", now, before)) == set()
    strangers = _window([of(row, None) for row in many])
    assert "sharpness" in _moved(against_training("all", strangers, opened))
    assert "sharpness" in _moved(against_before("all", strangers, before))


def test_a_bundle_from_before_groups_were_counted_has_no_more_evidence_than_images(opened: Bundle) -> None:
    reference = opened.reference
    images = float(len(reference.known))
    older = evidence(replace(reference, trained=np.array(images)))
    assert max(older.values()) == images
    assert evidence(reference)["distance"] == float(reference.trained) + float(reference.scored) <= images


def test_too_few_answers_say_nothing(opened: Bundle, answers: Answers) -> None:
    few = _window(answers(49, scale=9))
    assert against_training("all", few, opened) == []
    assert against_before("all", few, few) == []


def test_answers_of_another_model_are_not_compared_with_this_ones_training(opened: Bundle, answers: Answers) -> None:
    assert against_training("all", _window(answers(200, model_sha256="f" * 64)), opened) == []


def test_features_of_two_networks_are_not_compared(answers: Answers) -> None:
    now, before = _window(answers(200, seed=1, shift=1.5)), _window(answers(200, seed=2, model_sha256="f" * 64))
    assert not any(change.what.startswith("features") for change in against_before("all", now, before))


def test_features_that_moved_since_before_are_found(answers: Answers) -> None:
    now, before = _window(answers(200, seed=1, shift=1.5)), _window(answers(200, seed=2))
    found = _moved(against_before("all", now, before))
    assert found
    assert all(name.startswith("features") for name in found)


def test_a_guard_that_refuses_more_than_before_is_found(answers: Answers) -> None:
    rows = answers(200, seed=1)
    refused = [replace(row, refused="not_a_radiograph", probability=None) for row in answers(40, seed=3)]
    found = against_before("all", _window([*rows, *refused]), _window(answers(200, seed=2)))
    assert _moved(found) == {"refused"}


def test_the_correction_lets_many_comparisons_find_nothing_by_chance() -> None:
    one = Change("all", "x", "before", 0.5, 0.15, 0, 1, 100, p=0.005)
    assert corrected([one])[0].moved
    others = [replace(one, what=f"y{number}", p=0.5) for number in range(99)]
    assert not any(change.moved for change in corrected([one, *others]))


def test_a_certain_change_that_is_small_does_not_matter(opened: Bundle, answers: Answers) -> None:
    now, before = (
        _window(answers(3000, timedelta(days=days), seed=days, scale=scale)) for days, scale in ((1, 1.03), (2, 1.0))
    )
    assert _moved(against_before("all", now, before)) == set()
