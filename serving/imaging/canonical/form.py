"""The canonical form of a radiograph: its field, in a robust range, white bone on black, upright; all are switches."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.imaging.canonical.field import WHOLE, Field, find_field
from serving.imaging.canonical.intensity import robust_range, spread
from serving.imaging.canonical.orientation import CERTAIN, OrientationHead
from serving.imaging.canonical.polarity import INVERTED, PolarityHead
from serving.imaging.canvas import Pixels, Steps, View

DARKEST, BRIGHTEST = 8, 230
"""Where the robust range goes: about where it lies in the radiographs that the first release was trained on."""
HEADS = Path(__file__).parent / "heads"
"""The heads that come with this code, which trainings take; a bundle holds those of its own training."""
_LOOKED_AT = 160
"""Pixels of the longer side, about, from which the median of a field is taken."""
POLARITY, ORIENTATION = "polarity.json", "orientation.npz"
"""Files of the heads, in a folder of their own or in a bundle."""


@dataclass(frozen=True)
class Heads:
    """What recognises inverted and turned radiographs; a step whose head is missing is left out."""

    polarity: PolarityHead | None = None
    orientation: OrientationHead | None = None


NO_HEADS = Heads()


def head_files(steps: Steps) -> tuple[str, ...]:
    """Names of the files that the steps need."""
    needed = {POLARITY: steps.polarity, ORIENTATION: steps.orientation}
    return tuple(name for name, is_needed in needed.items() if is_needed)


def read_heads(folder: Path, steps: Steps) -> tuple[Heads, str]:
    """The heads that the steps need, and the sha256 of their files, empty where they need none.

    Raises OSError for a file that cannot be read, ValueError and KeyError for one that holds something else.
    """
    return heads_of({name: (folder / name).read_bytes() for name in head_files(steps)})


def heads_of(files: Mapping[str, bytes]) -> tuple[Heads, str]:
    """The heads in the content of their files by name, and its sha256; ValueError and KeyError as `read_heads`."""
    if not files:
        return NO_HEADS, ""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return _heads(files), digest.hexdigest()


def _heads(files: Mapping[str, bytes]) -> Heads:
    polarity = PolarityHead.from_json(json.loads(files[POLARITY])) if POLARITY in files else None
    if ORIENTATION not in files:
        return Heads(polarity)
    with np.load(io.BytesIO(files[ORIENTATION]), allow_pickle=False) as arrays:
        return Heads(polarity, OrientationHead.from_arrays(arrays))


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

    @property
    def view(self) -> View:
        """What of the picture the pixels show."""
        return replace(self.field.view, quarters=self.quarters)


def canonical(values: npt.NDArray[np.number], steps: Steps, heads: Heads, certain: float = CERTAIN) -> Canonical:
    """Bring a picture (h, w) of any number type into its canonical form.

    Values of other types than uint8 are spread over their robust range first, whatever the steps say.
    """
    grey = np.asarray(values) if values.dtype == np.uint8 else spread(values, *robust_range(values))
    field = find_field(grey) if steps.field else WHOLE
    seen = np.ascontiguousarray(field.crop(grey), np.uint8)
    mask = None if field.upright else field.mask(grey.shape[1], grey.shape[0])
    inverted = heads.polarity(_filled(seen, mask)) if steps.polarity and heads.polarity else 0.0
    if inverted >= INVERTED:
        seen = np.asarray(255 - seen, np.uint8)
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


def _filled(pixels: Pixels, mask: npt.NDArray[np.bool_] | None) -> Pixels:
    """Pixels with the median of the field outside of it: a slanted frame's white corners must not pass for air."""
    if mask is None:
        return pixels
    step = max(1, max(pixels.shape) // _LOOKED_AT)
    inside = pixels[::step, ::step][mask[::step, ::step]]
    return np.where(mask, pixels, np.uint8(np.median(inside))).astype(np.uint8) if len(inside) else pixels


def _facing(values: npt.NDArray[np.generic], inverted: bool) -> npt.NDArray[np.float32]:
    exact = values.astype(np.float32)
    return -exact if inverted else exact
