"""The served model and the one in its shadow."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.monitoring import shadow
from pipeline.monitoring.shadow import ShadowReport
from pipeline.monitoring.window import Window, window_of
from serving.store.database import Database
from serving.store.records import FeedbackRecord
from tests.pipeline.monitoring.conftest import NOON
from tests.serving.store import rows
from tests.serving.store.rows import answer, opinion

SINCE = NOON - timedelta(days=1)


def _window(count: int = 40, said: tuple[FeedbackRecord, ...] = (), **changes: object) -> Window:
    served = [answer(number, probability=0.9 if number % 2 else 0.1, **changes) for number in range(count)]
    return window_of(served, said, SINCE, NOON, "normal")


def _report(window: Window, *shadows: rows.ShadowRecord) -> ShadowReport:
    (found,) = shadow.build(window, shadows)
    return found


def _opposed(count: int) -> list[rows.ShadowRecord]:
    """Shadows that answer the first `count` of forty images otherwise."""
    return [
        rows.shadow(number, probability=0.9 if (number % 2 == 1) != (number < count) else 0.1) for number in range(40)
    ]


def test_models_that_answer_alike_agree() -> None:
    (group,) = _report(_window(), *_opposed(0)).groups
    assert (group.images, group.agree["value"]) == (40, 1.0)
    assert group.answers["mean probability"].difference == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_images_that_only_one_of_them_met_are_no_part_of_it() -> None:
    (group,) = _report(_window(10), *_opposed(0)).groups
    assert group.images == 10


def test_answers_that_differ_are_counted_by_image() -> None:
    (group,) = _report(_window(), *_opposed(10)).groups
    assert group.agree["value"] == 0.75


def test_refusals_of_one_of_them_are_told_apart() -> None:
    window = _window(4)
    served = [*window.rows[:3], answer(3, refused="blank", probability=None)]
    shadows = [rows.shadow(0), rows.shadow(1, refused="blank", probability=None), rows.shadow(2), rows.shadow(3)]
    (group,) = _report(replace(window, rows=served), *shadows).groups
    assert group.images == 2
    assert group.refused == {"by the served model only": 1, "by the shadow only": 1, "by both": 0}


def test_where_the_truth_is_known_both_are_measured_by_it() -> None:
    said = [opinion(number, saw_answer=number >= 30) for number in range(40)]
    (group,) = _report(_window(said=tuple(said)), *_opposed(10)).groups
    assert group.truth is not None
    pair = group.truth.measures["sensitivity"]
    assert (pair.champion["value"], pair.challenger["value"]) == (1.0, 0.75)
    assert pair.difference["high"] < 0  # type: ignore[operator]
    assert group.blind == 30


def test_few_truths_are_not_measured() -> None:
    (group,) = _report(_window(said=(opinion(1),)), *_opposed(0)).groups
    assert group.truth is None


def test_several_sites_are_shown_apart() -> None:
    window = _window()
    served = [replace(row, site="south" if number < 5 else "north") for number, row in enumerate(window.rows)]
    found = _report(replace(window, rows=served), *_opposed(5)).groups
    assert [(group.group, group.images) for group in found] == [("all", 40), ("site north", 35), ("site south", 5)]
    assert found[2].agree["value"] == 0.0


def test_a_model_in_its_own_shadow_is_no_comparison() -> None:
    assert shadow.build(_window(), [rows.shadow(1, model_sha256="s")]) == []


def test_a_second_challenger_has_a_report_of_its_own() -> None:
    found = shadow.build(_window(), [*_opposed(0), rows.shadow(1, model_sha256="u", model_version="3")])
    assert [report.challenger for report in found] == ["m version 2 (t)", "m version 3 (u)"]


def test_the_text_names_both_models_and_their_difference() -> None:
    said = tuple(opinion(number) for number in range(40))
    text = shadow.markdown([_report(_window(said=said), *_opposed(10))])
    assert "Champion (served): m version 1 (s). Challenger (in its shadow): m version 2 (t)" in text
    assert "| sensitivity | 1.000" in text


def test_it_is_read_from_the_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    database = Database(url)
    database.upgrade()
    database.add_answers(_window().rows)
    database.add_shadows(_opposed(0))
    found = shadow.read(url, SINCE, NOON + timedelta(days=1), "normal")
    assert found[0].groups[0].images == 40
    assert found[0].to_dict()["groups"][0]["images"] == 40


def test_a_store_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no tables yet"):
        shadow.read(f"sqlite:///{tmp_path / 'empty.db'}", SINCE, NOON, "normal")
