"""Bones and soft tissue as line integrals of attenuation, one for each pixel."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.data.sources.synthetic.anatomy import KINDS, Anatomy, Bone, Flesh, relief_table, shaft_table, width_table
from pipeline.data.sources.synthetic.curves import Array, look_up, smooth
from pipeline.data.sources.synthetic.streams import Rng

# Linear attenuation in 1/mm at 50 keV, an effective energy of an extremity's beam: mass attenuation (cm2/g) times
# density (g/cm3) of ICRU-44 cortical bone, soft tissue and adipose tissue (also yellow marrow) and of titanium,
# from Hubbell and Seltzer, Tables of X-Ray Mass Attenuation Coefficients, NISTIR 5632.
MU_BONE = 0.4242 * 1.92 / 10
MU_SOFT = 0.2264 * 1.06 / 10
MU_FAT = 0.2123 * 0.95 / 10
MU_TITANIUM = 1.213 * 4.54 / 10


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


def bone_shadow(bone: Bone, patch: Patch) -> Array:
    """What a bone adds to the line integral where it takes the place of soft tissue, for each pixel."""
    along, across = patch.along, patch.across
    t = along / bone.length
    across = across - bone.bow * 4 * np.clip(t * (1 - t), 0, 1)
    outer_radius = look_up(width_table(bone.kind), t) * bone.radius
    shaft = look_up(shaft_table(bone.kind), t)
    wall = bone.radius * (0.10 + (KINDS[bone.kind].cortex - 0.10) * shaft)
    place = np.clip(across / outer_radius, -1, 1) * 0.5 + 0.5
    low_r, high_r = bone.outer(0), bone.outer(bone.length)
    from_low = along + look_up(relief_table(bone.kind, "low"), place) * low_r
    from_high = bone.length - along + look_up(relief_table(bone.kind, "high"), place) * high_r
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
    radius = look_up(smooth(knots, np.multiply(flesh.radii, size)), along / flesh.length)
    end = min(flesh.radii[-1], 14.0) * size
    rounding = _dome(np.minimum(along, flesh.length - along), end)
    square = across * across
    both = 2 * flesh.depth * rounding * np.sqrt(np.maximum(radius**2 - square, 0))
    lean = 2 * flesh.depth * rounding * np.sqrt(np.maximum((radius - flesh.fat * size) ** 2 - square, 0))
    return both, np.minimum(lean, both)


def draw_texture(rng: Rng, shape: tuple[int, int], pitch: float) -> Array:
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


def draw_pose(rng: Rng, anatomy: Anatomy, laterality: str) -> Frame:
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
        height,
        width,
        anatomy.field_mm / long_side,
        float(turn),
        1 if laterality == "R" else -1,
        -1 if anatomy.distal_up else 1,
        (u * 0.9 + float(jitter[0]), v + float(jitter[1])),
    )


def soft_tissue_integral(rng: Rng, anatomy: Anatomy, frame: Frame, size: float) -> Array:
    """Attenuation along each ray through the soft tissue, with muscle mottle and the odd skin fold.

    Shape (frame.height, frame.width), float32, without a unit: attenuation per millimetre times millimetres. `size` is
    the subject's, 1 for an average one.
    """
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


def patches_of(anatomy: Anatomy, frame: Frame, texture: Array) -> Iterator[tuple[int, tuple[slice, slice], Patch]]:
    """For each bone that lies in the picture its number, the window of pixels it may touch and their patch."""
    for number, bone in enumerate(anatomy.bones):
        ends = [bone.limb(share * bone.length, 0) for share in (0.0, 0.5, 1.0)]
        window = frame.window(ends, 3.4 * bone.radius + 4)
        if min(side.stop - side.start for side in window) > 1:
            along, across = frame.axes(bone.u, bone.v, bone.angle, window)
            yield number, window, Patch(along, across, texture[window], frame.pitch)
