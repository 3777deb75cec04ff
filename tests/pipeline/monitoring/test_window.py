"""Answers of a span of time and the truth that came back."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.monitoring.window import Truth, read_windows, window_of
from serving.store.database import Database
from tests.pipeline.monitoring.conftest import NOON, Answers
from tests.serving.store.rows import answer, opinion

HIGH, LOW = answer(1, probability=0.9), answer(2, probability=0.1)


def _truth(*said: object, row: object = HIGH) -> object:
    found = window_of([row], said, NOON, NOON, "normal")  # type: ignore[list-item,arg-type]
    return found.truths.get(row.answer_id) or (found.conflicts and "conflict") or None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("row", "changes", "fractured"),
    [
        (HIGH, {"opinion": "agree"}, True),
        (HIGH, {"opinion": "disagree"}, False),
        (LOW, {"opinion": "agree"}, False),
        (LOW, {"opinion": "disagree"}, True),
        (HIGH, {"opinion": "unsure", "label": "normal"}, False),
        (LOW, {"opinion": "agree", "label": "spiral"}, True),
    ],
)
def test_the_final_label_is_the_truth_else_what_agreeing_means(row, changes, fractured) -> None:  # type: ignore[no-untyped-def]
    number = int(row.answer_id, 16)
    assert _truth(opinion(number, **changes), row=row) == Truth(fractured, from_report=False)


def test_a_reader_who_is_unsure_says_nothing() -> None:
    assert _truth(opinion(1, opinion="unsure")) is None


def test_readers_who_contradict_each_other_are_a_conflict() -> None:
    assert _truth(opinion(1), opinion(1, reader="other", opinion="disagree")) == "conflict"


def test_a_report_counts_before_readers() -> None:
    said = opinion(1, opinion="disagree"), opinion(1, reader="ris", source="report", label="fractured")
    assert _truth(*said) == Truth(True, from_report=True)


def test_the_time_before_is_as_long_as_the_time_asked_for(tmp_path: Path, answers: Answers) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    database = Database(url)
    database.upgrade()
    for days in (1, 9, 11, 19, 21):
        database.add_answers(answers(1, timedelta(days=days), seed=days))
    now, before = read_windows(url, NOON, timedelta(days=10), ("normal", "fractured"))
    assert ([len(part.rows) for part in (now, before)], now.since) == ([2, 2], NOON - timedelta(days=10))


def test_groups_part_the_answers(answers: Answers) -> None:
    rows = [*answers(3), *answers(2, seed=1, site="south", region=None)]
    found = window_of(rows, [], NOON, NOON, "normal")
    assert (found.values("site"), found.values("region")) == (["north", "south"], ["(unknown)", "hand"])
    assert len(found.where("site", "south").answered) == 2


def test_features_of_another_form_are_left_out(answers: Answers) -> None:
    rows = answers(3)
    rows[0] = replace(rows[0], features=b"old")
    assert window_of(rows, [], NOON, NOON, "normal").features().shape == (2, 32)


def test_a_store_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no tables yet"):
        read_windows(f"sqlite:///{tmp_path / 'empty.db'}", NOON, timedelta(days=1), ("normal", "fractured"))
