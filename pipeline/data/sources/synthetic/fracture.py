"""Fractures: a bone cut into fragments that are moved, turned or bent."""

import math
from dataclasses import dataclass, field

import numpy as np

from pipeline.data.sources.synthetic.anatomy import Anatomy, Bone
from pipeline.data.sources.synthetic.curves import STEPS, Array, look_up, soft_edge
from pipeline.data.sources.synthetic.projection import Frame, Patch, bone_shadow
from pipeline.data.sources.synthetic.streams import Rng

Box = tuple[float, float, float, float, str]
TYPES = ("transverse", "oblique", "spiral", "comminuted", "greenstick")


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
    wander = np.interp(np.linspace(0, 1, STEPS), np.linspace(0, 1, 14), rng.normal(0, 0.09, 14) * radius)
    reach = min(along, bone.length - along, (5.0 if kind == "greenstick" else 8.0) * radius)
    return Fracture(
        kind,
        along,
        radius,
        (steep, other),
        gap,
        step,
        apex,
        overlap,
        reach,
        radius * rng.uniform(0.7, 1.3),
        wander.astype(np.float32),
        pieces,
    )


def _cuts(fracture: Fracture, across: Array) -> tuple[Array, Array]:
    """Position along the bone of the cut on the near and on the far side of the tube, in mm."""
    x = np.clip(across / fracture.radius, -1.3, 1.3)
    ragged = fracture.place + look_up(fracture.wander, x * 0.35 + 0.5)
    if fracture.kind != "spiral":
        near, far = fracture.slope
        return ragged + x * (near * fracture.radius), ragged + x * (far * fracture.radius)
    turn = np.arcsin(np.clip(x, -1, 1)) / math.pi
    rise = fracture.slope[0] * fracture.radius
    return ragged + rise * (turn - 0.5), ragged + rise * (0.5 - turn)


def broken_shadow(bone: Bone, fracture: Fracture, patch: Patch) -> Array:
    """Like `bone_shadow`, of the bone in fragments."""
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
        mask = soft_edge(way * (part.along - near) - half, soft) + soft_edge(way * (part.along - far) - half, soft)
        shadow += bone_shadow(bone, part) * (0.5 * mask)
    for piece in range(len(fracture.pieces)):
        shadow += _piece_shadow(bone, fracture, piece, patch)
    return shadow


def _bent_shadow(bone: Bone, fracture: Fracture, patch: Patch, fade: Array) -> Array:
    """A greenstick fracture: the bone bends and its cortex gapes on the convex side only."""
    part = patch.moved(patch.along, patch.across - fracture.apex * fade)
    near, _ = _cuts(fracture, part.across)
    convex = math.copysign(0.75 / fracture.radius, fracture.apex)
    opening = np.clip(part.across * convex + 0.45, 0, 1.2)
    cleft = soft_edge(fracture.gap / 2 * opening - np.abs(part.along - near), 1.2 * patch.pitch) * (opening > 0)
    shadow: Array = bone_shadow(bone, part) * (1 - cleft)
    return shadow


def _piece_shadow(bone: Bone, fracture: Fracture, index: int, patch: Patch) -> Array:
    """One splinter of a comminuted zone: the part of the tube between two splits, shifted and turned."""
    shift, turn, lean = fracture.pieces[index]
    s, d = patch.along - fracture.place, patch.across - fracture.apex - shift
    s, d = s - turn * d, d + turn * s
    near, far = _cuts(fracture, d)
    part = patch.moved(s + fracture.place, d)
    soft, reach = 1.2 * patch.pitch, fracture.zone - fracture.gap / 2
    mask = soft_edge(part.along - near + reach, soft) * soft_edge(far + reach - part.along, soft)
    split, crack = fracture.radius / 3, 0.15 * fracture.gap
    if index > 0:
        mask = mask * soft_edge(d - split * (2 * index - 3) - fracture.pieces[index - 1][2] * s - crack, soft)
    if index < len(fracture.pieces) - 1:
        mask = mask * soft_edge(split * (2 * index - 1) + lean * s - d - crack, soft)
    return bone_shadow(bone, part) * mask


def fracture_box(bone: Bone, fracture: Fracture, frame: Frame) -> Box:
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


def draw_fractures(rng: Rng, kind: str, anatomy: Anatomy, frame: Frame) -> dict[int, Fracture]:
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
