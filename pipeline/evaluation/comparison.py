"""Two models on the same images: each one's measures, and their difference with an interval."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation import metrics
from pipeline.evaluation.metrics import Array, Labels

Measured = dict[str, float | None]
Weighted = Callable[[Array], Array]
"""Weights (resamples, n) to a value each."""
RESAMPLES = 1000
_SEED = 0


@dataclass(frozen=True)
class Answers:
    """What one model says of n images: probabilities of a fracture (n,), and whether it answers one (n,)."""

    probabilities: Array
    positive: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """One measure of the champion, of the challenger, and challenger minus champion, each with its 95 % interval."""

    champion: Measured
    challenger: Measured
    difference: Measured


@dataclass(frozen=True)
class Comparison:
    """Both models on `images` images of `groups` patients, or of as many families where no patient is known."""

    images: int
    fractured: int
    groups: int
    measures: dict[str, Pair]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare(
    y: Labels, champion: Answers, challenger: Answers, groups: npt.NDArray[Any], resamples: int = RESAMPLES
) -> Comparison:
    """Paired bootstrap over whole groups: each resample holds the same images for both models.

    The pairing takes out what makes an image easy or hard for both (Efron and Tibshirani, 1993, chapter 16).
    """
    weights = metrics.bootstrap_weights(groups, resamples, _SEED)

    def pair(of: Callable[[Answers], Weighted]) -> Pair:
        return paired(of(champion), of(challenger), weights)

    return Comparison(
        images=len(y),
        fractured=int(y.sum()),
        groups=len(np.unique(groups)),
        measures={
            "auroc": pair(lambda said: lambda w: metrics.auroc(y, said.probabilities, w)),
            "sensitivity": pair(lambda said: lambda w: share(w * said.positive * y, w * y)),
            "specificity": pair(lambda said: lambda w: share(w * ~said.positive * (1 - y), w * (1 - y))),
            "brier": pair(lambda said: lambda w: metrics.brier(y, said.probabilities, w)),
        },
    )


def paired(champion: Weighted, challenger: Weighted, weights: Array) -> Pair:
    """A measure of both, and their difference over the same resamples, float64 (resamples, n)."""
    whole = np.ones((1, weights.shape[1]))
    values = champion(whole), challenger(whole)
    spreads = champion(weights), challenger(weights)
    return Pair(
        metrics.with_interval(values[0], spreads[0]),
        metrics.with_interval(values[1], spreads[1]),
        metrics.with_interval(values[1] - values[0], spreads[1] - spreads[0]),
    )


def share(top: Array, below: Array) -> Array:
    """Sums of weights (..., n) as a share; NaN of nothing."""
    total = below.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(total > 0, top.sum(axis=-1) / total, np.nan), np.float64)


def said(measure: Measured, signed: bool = False) -> str:
    """A measure with its interval, in words; empty where undefined."""
    value, low, high = measure["value"], measure["low"], measure["high"]
    form = "+.3f" if signed else ".3f"
    if value is None:
        return ""
    return f"{value:{form}}" + (f" ({low:{form}} to {high:{form}})" if low is not None and high is not None else "")


def rows(measures: dict[str, Pair]) -> list[str]:
    """Lines of a Markdown table: measure, champion, challenger, difference."""
    head = ["| | champion | challenger | difference |", "| --- | --- | --- | --- |"]
    return head + [
        f"| {name} | {said(pair.champion)} | {said(pair.challenger)} | {said(pair.difference, signed=True)} |"
        for name, pair in measures.items()
    ]
