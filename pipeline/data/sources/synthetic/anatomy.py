"""The bones and the soft tissue of a limb, by region and view, in mm."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from pipeline.data.sources.synthetic.curves import STEPS, Array, smooth
from pipeline.data.sources.synthetic.streams import Rng

REGIONS = ("finger", "hand", "forearm", "upper arm", "thigh", "lower leg")
VIEWS = ("frontal", "lateral", "oblique")


@dataclass(frozen=True)
class Kind:
    """The form of one sort of bone: outer radius along its axis and the relief of its two ends.

    `at` are fractions of the length; `width` the radius there in units of the shaft's; `low` and `high` the
    relief of the ends at -1, -0.5, 0, 0.5, 1 of the end's radius, in units of that radius, positive outwards.
    """

    at: tuple[float, ...]
    width: tuple[float, ...]
    low: tuple[float, ...] = (-0.25, 0.0, 0.05, 0.0, -0.25)
    high: tuple[float, ...] = (-0.25, 0.0, 0.05, 0.0, -0.25)
    cortex: float = 0.42


_CONDYLES = (-0.30, 0.28, -0.22, 0.30, -0.30)
_HEAD = (-0.8, 0.1, 0.35, 0.1, -0.8)
_CUP = (0.05, -0.04, -0.10, -0.04, 0.05)


KINDS = {
    "radius": Kind(
        (0, 0.03, 0.07, 0.12, 0.2, 0.5, 0.78, 0.88, 0.95, 0.985, 1),
        (1.4, 1.55, 1.1, 0.95, 1.05, 1.0, 1.05, 1.35, 1.95, 2.15, 2.0),
        low=_CUP,
        high=(0.35, 0.1, -0.05, -0.1, -0.1),
    ),
    "ulna": Kind((0, 0.04, 0.1, 0.2, 0.5, 0.85, 0.95, 0.98, 1), (1.5, 1.9, 1.7, 1.2, 1.0, 0.8, 0.85, 1.05, 1.0)),
    "humerus": Kind(
        (0, 0.05, 0.12, 0.2, 0.5, 0.8, 0.9, 0.96, 1),
        (1.7, 2.1, 1.75, 1.15, 1.0, 1.05, 1.6, 2.4, 2.1),
        low=_HEAD,
        high=(-0.25, 0.16, 0.02, 0.18, -0.1),
    ),
    "femur": Kind(
        (0, 0.1, 0.2, 0.5, 0.75, 0.88, 0.95, 1),
        (1.5, 1.5, 1.1, 1.0, 1.15, 1.8, 2.55, 2.4),
        low=_HEAD,
        high=_CONDYLES,
    ),
    "tibia": Kind(
        (0, 0.04, 0.1, 0.2, 0.5, 0.8, 0.92, 0.98, 1),
        (2.6, 2.75, 2.1, 1.35, 1.0, 0.95, 1.35, 1.75, 1.7),
        low=(-0.12, -0.02, 0.12, -0.02, -0.12),
        high=(-0.05, -0.05, -0.02, 0.1, 0.35),
    ),
    "fibula": Kind(
        (0, 0.03, 0.08, 0.2, 0.8, 0.92, 0.97, 1), (1.7, 1.9, 1.1, 0.9, 1.0, 1.2, 1.9, 1.5), low=_HEAD, high=_HEAD
    ),
    "phalanx": Kind(
        (0, 0.08, 0.25, 0.6, 0.85, 0.95, 1),
        (1.6, 1.75, 1.2, 0.95, 1.15, 1.35, 1.25),
        low=_CUP,
        high=(-0.4, 0.12, -0.02, 0.12, -0.4),
    ),
    "tuft": Kind((0, 0.1, 0.3, 0.65, 0.85, 0.95, 1), (1.6, 1.75, 1.15, 0.75, 1.05, 1.15, 0.9), low=_CUP, high=_HEAD),
    "metacarpal": Kind(
        (0, 0.06, 0.2, 0.5, 0.8, 0.92, 1),
        (1.6, 1.7, 1.2, 1.0, 1.2, 1.6, 1.4),
        low=_CUP,
        high=(-0.6, -0.06, 0.12, -0.06, -0.6),
    ),
    "block": Kind(
        (0, 0.15, 0.5, 0.85, 1),
        (0.75, 0.95, 1.0, 0.95, 0.75),
        low=(-0.5, 0, 0.1, 0, -0.5),
        high=(-0.5, 0, 0.1, 0, -0.5),
        cortex=0.14,
    ),
}


@cache
def width_table(kind: str) -> Array:
    """Outer radius along a bone's axis, in units of the shaft's radius."""
    return smooth(KINDS[kind].at, KINDS[kind].width)


@cache
def shaft_table(kind: str) -> Array:
    """How much of a shaft the bone is along its axis: 1 compact tube, 0 thin shell filled with trabeculae."""
    if kind == "block":
        return np.zeros(STEPS, np.float32)
    return smooth((0, 0.08, 0.3, 0.7, 0.92, 1), (0, 0, 1, 1, 0, 0))


@cache
def relief_table(kind: str, end: str) -> Array:
    """Relief of an end ("low" or "high") across the bone, in units of the end's radius, positive outwards."""
    return smooth((-1, -0.5, 0, 0.5, 1), getattr(KINDS[kind], end), -1, 1)


@dataclass(frozen=True)
class Bone:
    """A bone in the limb's frame: u across and v along the limb, in mm; angles in radians.

    It starts at (u, v) and runs `length` along `angle` (0 is +v). `radius` is that of its shaft, `depth` the
    ratio of its extent along the beam to its width, `plates` the distances of open growth plates from both
    ends (0 none), `canal` the place of a nutrient canal as a fraction of the length (0 none).
    """

    kind: str
    u: float
    v: float
    length: float
    radius: float
    angle: float = 0.0
    bow: float = 0.0
    depth: float = 1.0
    plates: tuple[float, float] = (0.0, 0.0)
    canal: float = 0.0

    def outer(self, along: float) -> float:
        """Outer radius in mm at `along` mm from the start."""
        return float(np.interp(along / self.length, np.linspace(0, 1, STEPS), width_table(self.kind))) * self.radius

    def limb(self, along: float, across: float) -> tuple[float, float]:
        """The (u, v) of a point of the bone, in mm."""
        t = min(max(along / self.length, 0.0), 1.0)
        across = across + self.bow * 4 * t * (1 - t)
        sin, cos = math.sin(self.angle), math.cos(self.angle)
        return float(self.u + along * sin + across * cos), float(self.v + along * cos - across * sin)


@dataclass(frozen=True)
class Flesh:
    """A tapering envelope of soft tissue in the limb's frame: start, length, angle, radii along it, all mm."""

    u: float
    v: float
    length: float
    radii: tuple[float, ...]
    angle: float = 0.0
    fat: float = 4.0
    depth: float = 0.6


@dataclass(frozen=True)
class Anatomy:
    """What lies on the table: bones, flesh, which bone is looked at and where, and how long a field shows it.

    `focus` is (bone, fraction of its length); `field_mm` the longer side of the picture; `distal_up` whether
    the fingers point up as they do in a picture of a hand; `partner` is the bone that may break with the one in focus.
    """

    bones: tuple[Bone, ...]
    flesh: tuple[Flesh, ...]
    focus: tuple[int, float]
    field_mm: float
    distal_up: bool = False
    partner: int | None = None


def _plates(rng: Rng, young: bool, reach: float) -> tuple[float, float]:
    low, high = rng.uniform(0.8, 1.2, 2) * reach
    return (float(low), float(high)) if young else (0.0, 0.0)


def _spread(view: str) -> float:
    """How far apart bones that lie side by side are seen, as a share of the frontal distance."""
    return {"frontal": 1.0, "lateral": 0.3, "oblique": 0.7}[view]


def _phalanges(
    rng: Rng,
    start: tuple[float, float],
    angle: float,
    *,
    size: float,
    young: bool,
    parts: tuple[tuple[str, float, float], ...],
) -> list[Bone]:
    """A chain of phalanges from `start`; `parts` are (kind, length in mm, shaft radius in mm at size 1)."""
    bones = []
    u, v = start
    for kind, length, thick in parts:
        bend = angle + rng.normal(0, 0.03)
        plates = (float(rng.uniform(3.0, 3.8)) * size, 0.0) if young else (0.0, 0.0)
        bones.append(Bone(kind, u, v, length, thick * size, bend, rng.normal(0, 0.3), rng.uniform(0.75, 0.95), plates))
        u, v = u + (length + 1.6 * size) * math.sin(bend), v + (length + 1.6 * size) * math.cos(bend)
    return bones


def _digit(rng: Rng, start: tuple[float, float], angle: float, *, size: float, young: bool, first: float) -> list[Bone]:
    """The three phalanges of a finger from its base; `first` is the length of the first one in mm."""
    parts = (("phalanx", first, 4.6), ("phalanx", first * 0.6, 4.0), ("tuft", first * 0.42, 3.4))
    return _phalanges(rng, start, angle, size=size, young=young, parts=parts)


def _finger(rng: Rng, view: str, size: float, young: bool) -> Anatomy:
    first = 41 * size
    bones = [
        Bone("metacarpal", 0, -64 * size, 62 * size, 4.6 * size, depth=0.9),
        *_digit(rng, (0, 0), 0, size=size, young=young, first=first),
    ]
    flesh = [Flesh(0, -60 * size, 152 * size, (15, 14, 11.5, 10.5, 9.5, 8.5, 8, 6.5), fat=2.0, depth=0.8)]
    side = float(rng.choice([-1, 1])) * rng.uniform(20, 24) * size
    tilt = side / 20 * 0.08
    neighbour = _digit(rng, (side, -6 * size), tilt, size=size, young=young, first=first * 0.94)
    if rng.random() < 0.6 and view != "lateral":
        bones += neighbour
        flesh += [Flesh(side, -50 * size, 138 * size, (14, 12, 11, 10, 9, 8, 6.5), tilt, fat=2.0, depth=0.8)]
    target = int(rng.choice([1, 2], p=[0.65, 0.35]))
    return Anatomy(tuple(bones), tuple(flesh), (target, rng.uniform(0.38, 0.62)), rng.uniform(45, 58) * size, True)


def _carpals(rng: Rng, u: float, v: float, size: float, spread: float) -> list[Bone]:
    """Two rows of wrist bones, the first starting at (u, v)."""
    bones = []
    for row in range(2):
        for i in range(4):
            x = u + (i - 1.5) * 10.5 * size * max(spread, 0.35) + rng.normal(0, 0.6)
            y = v + row * 12.5 * size + abs(i - 1.5) * -1.6 + rng.normal(0, 0.6)
            length, radius = rng.uniform(11.5, 15) * size, rng.uniform(5.6, 6.8) * size
            bones.append(Bone("block", x, y, length, radius, rng.normal(0, 0.35), depth=rng.uniform(0.8, 1.0)))
    return bones


def _hand(rng: Rng, view: str, size: float, young: bool) -> Anatomy:
    spread = {"frontal": 1.0, "lateral": 0.45, "oblique": 0.72}[view]
    palm = tuple(r * (0.45 + 0.55 * spread) for r in (25, 24, 25, 29, 35, 38, 39, 38, 35))
    bones: list[Bone] = []
    flesh = [Flesh(-4 * spread * size, -70 * size, 142 * size, palm, depth=0.36, fat=2.5)]
    for i in range(4):
        u, tilt = (i - 1.4) * 12.5 * spread * size, (i - 1.4) * 0.09 * spread + rng.normal(0, 0.015)
        length = (66 - abs(i - 1) * 4.5) * size
        bones.append(Bone("metacarpal", u, 2.0, length, 4.0 * size, tilt, rng.normal(0, 0.5), 0.9))
        tip = (u + (length + 2) * math.sin(tilt), 2.0 + (length + 2) * math.cos(tilt))
        first = (44 - abs(i - 1) * 4) * size
        bones += _digit(rng, tip, tilt * 1.2, size=size * 0.95, young=young, first=first)
        radii = (12, 12.5, 11.5, 10.5, 9.5, 8.5, 7)
        back = 14 * size
        root = (tip[0] - back * math.sin(tilt), tip[1] - back * math.cos(tilt))
        flesh.append(Flesh(*root, first * 2.02 + 8 * size + back, radii, tilt * 1.2, fat=1.5, depth=0.8))
    u, tilt = -2.2 * 12.5 * spread * size, -0.62 * spread
    bones.append(Bone("metacarpal", u, -6, 44 * size, 4.6 * size, tilt, depth=0.9))
    tip = (u + 46 * size * math.sin(tilt), -6 + 46 * size * math.cos(tilt))
    parts = (("phalanx", 31 * size, 4.8), ("tuft", 22 * size, 4.2))
    bones += _phalanges(rng, tip, tilt * 0.8, size=size, young=young, parts=parts)
    flesh.append(
        Flesh(u + 6 * size, -18 * size, 124 * size, (19, 18, 16, 14, 12, 10.5, 8.5), tilt * 0.92, fat=2.0, depth=0.7)
    )
    bones += _carpals(rng, 0, -25 * size, size, spread)
    bones += [
        Bone("radius", -8 * spread * size, -27 * size - 230 * size, 228 * size, 7.2 * size, depth=0.8),
        Bone("ulna", 15 * spread * size, -30 * size - 230 * size, 226 * size, 6.2 * size, depth=0.9),
    ]
    target = int(rng.choice([0, 4, 8, 12])) + int(rng.choice([0, 1], p=[0.7, 0.3]))
    return Anatomy(tuple(bones), tuple(flesh), (target, rng.uniform(0.4, 0.65)), rng.uniform(56, 72) * size, True)


def _forearm(rng: Rng, view: str, size: float, young: bool) -> Anatomy:
    spread = _spread(view)
    gap = 12.5 * spread * size
    plates = _plates(rng, young, 8 * size)
    bones = [
        Bone("radius", gap, 6 * size, 232 * size, 6.9 * size, -0.02, 3.0 * spread, rng.uniform(0.8, 1.0), plates),
        Bone("ulna", -gap, -18 * size, 250 * size, 6.3 * size, 0.015, -1.5, rng.uniform(0.85, 1.0), (0.0, plates[1])),
        Bone("humerus", -2 * size, -302 * size, 300 * size, 10.5 * size, depth=0.6),
        *_carpals(rng, 3 * size, 241 * size, size, spread),
    ]
    bones += [
        Bone("metacarpal", (i - 1.3) * 12 * spread * size, 267 * size, 62 * size, 3.9 * size, (i - 1.3) * 0.08)
        for i in range(4)
    ]
    bones[0] = replace(bones[0], canal=rng.uniform(0.35, 0.5))
    flesh = (Flesh(0, -130 * size, 480 * size, (48, 46, 46, 43, 38, 32, 28, 33, 38, 36)),)
    target = int(rng.choice([0, 1], p=[0.65, 0.35]))
    place = rng.uniform(0.35, 0.93) if target == 0 else rng.uniform(0.35, 0.85)
    return Anatomy(tuple(bones), flesh, (target, place), rng.uniform(72, 100) * size, partner=1 - target)


def _upper_arm(rng: Rng, view: str, size: float, young: bool) -> Anatomy:
    spread = _spread(view)
    plates = _plates(rng, young, 15 * size)
    bones = (
        Bone("humerus", 0, 0, 305 * size, 10.8 * size, 0, rng.normal(0, 2), 0.9, plates, rng.uniform(0.4, 0.6)),
        Bone("radius", 13 * spread * size, 314 * size, 232 * size, 6.9 * size, 0.05, depth=0.9),
        Bone("ulna", -9 * spread * size, 302 * size, 250 * size, 6.3 * size, 0.0, depth=0.9),
    )
    flesh = (Flesh(0, -60 * size, 540 * size, (66, 64, 58, 54, 52, 50, 48, 46, 44, 40)),)
    return Anatomy(bones, flesh, (0, rng.uniform(0.22, 0.85)), rng.uniform(90, 125) * size)


def _thigh(rng: Rng, view: str, size: float, young: bool) -> Anatomy:
    spread = _spread(view)
    plates = _plates(rng, young, 19 * size)
    bow = 3.0 if view == "frontal" else 9.0
    bones = [
        Bone("femur", 0, 0, 420 * size, 14.0 * size, 0, bow * size, 0.95, plates, rng.uniform(0.4, 0.6)),
        Bone("tibia", 2 * size, 425 * size, 360 * size, 13.0 * size, 0.02, 0, 0.85, plates),
        Bone("fibula", 34 * spread * size, 441 * size, 350 * size, 6.0 * size, -0.02),
    ]
    if view == "lateral":
        bones.append(Bone("block", -42 * size, 375 * size, 38 * size, 10 * size, 0.15))
    flesh = (Flesh(0, -40 * size, 700 * size, (95, 92, 86, 80, 74, 68, 62, 60, 58, 54), fat=8.0),)
    return Anatomy(tuple(bones), flesh, (0, rng.uniform(0.38, 0.86)), rng.uniform(110, 150) * size)


def _lower_leg(rng: Rng, view: str, size: float, young: bool) -> Anatomy:
    spread = _spread(view)
    plates = _plates(rng, young, 15 * size)
    bones = [
        Bone("tibia", 0, 0, 360 * size, 12.8 * size, 0.0, rng.normal(0, 2), 0.95, plates, rng.uniform(0.3, 0.45)),
        Bone("fibula", 33 * spread * size, 18 * size, 358 * size, 6.0 * size, -0.033 * spread, -2.0, 1.0, plates),
        Bone("femur", -2 * size, -425 * size, 420 * size, 14.0 * size, depth=0.95),
        Bone("block", 4 * size, 365 * size, 30 * size, 19 * size, 0.0, depth=0.9),
        Bone("block", 8 * size, 396 * size, 42 * size, 20 * size, 0.2, depth=0.7),
    ]
    flesh = (Flesh(8 * size, -160 * size, 640 * size, (68, 62, 60, 62, 58, 48, 42, 40, 46, 50)),)
    target = int(rng.choice([0, 1], p=[0.75, 0.25]))
    return Anatomy(
        tuple(bones), flesh, (target, rng.uniform(0.2, 0.88)), rng.uniform(100, 135) * size, partner=1 - target
    )


ANATOMIES: dict[str, Callable[[Rng, str, float, bool], Anatomy]] = {
    "finger": _finger,
    "hand": _hand,
    "forearm": _forearm,
    "upper arm": _upper_arm,
    "thigh": _thigh,
    "lower leg": _lower_leg,
}
