"""The embedded data set: synthetic radiographs of long bones, intact and fractured, made from a seed.

A picture is a projection: tubes of cortex and marrow in an envelope of soft tissue give a line integral of
attenuation for every pixel, Beer and Lambert turn it into photons, and a logarithm and a window into grey.
A fracture cuts one of the tubes into fragments and moves them. Anatomy, positioning, exposure, quantum noise
and fracture each draw from a random stream of their own, so that one seed with and without a fracture gives
one picture that differs where the bone is broken and nowhere else.
"""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.layout import DatasetInfo, rebuild
from pipeline.errors import InputError
from pipeline.progress import track

Array = npt.NDArray[np.floating[Any]]
Pixels = npt.NDArray[np.uint8]
Rng = np.random.Generator
Box = tuple[float, float, float, float, str]

TYPES = ("transverse", "oblique", "spiral", "comminuted", "greenstick")
CLASSES = {"binary": ("normal", "fractured"), "types": ("normal", *TYPES)}
REGIONS = ("finger", "hand", "forearm", "upper arm", "thigh", "lower leg")
VIEWS = ("frontal", "lateral", "oblique")

# Linear attenuation in 1/mm at 50 keV, an effective energy of an extremity's beam: mass attenuation (cm2/g) times
# density (g/cm3) of ICRU-44 cortical bone, soft tissue and adipose tissue (also yellow marrow) and of titanium,
# from Hubbell and Seltzer, Tables of X-Ray Mass Attenuation Coefficients, NISTIR 5632.
MU_BONE = 0.4242 * 1.92 / 10
MU_SOFT = 0.2264 * 1.06 / 10
MU_FAT = 0.2123 * 0.95 / 10
MU_TITANIUM = 1.213 * 4.54 / 10

FRACTURED_SHARE = {"binary": 0.45, "types": 0.75}
HARDWARE_SHARE = 0.06
MIN_COUNT = 20

_STREAMS = ("anatomy", "pose", "exposure", "noise", "fracture")
_STEPS = 1024


def _stream(seed: int, name: str) -> Rng:
    """The random stream of one aspect of a picture; its key is fixed so that no other aspect shifts it."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, _STREAMS.index(name)])))


def _smooth(at: npt.ArrayLike, value: npt.ArrayLike, low: float = 0.0, high: float = 1.0) -> Array:
    """A smooth curve (cubic Hermite) through knots as a table of _STEPS entries over [low, high]."""
    x, y = np.asarray(at, np.float64), np.asarray(value, np.float64)
    slope = np.gradient(y, x)
    where = np.linspace(low, high, _STEPS)
    i = np.clip(np.searchsorted(x, where, side="right") - 1, 0, len(x) - 2)
    width = x[i + 1] - x[i]
    t = (where - x[i]) / width
    blend = t * t * (3 - 2 * t)
    bulge = t * (1 - t) * width * ((1 - t) * slope[i] - t * slope[i + 1])
    return np.asarray(y[i] * (1 - blend) + y[i + 1] * blend + bulge, np.float32)


def _look_up(table: Array, fraction: Array) -> Array:
    index = np.clip(fraction * (_STEPS - 1), 0, _STEPS - 1).astype(np.int32)
    found: Array = table[index]
    return found


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
def _width_table(kind: str) -> Array:
    return _smooth(KINDS[kind].at, KINDS[kind].width)


@cache
def _shaft_table(kind: str) -> Array:
    """How much of a shaft the bone is along its axis: 1 compact tube, 0 thin shell filled with trabeculae."""
    if kind == "block":
        return np.zeros(_STEPS, np.float32)
    return _smooth((0, 0.08, 0.3, 0.7, 0.92, 1), (0, 0, 1, 1, 0, 0))


@cache
def _relief_table(kind: str, end: str) -> Array:
    return _smooth((-1, -0.5, 0, 0.5, 1), getattr(KINDS[kind], end), -1, 1)


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
        return float(np.interp(along / self.length, np.linspace(0, 1, _STEPS), _width_table(self.kind))) * self.radius

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


@dataclass(frozen=True)
class Radiograph:
    """One picture: `pixels` uint8 (H, W), bone bright; `boxes` (x0, y0, x1, y1, type) in fractions of it."""

    pixels: Pixels = field(repr=False)
    region: str
    view: str
    laterality: str
    hardware: bool
    fracture: str | None
    boxes: tuple[Box, ...]


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


_BUILDERS: dict[str, Callable[[Rng, str, float, bool], Anatomy]] = {
    "finger": _finger,
    "hand": _hand,
    "forearm": _forearm,
    "upper arm": _upper_arm,
    "thigh": _thigh,
    "lower leg": _lower_leg,
}


@dataclass(frozen=True)
class Frame:
    """Where the limb lies in the picture: the pixel (column, row) of a limb point and back.

    `pitch` is mm a pixel; `mirror` and `flip` are -1 or 1 across and along the limb; `turn` is in radians;
    `centre` is the limb point (u, v) in the middle of the picture.
    """

    height: int
    width: int
    pitch: float
    turn: float
    mirror: int
    flip: int
    centre: tuple[float, float]

    def pixel(self, u: float, v: float) -> tuple[float, float]:
        a, b = self.mirror * (u - self.centre[0]), self.flip * (v - self.centre[1])
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        x, y = a * cos - b * sin, a * sin + b * cos
        return x / self.pitch + (self.width - 1) / 2, y / self.pitch + (self.height - 1) / 2

    def axes(self, u: float, v: float, angle: float, window: tuple[slice, slice]) -> tuple[Array, Array]:
        """Distance along and across an axis that starts at (u, v), in mm, for every pixel of `window`."""
        rows = (np.arange(window[0].start, window[0].stop, dtype=np.float32) - (self.height - 1) / 2) * self.pitch
        cols = (np.arange(window[1].start, window[1].stop, dtype=np.float32) - (self.width - 1) / 2) * self.pitch
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        du, dv = self.centre[0] - u, self.centre[1] - v
        a, b = math.sin(angle), math.cos(angle)
        along = (
            (a * self.mirror * sin + b * self.flip * cos) * rows[:, None]
            + (a * self.mirror * cos - b * self.flip * sin) * cols[None, :]
            + (a * du + b * dv)
        )
        across = (
            (b * self.mirror * sin - a * self.flip * cos) * rows[:, None]
            + (b * self.mirror * cos + a * self.flip * sin) * cols[None, :]
            + (b * du - a * dv)
        )
        return along, across

    def window(self, points: list[tuple[float, float]], margin: float) -> tuple[slice, slice]:
        """The rows and columns that hold the limb points, `margin` mm more on every side."""
        x, y = np.array([self.pixel(*point) for point in points]).T
        pad = margin / self.pitch
        top, bottom = np.clip([y.min() - pad, y.max() + pad], 0, self.height).astype(int)
        left, right = np.clip([x.min() - pad, x.max() + pad], 0, self.width).astype(int)
        return slice(int(top), int(bottom)), slice(int(left), int(right))


def _dome(depth_in: Array, radius: float) -> Array:
    """Thickness factor near a rounded end: 0 at the surface, 1 from `radius` mm inwards."""
    x = 1 - np.clip(depth_in / radius, 0, 1)
    factor: Array = np.sqrt(1 - x * x)
    return factor


@dataclass(frozen=True)
class Patch:
    """The pixels of a window in a bone's frame: mm along and across it, and the trabecular pattern (mean 0)."""

    along: Array
    across: Array
    texture: Array
    pitch: float

    def moved(self, along: Array, across: Array) -> "Patch":
        return replace(self, along=along, across=across)


def _bone_shadow(bone: Bone, patch: Patch) -> Array:
    """What a bone adds to the line integral where it takes the place of soft tissue, for each pixel."""
    along, across = patch.along, patch.across
    t = along / bone.length
    across = across - bone.bow * 4 * np.clip(t * (1 - t), 0, 1)
    outer_radius = _look_up(_width_table(bone.kind), t) * bone.radius
    shaft = _look_up(_shaft_table(bone.kind), t)
    wall = bone.radius * (0.10 + (KINDS[bone.kind].cortex - 0.10) * shaft)
    place = np.clip(across / outer_radius, -1, 1) * 0.5 + 0.5
    low_r, high_r = bone.outer(0), bone.outer(bone.length)
    from_low = along + _look_up(_relief_table(bone.kind, "low"), place) * low_r
    from_high = bone.length - along + _look_up(_relief_table(bone.kind, "high"), place) * high_r
    inside = np.minimum(from_low, from_high)
    rounding = 0.45 * min(low_r, high_r)
    square = across * across
    outer = np.sqrt(np.maximum(outer_radius**2 - square, 0)) * _dome(inside, rounding)
    inner = np.sqrt(np.maximum((outer_radius - wall) ** 2 - square, 0)) * _dome(inside - 0.1 * bone.radius, rounding)
    inner = np.minimum(inner, outer)
    trabeculae = (0.03 + 0.24 * (1 - shaft)) * (1 + patch.texture)
    marrow = MU_FAT + (MU_BONE - MU_FAT) * trabeculae - MU_SOFT
    shadow = (2 * bone.depth) * ((MU_BONE - MU_SOFT) * (outer - inner) + marrow * inner)
    return _with_marks(bone, shadow, along, across)


def _with_marks(bone: Bone, shadow: Array, along: Array, across: Array) -> Array:
    """Growth plates and the nutrient canal: lines in a healthy bone that look like breaks and are none."""
    for end, reach in enumerate(bone.plates):
        if reach:
            place = reach if end == 0 else bone.length - reach
            wave = place + 0.12 * bone.radius * np.sin(across * (2.2 / bone.radius) + place)
            line = (along - wave) / (0.09 * bone.radius + 0.25)
            shadow = shadow * (1 - 0.75 * np.exp(-line * line) + 0.25 * np.exp(-0.4 * (np.abs(line) - 2.2) ** 2))
    if bone.canal:
        offset = along - bone.canal * bone.length
        line = (across - 0.55 * bone.radius - offset * 0.1) / (0.07 * bone.radius)
        shadow = shadow * (1 - 0.3 * np.exp(-line * line - (offset / (1.4 * bone.radius)) ** 2))
    return shadow


def _flesh_thickness(flesh: Flesh, frame: Frame, size: float) -> tuple[Array, Array]:
    """Thickness of all soft tissue and of the lean part of it, in mm, for the whole picture."""
    whole = (slice(0, frame.height), slice(0, frame.width))
    along, across = frame.axes(flesh.u, flesh.v, flesh.angle, whole)
    knots = np.linspace(0, 1, len(flesh.radii))
    radius = _look_up(_smooth(knots, np.multiply(flesh.radii, size)), along / flesh.length)
    end = min(flesh.radii[-1], 14.0) * size
    rounding = _dome(np.minimum(along, flesh.length - along), end)
    square = across * across
    both = 2 * flesh.depth * rounding * np.sqrt(np.maximum(radius**2 - square, 0))
    lean = 2 * flesh.depth * rounding * np.sqrt(np.maximum((radius - flesh.fat * size) ** 2 - square, 0))
    return both, np.minimum(lean, both)


@dataclass(frozen=True)
class Fracture:
    """A break of one bone: lengths in mm in the bone's frame.

    The cut runs through `place`; on the near and far side of the tube it lies at `place` plus `slope` (mm a mm
    across), with `wander` as its raggedness; `gap` is the width of the cleft; `step` the shift of the distal
    against the proximal end, `apex` the shift of both, `overlap` how far they slid into each other; all of them
    fade to none `fade` mm away. `pieces` are the splinters of a comminuted zone of half-length `zone`: shift in mm,
    turn in radians and lean of the split that follows (mm across a mm along).
    """

    kind: str
    place: float
    radius: float
    slope: tuple[float, float]
    gap: float
    step: float
    apex: float
    overlap: float
    fade: float
    zone: float
    wander: Array = field(repr=False)
    pieces: tuple[tuple[float, float, float], ...] = ()


def _draw_fracture(rng: Rng, kind: str, bone: Bone, along: float, pitch: float) -> Fracture:
    """Draw a fracture of `kind` `along` mm from the start of the bone; some are gross and some faint."""
    radius = min(bone.outer(along), 1.5 * bone.radius)
    severity = rng.uniform(0.15, 0.4) if rng.random() < 0.1 else rng.uniform(0.6, 1.0)
    side = float(rng.choice([-1, 1]))
    steep = {
        "transverse": rng.uniform(-0.15, 0.15),
        "oblique": side * rng.uniform(0.75, 1.5),
        "spiral": side * rng.uniform(2.2, 3.2),
        "comminuted": rng.uniform(-0.6, 0.6),
        "greenstick": rng.uniform(-0.25, 0.25),
    }[kind]
    gap = max(radius * (0.05 + 0.34 * severity), 2.0 * pitch)
    step = side * radius * severity * rng.uniform(0.4, 1.3)
    apex = float(rng.choice([-1, 1])) * radius * severity * rng.uniform(0.2, 0.9)
    overlap = radius * rng.uniform(-0.25, 0.2) * severity
    pieces: tuple[tuple[float, float, float], ...] = ()
    if kind == "greenstick":
        step, overlap, apex = 0.0, 0.0, side * radius * (0.3 + 0.6 * severity)
        gap *= 1.3
    if kind == "spiral":
        step *= 0.6
    if kind == "comminuted":
        pieces = tuple(
            (way * radius * rng.uniform(0.1, 0.6) * severity, rng.normal(0, 0.2 * severity), rng.normal(0, 0.3))
            for way in (-1.0, rng.uniform(-0.5, 0.5), 1.0)
        )
    other = -steep * rng.uniform(0.3, 1) if kind == "comminuted" else steep + float(rng.normal(0, 0.12))
    wander = np.interp(np.linspace(0, 1, _STEPS), np.linspace(0, 1, 14), rng.normal(0, 0.09, 14) * radius)
    reach = min(along, bone.length - along, (5.0 if kind == "greenstick" else 8.0) * radius)
    return Fracture(
        kind, along, radius, (steep, other), gap, step, apex, overlap,
        reach, radius * rng.uniform(0.7, 1.3), wander.astype(np.float32), pieces,
    )  # fmt: skip


def _cuts(fracture: Fracture, across: Array) -> tuple[Array, Array]:
    """Position along the bone of the cut on the near and on the far side of the tube, in mm."""
    x = np.clip(across / fracture.radius, -1.3, 1.3)
    ragged = fracture.place + _look_up(fracture.wander, x * 0.35 + 0.5)
    if fracture.kind != "spiral":
        near, far = fracture.slope
        return ragged + x * (near * fracture.radius), ragged + x * (far * fracture.radius)
    turn = np.arcsin(np.clip(x, -1, 1)) / math.pi
    rise = fracture.slope[0] * fracture.radius
    return ragged + rise * (turn - 0.5), ragged + rise * (0.5 - turn)


def _edge(distance: Array, softness: float) -> Array:
    """1 where `distance` is positive, 0 where negative, with a ramp as wide as `softness` mm."""
    ramp: Array = np.clip(distance / softness + 0.5, 0, 1)
    return ramp


def _broken_shadow(bone: Bone, fracture: Fracture, patch: Patch) -> Array:
    """Like `_bone_shadow`, of the bone in fragments."""
    fade = np.clip(1 - np.abs(patch.along - fracture.place) / fracture.fade, 0, 1)
    if fracture.kind == "greenstick":
        return _bent_shadow(bone, fracture, patch, fade)
    shattered = fracture.kind == "comminuted"
    half, soft = fracture.zone if shattered else fracture.gap / 2, 1.2 * patch.pitch
    shadow = np.zeros_like(patch.along)
    for way in (-1, 1):
        part = patch.moved(
            patch.along + (way * fracture.overlap / 2) * fade,
            patch.across - (fracture.apex + way * fracture.step / 2) * fade,
        )
        near, far = _cuts(fracture, part.across)
        if shattered:
            near = far = near if way < 0 else far
        mask = _edge(way * (part.along - near) - half, soft) + _edge(way * (part.along - far) - half, soft)
        shadow += _bone_shadow(bone, part) * (0.5 * mask)
    for piece in range(len(fracture.pieces)):
        shadow += _piece_shadow(bone, fracture, piece, patch)
    return shadow


def _bent_shadow(bone: Bone, fracture: Fracture, patch: Patch, fade: Array) -> Array:
    """A greenstick fracture: the bone bends and its cortex gapes on the convex side only."""
    part = patch.moved(patch.along, patch.across - fracture.apex * fade)
    near, _ = _cuts(fracture, part.across)
    convex = math.copysign(0.75 / fracture.radius, fracture.apex)
    opening = np.clip(part.across * convex + 0.45, 0, 1.2)
    cleft = _edge(fracture.gap / 2 * opening - np.abs(part.along - near), 1.2 * patch.pitch) * (opening > 0)
    shadow: Array = _bone_shadow(bone, part) * (1 - cleft)
    return shadow


def _piece_shadow(bone: Bone, fracture: Fracture, index: int, patch: Patch) -> Array:
    """One splinter of a comminuted zone: the part of the tube between two splits, shifted and turned."""
    shift, turn, lean = fracture.pieces[index]
    s, d = patch.along - fracture.place, patch.across - fracture.apex - shift
    s, d = s - turn * d, d + turn * s
    near, far = _cuts(fracture, d)
    part = patch.moved(s + fracture.place, d)
    soft, reach = 1.2 * patch.pitch, fracture.zone - fracture.gap / 2
    mask = _edge(part.along - near + reach, soft) * _edge(far + reach - part.along, soft)
    split, crack = fracture.radius / 3, 0.15 * fracture.gap
    if index > 0:
        mask = mask * _edge(d - split * (2 * index - 3) - fracture.pieces[index - 1][2] * s - crack, soft)
    if index < len(fracture.pieces) - 1:
        mask = mask * _edge(split * (2 * index - 1) + lean * s - d - crack, soft)
    return _bone_shadow(bone, part) * mask


def _fracture_box(bone: Bone, fracture: Fracture, frame: Frame) -> Box:
    """The box round the cleft, its displaced ends and the splinters, from their geometry alone."""
    r = fracture.radius
    reach = max(map(abs, fracture.slope)) * r + fracture.gap + abs(fracture.overlap) / 2 + 0.35 * r
    if fracture.kind == "comminuted":
        reach += fracture.zone
    shifts = [fracture.apex + way * fracture.step / 2 for way in (-1, 1)]
    shifts += [fracture.apex + shift for shift, _, _ in fracture.pieces]
    sides = (min(shifts) - 1.15 * r, max(shifts) + 1.15 * r)
    points = [frame.pixel(*bone.limb(fracture.place + end, side)) for end in (-reach, reach) for side in sides]
    x, y = [x / frame.width for x, _ in points], [y / frame.height for _, y in points]
    corners = (min(x), min(y), max(x), max(y))
    x0, y0, x1, y1 = (round(min(max(corner, 0.0), 1.0), 4) for corner in corners)
    return x0, y0, x1, y1, fracture.kind


def _texture(rng: Rng, shape: tuple[int, int], pitch: float) -> Array:
    """Trabecular pattern: noise between about 0.4 and 1.2 mm, mean 0, standard deviation near 0.16."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    fine, coarse = max(0.35 / pitch, 0.6), max(1.1 / pitch, 1.6)
    band = cv2.GaussianBlur(noise, (0, 0), fine) - cv2.GaussianBlur(noise, (0, 0), coarse)
    # The deviation of blurred white noise is 1 / (2 sigma sqrt(pi)); measuring it would tie all pixels together.
    return np.asarray(band * (0.16 * 2 * np.sqrt(np.pi) * fine), np.float32)


def _mottle(rng: Rng, shape: tuple[int, int], cells: int) -> Array:
    """A smooth random field in about [-2, 2], `cells` knots on a side."""
    grid = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _pose(rng: Rng, anatomy: Anatomy, laterality: str) -> Frame:
    """Draw size, orientation and centring of the picture."""
    bone = anatomy.bones[anatomy.focus[0]]
    along = anatomy.focus[1] * bone.length
    long_side = int(rng.integers(380, 641))
    short_side = int(long_side * rng.uniform(0.62, 0.9))
    landscape = rng.random() < 0.08
    turn = rng.normal(0, 0.045) + (np.pi / 2 * rng.choice([-1, 1]) if landscape else 0.0)
    u, v = bone.limb(along, 0.0)
    jitter = rng.uniform(-0.02, 0.02, 2) * anatomy.field_mm
    height, width = (short_side, long_side) if landscape else (long_side, short_side)
    return Frame(
        height, width, anatomy.field_mm / long_side, float(turn), 1 if laterality == "R" else -1,
        -1 if anatomy.distal_up else 1, (u * 0.9 + float(jitter[0]), v + float(jitter[1])),
    )  # fmt: skip


def _soft_integral(rng: Rng, anatomy: Anatomy, frame: Frame, size: float) -> Array:
    """Line integral through the soft tissue, with muscle mottle and the odd skin fold."""
    shape = (frame.height, frame.width)
    total, lean = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for flesh in anatomy.flesh:
        both, muscle = _flesh_thickness(flesh, frame, size)
        total, lean = np.maximum(total, both), np.maximum(lean, muscle)
    soft = MU_FAT * total + (MU_SOFT - MU_FAT) * lean
    soft *= 1 + 0.02 * _mottle(rng, shape, 6) + 0.008 * _mottle(rng, shape, 24)
    for _ in range(int(rng.integers(0, 3))):
        soft += _fold(rng, frame) * np.clip(total / 8, 0, 1)
    return np.asarray(soft, np.float32)


def _fold(rng: Rng, frame: Frame) -> Array:
    """A fold of skin or a crease of cloth: a thin curved line across the limb."""
    whole = (slice(0, frame.height), slice(0, frame.width))
    extent = frame.pitch * max(frame.height, frame.width)
    u, v = frame.centre[0], frame.centre[1] + rng.uniform(-0.45, 0.45) * extent
    along, across = frame.axes(u, v, rng.normal(0, 0.35), whole)
    line = (along - across * across * (rng.normal(0, 0.6) / extent)) / (rng.uniform(0.004, 0.008) * extent)
    return np.asarray(rng.choice([-0.03, 0.04]) * np.exp(-line * line), np.float32)


def _hardware(rng: Rng, anatomy: Anatomy, frame: Frame) -> Array:
    """Line integral of a plate with screws or of a nail on the bone in focus."""
    bone = anatomy.bones[anatomy.focus[0]]
    whole = (slice(0, frame.height), slice(0, frame.width))
    along, across = frame.axes(bone.u, bone.v, bone.angle, whole)
    along = along - bone.length * (anatomy.focus[1] + rng.uniform(-0.06, 0.06))
    radius, soft = bone.radius, 1.2 * frame.pitch
    if rng.random() < 0.3:
        nail = np.sqrt(np.maximum((0.2 * radius) ** 2 - across**2, 0)) * 2
        return np.asarray(MU_TITANIUM * nail * _edge(3.6 * radius - np.abs(along), soft), np.float32)
    side = float(rng.choice([-1, 1])) * radius * 0.95
    half = radius * rng.uniform(2.5, 4.0)
    plate = _edge(0.2 * radius - np.abs(across - side), soft) * _edge(half - np.abs(along), soft) * 4.0
    spacing = half / 2.5
    phase = np.abs((along + half) % spacing - spacing / 2)
    screw = 2 * np.sqrt(np.maximum((0.11 * radius) ** 2 - phase**2, 0)) * _edge(half - np.abs(along), soft)
    screw = screw * _edge(1.25 * radius - np.abs(across), soft)
    return np.asarray(MU_TITANIUM * np.maximum(plate, screw), np.float32)


def _marker(rng: Rng, frame: Frame, letter: str) -> Array:
    """The lead letter that names the side, as a mask in [0, 1] in one of the corners."""
    size = rng.uniform(0.045, 0.065) * max(frame.height, frame.width)
    x = frame.width * (0.13 if rng.random() < 0.5 else 0.87) + rng.normal(0, 0.012) * frame.width
    y = frame.height * (rng.uniform(0.12, 0.22) if rng.random() < 0.7 else rng.uniform(0.78, 0.88))
    tilt = rng.normal(0, 0.12)
    curve = [(0.25 * np.sin(a), -0.25 - 0.25 * np.cos(a)) for a in np.linspace(0, np.pi, 9)]
    strokes = {
        "L": [[(-0.3, -0.5), (-0.3, 0.5), (0.3, 0.5)]],
        "R": [[(-0.3, 0.5), (-0.3, -0.5), *curve, (-0.3, 0.0)], [(0.0, 0.0), (0.3, 0.5)]],
    }[letter]
    mask = np.zeros((frame.height, frame.width), np.uint8)
    turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    for stroke in strokes:
        points = np.array(stroke) @ turn.T * size + (x, y)
        cv2.polylines(
            mask, [np.round(points * 16).astype(np.int32)], False, 255, max(2, round(size * 0.16)), cv2.LINE_AA, 4
        )
    return mask.astype(np.float32) / 255


def _shutter(rng: Rng, frame: Frame) -> Array:
    """The collimated field as a mask in [0, 1]; outside it the picture is black."""
    height, width = frame.height, frame.width
    edges = np.where(rng.random(4) < 0.6, rng.uniform(0.005, 0.055, 4), -0.05).tolist()
    tilt = rng.normal(0, 0.006)
    rows = np.arange(height, dtype=np.float32)[:, None]
    cols = np.arange(width, dtype=np.float32)[None, :]
    x, y = cols + tilt * rows, rows - tilt * cols
    inside = np.minimum(
        np.minimum(x - edges[0] * width, (1 - edges[1]) * width - x),
        np.minimum(y - edges[2] * height, (1 - edges[3]) * height - y),
    )
    return np.asarray(np.clip(inside / 2.5 + 0.5, 0, 1), np.float32)


def _blurred(small: Array, share: float, shape: tuple[int, int]) -> Array:
    """`small` blurred over `share` of its longer side and enlarged to `shape`."""
    wide = cv2.GaussianBlur(small, (0, 0), max(small.shape) * share)
    return np.asarray(cv2.resize(wide, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _expose(exposure: Rng, noise: Rng, *, intact: Array, path: Array, shutter: Array) -> Pixels:
    """From line integrals to grey levels: `path` is what the beam meets, `intact` the limb alone and unbroken.

    Scatter, window and the large-scale part that the display compresses come from the intact limb, so that a
    fracture changes nothing but its own pixels. Quantum noise is a standard normal draw times the square root
    of the expected count: a Poisson draw would depend on the count itself, and a last-bit difference between
    two machines could turn into another draw; at a thousand photons and more the two distributions agree.
    """
    photons = exposure.uniform(2500, 9000)
    scatter, blur = exposure.uniform(0.04, 0.12), exposure.uniform(0.55, 0.85)
    compress, gamma = exposure.uniform(0.4, 0.55), exposure.uniform(1.35, 1.65)
    quantiles = [exposure.uniform(0.5, 4), exposure.uniform(99.6, 99.95)]
    height, width = intact.shape
    heel = 1 + 0.06 * exposure.normal() * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    small = np.asarray(cv2.resize(intact, (width // 8, height // 8), interpolation=cv2.INTER_AREA), np.float32)
    base = compress * _blurred(small, 0.12, (height, width))
    haze = scatter * _blurred(np.exp(-small), 0.08, (height, width))
    black, white = (float(level) for level in np.percentile((intact - base)[::3, ::3], quantiles))
    light = (cv2.GaussianBlur(np.exp(-path), (0, 0), blur) * (1 - scatter) + haze) * heel
    dose = photons / math.exp(-float(np.percentile(small, 75)))
    grain = noise.standard_normal((height, width), dtype=np.float32)
    light = np.maximum(light + grain * np.sqrt(np.maximum(light, 1e-4) / dose), 1e-4)
    grey = np.clip((-np.log(light) - base - black) / (white - black), 0, 1) ** gamma * 235 * shutter + 6
    return np.asarray(np.round(grey), np.uint8)


def _patches(anatomy: Anatomy, frame: Frame, texture: Array) -> Iterator[tuple[int, tuple[slice, slice], Patch]]:
    """For each bone that lies in the picture its number, the window of pixels it may touch and their patch."""
    for number, bone in enumerate(anatomy.bones):
        ends = [bone.limb(share * bone.length, 0) for share in (0.0, 0.5, 1.0)]
        window = frame.window(ends, 3.4 * bone.radius + 4)
        if min(side.stop - side.start for side in window) > 1:
            along, across = frame.axes(bone.u, bone.v, bone.angle, window)
            yield number, window, Patch(along, across, texture[window], frame.pitch)


def _fractures(rng: Rng, kind: str, anatomy: Anatomy, frame: Frame) -> dict[int, Fracture]:
    """Fractures by bone number: the bone in focus, near the middle of the picture, and at times its neighbour."""
    number, centre = anatomy.focus
    bone = anatomy.bones[number]
    along = min(max(centre + rng.uniform(-0.02, 0.02) * anatomy.field_mm / bone.length, 0.15), 0.93) * bone.length
    broken = {number: _draw_fracture(rng, kind, bone, along, frame.pitch)}
    if anatomy.partner is not None and rng.random() < 0.5:
        other = anatomy.bones[anatomy.partner]
        level = bone.v + along - other.v + rng.normal(0, 0.05) * anatomy.field_mm
        if 0.12 * other.length < level < 0.9 * other.length:
            broken[anatomy.partner] = _draw_fracture(rng, kind, other, level, frame.pitch)
    return broken


def _check_wish(region: str, view: str, fracture: str | None) -> None:
    """Refuse what cannot be drawn, naming what can."""
    wishes = (("region", region, REGIONS), ("view", view, VIEWS), ("fracture", fracture or TYPES[0], TYPES))
    for what, value, known in wishes:
        if value not in known:
            raise InputError(f"{what} {value!r} is not known; choose one of {', '.join(known)}")


def render(
    seed: int,
    region: str,
    view: str,
    fracture: str | None = None,
    *,
    patient: int | None = None,
    hardware: bool | None = None,
    laterality: str | None = None,
) -> Radiograph:
    """Make one radiograph of `region` in `view`, with a `fracture` (one of TYPES) or without (None).

    `patient` seeds what all pictures of a person share (bones, age, side, hardware; `seed` when None) and
    `seed` everything else; `hardware` and `laterality` ("L" or "R") overrule the draw. The same arguments with
    another `fracture` give the same picture outside the broken bone.

    Raises InputError for an unknown region, view or fracture.
    """
    _check_wish(region, view, fracture)
    person, pose = _stream(seed if patient is None else patient, "anatomy"), _stream(seed, "pose")
    young = bool(person.random() < 0.3)
    size = float(person.uniform(0.62, 0.88) if young else person.uniform(0.92, 1.08))
    drawn_side, drawn_metal = "LR"[int(person.integers(2))], bool(person.random() < HARDWARE_SHARE)
    laterality = laterality or drawn_side
    hardware = drawn_metal if hardware is None else hardware
    anatomy = _BUILDERS[region](person, view, size, young)
    anatomy = replace(anatomy, field_mm=anatomy.field_mm * pose.uniform(0.9, 1.1))
    frame = _pose(pose, anatomy, laterality)
    texture = _texture(pose, (frame.height, frame.width), frame.pitch)
    intact = _soft_integral(pose, anatomy, frame, size)
    path = 1.4 * _marker(pose, frame, laterality)
    shutter = _shutter(pose, frame)
    if hardware:
        path += _hardware(pose, anatomy, frame)
    path += intact
    broken = _fractures(_stream(seed, "fracture"), fracture, anatomy, frame) if fracture else {}
    for number, window, patch in _patches(anatomy, frame, texture):
        bone = anatomy.bones[number]
        shadow = _bone_shadow(bone, patch)
        intact[window] += shadow
        path[window] += _broken_shadow(bone, broken[number], patch) if number in broken else shadow
    pixels = _expose(_stream(seed, "exposure"), _stream(seed, "noise"), intact=intact, path=path, shutter=shutter)
    boxes = tuple(_fracture_box(anatomy.bones[number], one, frame) for number, one in broken.items())
    # The neighbour's fracture may lie outside the picture; that of the bone in focus never does.
    boxes = tuple(box for box in boxes if min(box[2] - box[0], box[3] - box[1]) >= 0.02)
    return Radiograph(pixels, region, view, laterality, hardware, fracture, boxes)


@dataclass(frozen=True)
class Plan:
    """One picture of the data set before it is made; `person` seeds the patient, `seed` the picture."""

    patient: int
    person: int
    seed: int
    region: str
    view: str
    fracture: str | None
    laterality: str
    hardware: bool


def _plan(count: int, seed: int, classes: str) -> list[Plan]:
    """Decide patients, regions, views and fractures; nothing but the fracture depends on the label.

    Patients come in rounds of one for each region, and patients of one region with as many pictures are owed
    fractures in turn, the sides alternate, so that neither region, number of pictures nor side gives the label away.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, len(_STREAMS)])))
    plans: list[Plan] = []
    owed = {(region, size): float(rng.random()) for region in REGIONS for size in (1, 2, 3)}
    kinds: list[str] = []
    sides = [0, 0]
    patient = 0
    while len(plans) < count:
        for region in (REGIONS[i] for i in rng.permutation(len(REGIONS))):
            patient += 1
            person = int(rng.integers(2**62))
            views = [VIEWS[i] for i in rng.permutation(len(VIEWS))[: rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15])]]
            metal = bool(rng.random() < HARDWARE_SHARE)
            group = (region, len(views))
            owed[group] += FRACTURED_SHARE[classes]
            fracture = None
            if owed[group] >= rng.uniform(0.5, 1.5):
                owed[group] -= 1
                kinds = kinds or [TYPES[i] for i in rng.permutation(len(TYPES))]
                fracture = kinds.pop()
            sides[fracture is None] += 1
            side = "LR"[sides[fracture is None] % 2]
            plans += [
                Plan(patient, person, int(rng.integers(2**62)), region, view, fracture, side, metal) for view in views
            ]
    return [plans[i] for i in rng.permutation(count)]


def _make(plan: Plan) -> tuple[bytes, Radiograph]:
    picture = render(
        plan.seed, plan.region, plan.view, plan.fracture,
        patient=plan.person, hardware=plan.hardware, laterality=plan.laterality,
    )  # fmt: skip
    done, content = cv2.imencode(".png", picture.pixels)
    if not done:
        raise RuntimeError("PNG encoding failed")
    return content.tobytes(), picture


def _pictures(plans: list[Plan], workers: int | None) -> Iterator[tuple[bytes, Radiograph]]:
    """Make the pictures in order on `workers` threads (all cores when None); NumPy and OpenCV free the lock."""
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        yield from pool.map(_make, plans)


def fill(
    folder: Path,
    count: int = 400,
    seed: int = 7,
    classes: str = "binary",
    force: bool = False,
    *,
    workers: int | None = None,
) -> DatasetInfo:
    """Write the synthetic data set of `count` images into `folder`.

    Raises InputError for a count below MIN_COUNT, a negative seed or classes other than those of CLASSES, and
    when `folder` holds another data set and `force` is off.
    """
    if count < MIN_COUNT:
        raise InputError(f"--count {count} is too small to split; give at least {MIN_COUNT}")
    if seed < 0:
        raise InputError(f"--seed {seed} is negative; give 0 or more")
    if classes not in CLASSES:
        raise InputError(f"--classes {classes!r} is not known; choose one of {', '.join(CLASSES)}")
    info = DatasetInfo(
        name="sample",
        version="1",
        licence="CC0-1.0",
        citation="Synthetic radiographs made by `fracture data sample`; no patient is shown.",
        source="sample",
        classes=CLASSES[classes],
        options={"count": count, "seed": seed, "classes": classes},
    )
    plans = _plan(count, seed, classes)
    with rebuild(folder, info, force) as building:
        made = track(_pictures(plans, workers), "making radiographs", count)
        for number, (plan, (content, picture)) in enumerate(zip(plans, made, strict=True)):
            kind = plan.fracture or "normal"
            building.add(
                f"s{number:05d}",
                ".png",
                content,
                "fractured" if classes == "binary" and plan.fracture else kind,
                boxes=picture.boxes,
                patient_id=f"p{plan.patient:04d}",
                study_id=f"p{plan.patient:04d}-1",
                region=plan.region,
                view=plan.view,
                laterality=plan.laterality,
                hardware="1" if plan.hardware else "0",
                fracture_type=plan.fracture or "",
                source="sample",
            )
    return info
