"""The gates on what champion and challenger show beside each other."""

from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.comparison import Answers, Comparison, compare
from pipeline.monitoring.shadow import Shadowed, ShadowReport
from pipeline.params import PromoteParams
from pipeline.registry.evidence import Evidence, faults, line, markdown


def _compared(flipped: int = 0, count: int = 200) -> Comparison:
    y = np.arange(count) % 2
    first = np.where(y == 1, 0.9, 0.1)
    second = np.where(np.arange(count) < flipped, 1 - first, first)
    return compare(y, Answers(first, first >= 0.5), Answers(second, second >= 0.5), np.arange(count), 100)


def _shadow(images: int, agree: float) -> ShadowReport:
    share: dict[str, float | None] = {"value": agree, "low": agree - 0.05, "high": agree + 0.05}
    group = Shadowed("all", images, share, {}, {}, None, 0)
    return ShadowReport("2026-11-01", "2026-11-27", "m version 1 (s)", "m version 2 (t)", 0.01, [group])


def _evidence(**parts: Any) -> Evidence:
    given = {"test": _compared(), "held_back": {"north": _compared()}, "shadow": _shadow(500, 0.97), **parts}
    return Evidence("m version 1", "m version 2", **given)


OPTIONS = PromoteParams()


def test_a_challenger_that_is_as_good_passes() -> None:
    assert faults(_evidence(), OPTIONS) == []


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"test": _compared(40)}, "AUROC on the test set may be"),
        ({"held_back": {"north": _compared(), "south": _compared(80)}}, "on the held-back images of south"),
        ({"shadow": _shadow(500, 0.6)}, "in the shadow 0.600"),
    ],
)
def test_one_that_loses_anywhere_fails_there(parts: Any, said: str) -> None:
    (found,) = faults(_evidence(**parts), OPTIONS)
    assert said in found
    assert "promote." in found


def test_what_rests_on_few_images_is_shown_and_not_judged() -> None:
    few = _evidence(held_back={"south": _compared(10, 20)}, shadow=_shadow(50, 0.1))
    assert faults(few, OPTIONS) == []
    assert "### south" in markdown(few, [])


def test_what_could_not_be_compared_counts_only_where_it_is_required() -> None:
    evidence = _evidence(test="no test set")
    assert faults(evidence, OPTIONS) == []
    assert faults(evidence, PromoteParams(required=["test"])) == [
        "test is required (promote.required) and was not compared: no test set"
    ]
    assert "Not compared: no test set." in markdown(evidence, [])


def test_the_version_keeps_the_outcome_in_a_line() -> None:
    assert line(_evidence(), []) == "against m version 1 on the test set: AUROC +0.000 (+0.000 to +0.000); passed"
    assert line(_evidence(test="none"), ["worse"]).endswith("the test set: none; failed: worse")
