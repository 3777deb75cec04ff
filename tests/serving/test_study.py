"""What is said of a study of several views."""

from dataclasses import dataclass

import pytest

from serving import study
from serving.decision import Suspicion
from serving.wording import NONE_IN_PART, STATEMENTS


@dataclass(frozen=True)
class View:
    """An answer for one view."""

    probability: float
    suspicion: Suspicion = "none"
    label: str = "Normal"
    threshold: float = 0.5
    truncated: bool = False

    @property
    def statement(self) -> str:
        """As `predictor.Prediction` words it."""
        said = STATEMENTS[self.label, self.suspicion]
        return NONE_IN_PART if self.suspicion == "none" and self.truncated else said


def _said(*views: View, unanswered: int = 0) -> str:
    found = study.assess(list(enumerate(views)), unanswered)
    assert found
    return found.statement


CLEAR, CUT = View(0.1), View(0.1, truncated=True)


def test_the_most_suspicious_view_decides() -> None:
    found = study.assess([(1, View(0.2)), (3, View(0.9, "high", "Fracture detected")), (4, View(0.1))], 2)
    assert found == study.Study("Fracture detected", 0.9, 0.5, "high", "A fracture is likely.", 3, 3, 2)


def test_without_a_readable_view_there_is_no_answer() -> None:
    assert study.assess([], 3) is None


def test_readable_views_are_told_as_one_image_is() -> None:
    assert _said(CLEAR, CLEAR) == "No sign of a fracture was found."


def test_one_incomplete_view_is_told_as_one_image_is() -> None:
    assert _said(CUT) == NONE_IN_PART


@pytest.mark.parametrize(
    ("views", "unanswered", "said"),
    [
        ((CLEAR,), 2, "1 readable view: no fracture found. 2 views could not be read."),
        ((CLEAR, CLEAR), 1, "2 readable views: no fracture found. 1 view could not be read."),
        ((CUT,), 1, "1 readable view, incomplete: no fracture found. 1 view could not be read."),
        ((CLEAR, CUT), 0, "2 readable views, at least one incomplete: no fracture found."),
        (
            (CUT, CLEAR),
            1,
            "2 readable views, at least one incomplete: no fracture found. 1 view could not be read.",
        ),
    ],
)
def test_a_study_without_a_fracture_says_what_was_not_seen(views: tuple[View, ...], unanswered: int, said: str) -> None:
    assert _said(*views, unanswered=unanswered) == said


@pytest.mark.parametrize("view", [View(0.4, "possible"), View(0.9, "high", "Fracture detected")])
def test_a_suspicion_is_told_whatever_could_not_be_read(view: View) -> None:
    assert _said(view, CUT, unanswered=5) == view.statement
