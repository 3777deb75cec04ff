"""Fit the heads that say of an input which region it shows, and whether it is a radiograph at all.

Both are logistic regressions on the network's embedding. Which pictures they are fitted to is
`pipeline.evaluation.head_training`'s matter; here are arrays in and heads out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from pipeline.data import cells
from serving.image_heads import GuardHead, RegionHead

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]

PENALTY = 1e-5
"""Of squared weights, on features divided by their standard deviation and the square root of their number."""
UNLIKELY_SHARE = 0.01
"""Of the validation set, which is all of the known regions: images whose region counts as unknown."""
REFUSED_SHARE = 0.01
"""Of the radiographs that the guard's limit is chosen on: the most that may be refused."""
UNUSUAL_SHARE = 0.04
"""Of the same: those whose answer carries a warning, or that get none."""
PASSED_SHARE = 0.005
"""Of the pictures that are none: those that may pass. Where both shares cannot be kept, more pass."""
_FEWEST = 20
"""Training images with a region, and without, below which nothing is learned of it."""
_STEPS, _TOLERANCE = 300, 1e-6
_LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class Seen:
    """What is known of some pictures: embeddings (n, k) of the network and textures (n, t)."""

    embeddings: Floats
    textures: Floats

    def __len__(self) -> int:
        return len(self.embeddings)

    def finer(self, count: int) -> "Seen":
        """With the first numbers of the embeddings only: those of the network's finer maps."""
        return Seen(self.embeddings[:, :count], self.textures)

    def rows(self) -> npt.NDArray[np.float32]:
        """Both beside each other, as the guard takes them; float32 (n, k + t)."""
        return np.concatenate([self.embeddings, self.textures], axis=1, dtype=np.float32)

    @classmethod
    def together(cls, several: Sequence["Seen"]) -> "Seen":
        """All of several, one after the other."""
        return cls(
            np.concatenate([one.embeddings for one in several]), np.concatenate([one.textures for one in several])
        )


def region_table(column: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.bool_]]:
    """The regions named in cells such as `hand;shoulder`, sorted, and which image shows which: bool (n, regions)."""
    named = [cells.split(cell) for cell in column]
    regions = tuple(sorted({name for names in named for name in names} - {""}))
    return regions, np.array([[region in names for region in regions] for names in named], bool).reshape(len(named), -1)


def fit_region(
    embeddings: Floats, column: Sequence[str], validation: Floats, penalty: float = PENALTY
) -> RegionHead | None:
    """The region head from the training set's embeddings (n, k) and cells of the column `region` (n,).

    `validation` (m, k) decides below which probability a region is unknown. Images without a region teach nothing;
    None where fewer than two regions are shown by enough images.
    """
    regions, shows = region_table(column)
    known = shows.any(axis=1)
    enough = np.minimum(shows[known].sum(axis=0), (~shows[known]).sum(axis=0)) >= _FEWEST
    if enough.sum() < 2 or not len(validation):
        return None
    fitted = [logistic(embeddings[known], shows[known, index], penalty) for index in np.flatnonzero(enough)]
    names = tuple(name for name, kept in zip(regions, enough, strict=True) if kept)
    head = RegionHead(names, np.stack([w for w, _ in fitted]), np.array([b for _, b in fitted]), 0.0)
    likeliest = head.probabilities(validation).max(axis=1)
    return RegionHead(names, head.weights, head.bias, float(np.quantile(likeliest, UNLIKELY_SHARE)))


def fit_guard(
    radiographs: Seen,
    others: Seen,
    chosen_radiographs: Seen,
    chosen_others: Seen,
    penalty: float = PENALTY,
) -> GuardHead:
    """The guard's head from radiographs, as they come and changed, and pictures that are none.

    Its limits are chosen on other ones of both. To refuse a radiograph is the worse error: as many pictures pass as
    that takes.
    """
    rows = np.concatenate([radiographs.rows(), others.rows()])
    weights, bias = logistic(rows, np.arange(len(rows)) < len(radiographs), penalty)
    odds, of_others = (seen.rows() @ weights + bias for seen in (chosen_radiographs, chosen_others))
    refuse = min(float(np.quantile(odds, REFUSED_SHARE)), float(np.quantile(of_others, 1 - PASSED_SHARE)))
    return GuardHead(weights, bias, refuse, max(refuse, float(np.quantile(odds, UNUSUAL_SHARE))))


def logistic(rows: Floats, positive: npt.NDArray[np.bool_], penalty: float) -> tuple[Array, float]:
    """Weights (k,) and bias of a logistic regression on rows (n, k); both classes count alike, whatever their size."""
    mean = rows.mean(axis=0, dtype=np.float64)
    scale = (rows.std(axis=0, dtype=np.float64) + _LEAST_DEVIATION) * np.sqrt(rows.shape[1])
    scaled = ((rows - mean) / scale).astype(np.float32)
    regression = LogisticRegression(
        C=1 / (penalty * len(rows)), class_weight="balanced", max_iter=_STEPS, tol=_TOLERANCE
    )
    fitted = regression.fit(scaled, positive)
    weights = np.asarray(fitted.coef_[0] / scale, np.float64)
    return weights, float(fitted.intercept_[0] - mean @ weights)
