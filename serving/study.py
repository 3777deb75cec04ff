"""One answer for the views of a study. A fracture may show in one view alone: the most suspicious one decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.decision import Suspicion
from serving.wording import no_fracture


class View(Protocol):
    """What a study's answer needs of the answer for one view (`predictor.Prediction` has it)."""

    @property
    def label(self) -> str: ...
    @property
    def probability(self) -> float: ...
    @property
    def threshold(self) -> float: ...
    @property
    def suspicion(self) -> Suspicion: ...
    @property
    def statement(self) -> str: ...
    @property
    def truncated(self) -> bool: ...


@dataclass(frozen=True)
class Study:
    """The answer of the most suspicious view; only `statement` speaks of the others too."""

    label: str
    probability: float
    threshold: float
    suspicion: Suspicion
    statement: str
    index: int
    """Number of that view among those that were sent, from 0."""
    images: int
    """Views with an answer."""
    unanswered: int
    """Views without one."""


def assess(answered: Sequence[tuple[int, View]], unanswered: int) -> Study | None:
    """The answer for a study: views with their number among those sent, and how many more could not be read.

    None when no view could be read: then nothing is known.
    """
    if not answered:
        return None
    index, worst = max(answered, key=lambda pair: pair[1].probability)
    incomplete = any(view.truncated for _, view in answered)
    clear = worst.suspicion == "none"
    # What is said of one image also holds for one view alone, and for views that are all complete.
    partial = bool(unanswered) or (incomplete and len(answered) > 1)
    said = no_fracture(len(answered), unanswered, incomplete=incomplete) if clear and partial else worst.statement
    return Study(
        worst.label, worst.probability, worst.threshold, worst.suspicion, said, index, len(answered), unanswered
    )
