"""Pictures of eight bits that were saved with more: their grey levels, behind any offset and gain."""

from itertools import product

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.number]
Array = npt.NDArray[np.float64]

_FEW = 4096
"""Values, about, that tell most pictures of more than eight bits from those of eight."""
_FEWEST_STEPS, _MOST_STEPS = 128, 255
"""Steps between the darkest and the brightest level: a dark picture of more bits may have fewer."""
_OCCUPIED = 0.6
"""Share of the steps, at least, whose level occurs: a few values lie on some lattice by chance."""
_ROUNDED, _SINGLE = 0.6, 1e-6
"""How far a value may lie from its lattice. Rounding to whole numbers moves it by a half, and the gain is an estimate;
in single precision it is a share of the largest value."""
_ROUNDS = 4
"""How often gain and offset are estimated from the levels, and the levels from them."""
_WIDEST = 1 << 16
_ROUNDING = 1e-5
"""Relative error, at most, of a byte that was divided by 255 in single or better precision."""


def in_eight_bits(values: npt.NDArray[np.number]) -> Pixels | None:
    """The grey levels of a picture of eight bits that was saved with more; None for any other.

    They are multiples of 257 or 256, as programs widen a byte, of 1/255, or bytes as they are. Some of the latter two
    have to be above the middle, since a dark picture of more bits may have as few levels. Those of any other gain and
    offset begin at 0 (`eight_bit_levels`).
    """
    units: tuple[tuple[float, int], ...] = ((257, 0), (256, 0), (1, 128))
    if values.dtype.kind == "f":
        units = (*units, (1 / 255, 128))
    step = max(1, int((values.size / _FEW) ** 0.5))
    for unit, least in units:
        if all(_are_levels(some, unit) for some in (values[::step, ::step], values)):
            levels = np.asarray(np.rint(values / unit), np.uint8)
            return levels if levels.max() >= least else None
    return eight_bit_levels(values)


def _are_levels(values: npt.NDArray[np.number], unit: float) -> bool:
    """Whether values are whole multiples of a unit, from 0 to 255 of them."""
    if not (values.min() >= 0 and values.max() <= 255 * unit * (1 + _ROUNDING)):  # false for what is no number
        return False
    if values.dtype.kind != "f":
        return not np.any(values % int(unit))
    levels = values.astype(np.float64) / unit
    return bool(np.abs(levels - np.rint(levels)).max() <= 255 * _ROUNDING)


def eight_bit_levels(values: Values) -> Pixels | None:
    """The grey levels (h, w) of a picture that holds no more than eight bits, the darkest at 0; None for any other.

    Its values, of any number type, are gain * level + offset, rounded to whole numbers or not, for any offset and any
    gain (of rounded values: a whole number, or from 2 on; most of those between). At which level the darkest was cannot
    be told. A few thousand pixels rule out nearly every other picture.
    """
    step = max(1, int((values.size / _FEW) ** 0.5))
    sample = np.unique(values[::step, ::step])
    if len(sample) > _MOST_STEPS + 1:
        return None
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        return _of_fractions(values, np.unique(np.append(sample, [low, high])))
    if int(high) - int(low) >= _WIDEST:
        return None
    places = np.subtract(values, low, dtype=np.int32)
    occurs = np.zeros(int(high) - int(low) + 1, bool)
    occurs[places] = True
    distinct = np.flatnonzero(occurs)
    lattice = _lattice(distinct, _ROUNDED)
    if lattice is None:
        return None
    table = np.zeros(len(occurs), np.uint8)
    table[distinct] = _levels(distinct, *lattice)
    return np.asarray(table[places], np.uint8)


def _of_fractions(values: Values, some: Values) -> Pixels | None:
    """The same of numbers with fractions, from some of them: to look at each of millions would take a second."""
    tolerance = float(_SINGLE * np.abs(some).max())
    lattice = _lattice(some, tolerance)
    if lattice is None:
        return None
    gain, offset = lattice
    levels = _levels(values, gain, offset)
    apart = np.abs(levels * gain + offset - values)
    return levels.astype(np.uint8) if apart.max() <= 2 * tolerance else None


def _levels(values: npt.NDArray[np.generic], gain: float, offset: float) -> Array:
    return np.asarray(np.rint((values.astype(np.float64) - offset) / gain), np.float64)


def _lattice(distinct: npt.NDArray[np.generic], tolerance: float) -> tuple[float, float] | None:
    """Gain and offset of the lattice on which values lie, given once each and in order, the first at 0; else None.

    Of the lattices that fit, that of the widest steps is taken.
    """
    values = distinct.astype(np.float64)
    if not _OCCUPIED * _FEWEST_STEPS <= len(values) <= _MOST_STEPS + 1 or not np.isfinite(values).all():
        return None
    most = min(_MOST_STEPS, int(len(values) / _OCCUPIED))
    extent = values[-1] - values[0]
    ends = (-tolerance, 0.0, tolerance) if extent < 2 * _MOST_STEPS else (0.0,)
    for steps in range(max(_FEWEST_STEPS, len(values) - 1), most + 1):
        for first, last in product(ends, ends):
            found = _fitted(values, (extent + last - first) / steps, float(values[0]) + first, tolerance)
            if found is not None:
                return found
    return None


def _fitted(values: Array, gain: float, offset: float, tolerance: float) -> tuple[float, float] | None:
    """Gain and offset from a first estimate of them; None where values lie too far from that lattice."""
    for _ in range(_ROUNDS):
        levels = _levels(values, gain, offset)
        centred = levels - levels.mean()
        gain = float(np.dot(centred, values) / np.dot(centred, levels))
        apart = values - gain * levels
        offset = float(apart.max() + apart.min()) / 2
        steps = np.diff(levels)
        if (apart.max() - apart.min()) / 2 <= tolerance and steps.min() >= 1 and steps.sum() <= _MOST_STEPS:
            return gain, offset + gain * float(levels[0])
    return None
