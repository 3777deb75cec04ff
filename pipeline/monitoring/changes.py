"""What moved: later answers against training, and against the time before, with a correction for many comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from pipeline.monitoring.drift import DISTANCE, FEWEST, PROBABILITY, evidence, expectations
from pipeline.monitoring.window import Window
from serving.bundle import Bundle
from serving.http.problems import REFUSED_BY_GUARD
from serving.statistics import INPUTS, shift

Array = npt.NDArray[np.float64]

FALSE_DISCOVERIES = 0.01
"""Expected share of chance among the changes that a report calls significant (Benjamini and Hochberg, 1995)."""
LEAST_DISTANCE = 0.15
"""Kolmogorov-Smirnov distance below which a change means little, however certain it is."""
LEAST_FEATURE_SHIFT = 0.5
"""The same for a direction of the features, in standard deviations of the later answers."""
LEAST_REFUSALS = 0.05
"""The same for the share of images that the guard refuses."""


@dataclass(frozen=True)
class Change:
    """One comparison.

    `size` is a Kolmogorov-Smirnov distance, a shift in standard deviations or a difference of shares, and `least` the
    size from which it matters. `p` is the chance of one as large without any change, `adjusted` the same after the
    correction for all comparisons of a report.
    """

    group: str
    what: str
    against: str
    size: float
    least: float
    before: float
    after: float
    images: int
    p: float
    adjusted: float = 1.0

    @property
    def moved(self) -> bool:
        """Whether it is neither chance nor too small to matter."""
        return self.adjusted < FALSE_DISCOVERIES and self.size >= self.least


def against_training(group: str, window: Window, bundle: Bundle) -> list[Change]:
    """Input statistics, texture, probabilities and features of this bundle's answers against its training images."""
    ours = window.where("model", f"{bundle.manifest.version} ({bundle.sha256[:8]})")
    if len(ours.answered) < FEWEST:
        return []
    behind, patients = evidence(bundle.reference), ours.patients()
    found = []
    for name, quantiles in expectations(bundle).items():
        values = ours.probabilities() if name == PROBABILITY else ours.statistic(name)
        moved = shift(quantiles, behind[name], values)
        p = _chance(moved.distance, min(len(values), patients), behind[name])
        found.append(
            Change(group, name, "training", moved.distance, LEAST_DISTANCE, moved.before, moved.after, len(values), p)
        )
    return [*found, *_features(group, ours.features(), patients, None, float(bundle.reference.trained))]


def against_before(group: str, window: Window, before: Window) -> list[Change]:
    """The same, and the share that the guard refuses, against as long a time before.

    Features are left out unless one model gave all answers: those of two networks have nothing in common.
    """
    if len(window.answered) < FEWEST or len(before.answered) < FEWEST:
        return []
    earlier, later = before.patients(), window.patients()
    found = []
    for name in (*INPUTS, DISTANCE, PROBABILITY):
        old, new = (part.probabilities() if name == PROBABILITY else part.statistic(name) for part in (before, window))
        if not len(old) or not len(new):
            continue
        distance = float(stats.ks_2samp(old, new, method="asymp").statistic)
        p = _chance(distance, min(len(new), later), min(len(old), earlier))
        middles = float(np.median(old)), float(np.median(new))
        found.append(Change(group, name, "before", distance, LEAST_DISTANCE, *middles, len(new), p))
    if len({*window.values("model"), *before.values("model")}) == 1:
        found += _features(group, window.features(), later, before.features(), earlier)
    return [*found, *_refusals(group, window, before)]


def corrected(changes: Sequence[Change]) -> list[Change]:
    """The same comparisons with their adjusted p values, in the order of size over what matters, largest first."""
    if not changes:
        return []
    adjusted = stats.false_discovery_control([min(max(change.p, 0.0), 1.0) for change in changes], method="bh")
    done = [Change(**{**vars(change), "adjusted": float(p)}) for change, p in zip(changes, adjusted, strict=True)]
    return sorted(done, key=lambda change: (not change.moved, -change.size / change.least))


def _chance(distance: float, patients: float, behind: float) -> float:
    """Chance of a Kolmogorov-Smirnov distance as large between so many patients of one kind, in the limit of many."""
    return float(stats.kstwobign.sf(distance * np.sqrt(patients * behind / (patients + behind))))


def _features(group: str, new: Array, patients: int, old: Array | None, behind: float) -> list[Change]:
    """The mean of each direction: Welch's test against `old`, the answers before, or against 0, where training has it.

    `patients` and `behind` are how many independent images stand behind either mean.
    Training's own spread in a direction is not known, as its features are kept one by one; the later one stands for it.
    """
    if len(new) < FEWEST or (old is not None and len(old) < FEWEST):
        return []
    independent, behind = min(len(new), patients), behind if old is None else min(len(old), behind)
    freedom = max(min(independent, behind) - 1, 1)  # of the smaller side alone, which is at most Welch's
    found = []
    for number in range(new.shape[1]):
        later = new[:, number]
        spread = max(float(later.std(ddof=1)), 1e-9)
        earlier, before = (
            (0.0, spread) if old is None else (float(old[:, number].mean()), float(old[:, number].std(ddof=1)))
        )
        error = spread**2 / independent + before**2 / max(behind, 1)
        mean = float(later.mean())
        p = float(2 * stats.t.sf(abs(mean - earlier) / max(np.sqrt(error), 1e-12), freedom))
        size = abs(mean - earlier) / spread
        name = f"features {number + 1}"
        against = "training" if old is None else "before"
        found.append(Change(group, name, against, size, LEAST_FEATURE_SHIFT, earlier, mean, len(later), p))
    return found


def _refusals(group: str, window: Window, before: Window) -> list[Change]:
    counts = [(sum(part.refused[code] for code in REFUSED_BY_GUARD), len(part.answered)) for part in (before, window)]
    old, new = (refused / (refused + answered) for refused, answered in counts)
    p = float(stats.fisher_exact(np.array(counts)).pvalue)
    images = sum(counts[1])
    return [Change(group, "refused", "before", abs(new - old), LEAST_REFUSALS, old, new, images, p)]
