"""The canonical form of a radiograph: its field, in a robust range, white bone on black, upright; all are switches."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.imaging.canonical.field import WHOLE, Field, find_field
from serving.imaging.canonical.intensity import robust_range, spread
from serving.imaging.canonical.orientation import CERTAIN, OrientationHead
from serving.imaging.canonical.polarity import INVERTED, PolarityHead

Pixels = npt.NDArray[np.uint8]

DARKEST, BRIGHTEST = 8, 230
"""Where the robust range goes: about where it lies in the radiographs that the first release was trained on."""


@dataclass(frozen=True)
class Steps:
    """Which steps are taken."""

    field: bool = True
    range: bool = True
    polarity: bool = True
    orientation: bool = True


@dataclass(frozen=True)
class Heads:
    """What recognises inverted and turned radiographs; a step whose head is missing is left out."""

    polarity: PolarityHead | None = None
    orientation: OrientationHead | None = None


@dataclass(frozen=True)
class Canonical:
    """Canonical pixels, uint8 (h, w), and what was done to reach them.

    `inverted` is the probability that the picture was inverted; it was turned back from INVERTED on. `quarters` is by
    how many quarter turns, anticlockwise, the field was turned, `turns` (4,) are the probabilities of each.
    """

    pixels: Pixels
    field: Field
    inverted: float
    quarters: int
    turns: tuple[float, ...]

    def to_picture(self, x: float, y: float) -> tuple[float, float]:
        """Fractions of the canonical pixels to fractions of the picture."""
        for _ in range(self.quarters):
            x, y = 1 - y, x
        return self.field.to_picture(x, y)

    def from_picture(self, x: float, y: float) -> tuple[float, float]:
        """Fractions of the picture to fractions of the canonical pixels, outside [0, 1] on what was left out."""
        x, y = self.field.to_field(x, y)
        for _ in range(self.quarters):
            x, y = y, 1 - x
        return x, y


def canonical(values: npt.NDArray[np.number], steps: Steps, heads: Heads, certain: float = CERTAIN) -> Canonical:
    """Bring a picture (h, w) of any number type into its canonical form.

    Values of other types than uint8 are spread over their robust range first, whatever the steps say.
    """
    grey = np.asarray(values) if values.dtype == np.uint8 else spread(values, *robust_range(values))
    field = find_field(grey) if steps.field else WHOLE
    seen = np.ascontiguousarray(field.crop(grey), np.uint8)
    inverted = heads.polarity(seen) if steps.polarity and heads.polarity else 0.0
    if inverted >= INVERTED:
        seen = np.asarray(255 - seen, np.uint8)
    mask = None if field.upright else field.mask(grey.shape[1], grey.shape[0])
    turns = heads.orientation(seen) if steps.orientation and heads.orientation else np.array([1.0, 0, 0, 0])
    quarters = int(turns.argmax()) if turns.max() >= certain else 0
    if steps.range:
        exact = seen if values.dtype == np.uint8 else _facing(field.crop(values), inverted >= INVERTED)
        seen = spread(exact, *robust_range(exact, mask), DARKEST, BRIGHTEST)
    if mask is not None:
        seen = np.where(mask, seen, 0).astype(np.uint8)
    return Canonical(
        np.ascontiguousarray(np.rot90(seen, quarters)), field, inverted, quarters, tuple(map(float, turns))
    )


def _facing(values: npt.NDArray[np.generic], inverted: bool) -> npt.NDArray[np.float32]:
    exact = values.astype(np.float32)
    return -exact if inverted else exact
