"""Whether a picture is a radiograph at all, and of which region: linear heads on what the network sees anyway.

The network gives its embedding beside its scores, so that the heads cost no second run. Both are logistic regressions;
their scales are folded into their weights, and they are small enough to be read with the bundle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_REGION, _GUARD = "region_", "guard_"


@dataclass(frozen=True)
class RegionHead:
    """One regression a region, since one radiograph may show several.

    `names` (r,); `weights` (r, k) and `bias` (r,) on an embedding (k,). Below the probability `likely` of every region
    the region is unknown.
    """

    names: tuple[str, ...]
    weights: Array
    bias: Array
    likely: float

    def probabilities(self, embedding: npt.NDArray[np.floating]) -> Array:
        """Probability of each region, (r,) of an embedding (k,) or (n, r) of several (n, k); they need not sum to 1."""
        return _probability(embedding @ self.weights.T + self.bias)

    def likeliest(self, embedding: npt.NDArray[np.floating]) -> tuple[str, float]:
        """The likeliest region of an embedding (k,), and its probability."""
        found = self.probabilities(embedding)
        best = int(found.argmax())
        return self.names[best], float(found[best])


@dataclass(frozen=True)
class GuardHead:
    """Radiograph against picture that is none.

    `weights` (k + t,) and `bias` on the first k numbers of an embedding, those of the network's finer maps, and on a
    texture (t,) behind them (`statistics.texture`). The coarsest map sees which bones there are: a guard that reads it
    refuses regions that it was not trained on. Below the log odds `refuse` a picture gets no answer, below `unusual`
    the answer carries a warning.
    """

    weights: Array
    bias: float
    refuse: float
    unusual: float

    def log_odds(self, embedding: npt.NDArray[np.floating], texture: npt.NDArray[np.floating]) -> Array:
        """Log odds of a radiograph: () of an embedding (m,) and a texture (t,), or (n,) of n of both."""
        read = embedding[..., : len(self.weights) - texture.shape[-1]]
        return np.asarray(np.concatenate([read, texture], axis=-1) @ self.weights + self.bias, np.float64)


@dataclass(frozen=True)
class ImageHeads:
    """What image_heads.npz holds; a head that could not be fitted is None."""

    region: RegionHead | None = None
    guard: GuardHead | None = None

    def save(self, path: Path) -> None:
        """Write image_heads.npz, the weights in single precision."""
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        if self.region:
            arrays |= {
                "region_names": np.array(self.region.names), "region_weights": self.region.weights.astype(np.float32),
                "region_bias": self.region.bias.astype(np.float32), "region_likely": np.array(self.region.likely),
            }  # fmt: skip
        if self.guard:
            arrays |= {
                "guard_weights": self.guard.weights.astype(np.float32), "guard_bias": np.array(self.guard.bias),
                "guard_refuse": np.array(self.guard.refuse), "guard_unusual": np.array(self.guard.unusual),
            }  # fmt: skip
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path | IO[bytes]) -> "ImageHeads":
        """Read image_heads.npz, by its path or opened; KeyError, ValueError or OSError for a broken or other file."""
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return cls(_region(arrays), _guard(arrays))


NO_IMAGE_HEADS = ImageHeads()


def _region(arrays: Mapping[str, npt.NDArray[np.generic]]) -> RegionHead | None:
    if not any(name.startswith(_REGION) for name in arrays):
        return None
    names = tuple(str(name) for name in arrays["region_names"])
    weights, bias = (arrays[f"region_{part}"].astype(np.float64) for part in ("weights", "bias"))
    if weights.ndim != 2 or len(weights) != len(names) or bias.shape != (len(names),):
        raise ValueError("the region head's weights do not belong to its regions")
    return RegionHead(names, weights, bias, float(arrays["region_likely"]))


def _guard(arrays: Mapping[str, npt.NDArray[np.generic]]) -> GuardHead | None:
    if not any(name.startswith(_GUARD) for name in arrays):
        return None
    weights = arrays["guard_weights"].astype(np.float64)
    if weights.ndim != 1:
        raise ValueError("the guard's weights are no vector")
    return GuardHead(weights, *(float(arrays[f"guard_{part}"]) for part in ("bias", "refuse", "unusual")))


def _probability(log_odds: npt.NDArray[np.floating]) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * log_odds)), np.float64)
