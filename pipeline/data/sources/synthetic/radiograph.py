"""One synthetic radiograph, from a seed."""

from dataclasses import dataclass, field, replace

from pipeline.data.sources.synthetic.anatomy import ANATOMIES, REGIONS, VIEWS
from pipeline.data.sources.synthetic.exposure import Pixels, expose, hardware_integral, marker_mask, shutter_mask
from pipeline.data.sources.synthetic.fracture import TYPES, Box, broken_shadow, draw_fractures, fracture_box
from pipeline.data.sources.synthetic.projection import (
    bone_shadow,
    draw_pose,
    draw_texture,
    patches_of,
    soft_tissue_integral,
)
from pipeline.data.sources.synthetic.streams import random_stream
from pipeline.errors import InputError

HARDWARE_SHARE = 0.06


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
    person, pose = random_stream(seed if patient is None else patient, "anatomy"), random_stream(seed, "pose")
    young = bool(person.random() < 0.3)
    size = float(person.uniform(0.62, 0.88) if young else person.uniform(0.92, 1.08))
    drawn_side, drawn_metal = "LR"[int(person.integers(2))], bool(person.random() < HARDWARE_SHARE)
    laterality = laterality or drawn_side
    hardware = drawn_metal if hardware is None else hardware
    anatomy = ANATOMIES[region](person, view, size, young)
    anatomy = replace(anatomy, field_mm=anatomy.field_mm * pose.uniform(0.9, 1.1))
    frame = draw_pose(pose, anatomy, laterality)
    texture = draw_texture(pose, (frame.height, frame.width), frame.pitch)
    intact = soft_tissue_integral(pose, anatomy, frame, size)
    path = 1.4 * marker_mask(pose, frame, laterality)
    shutter = shutter_mask(pose, frame)
    if hardware:
        path += hardware_integral(pose, anatomy, frame)
    path += intact
    broken = draw_fractures(random_stream(seed, "fracture"), fracture, anatomy, frame) if fracture else {}
    for number, window, patch in patches_of(anatomy, frame, texture):
        bone = anatomy.bones[number]
        shadow = bone_shadow(bone, patch)
        intact[window] += shadow
        path[window] += broken_shadow(bone, broken[number], patch) if number in broken else shadow
    pixels = expose(
        random_stream(seed, "exposure"), random_stream(seed, "noise"), intact=intact, path=path, shutter=shutter
    )
    boxes = tuple(fracture_box(anatomy.bones[number], one, frame) for number, one in broken.items())
    # The neighbour's fracture may lie outside the picture; that of the bone in focus never does.
    boxes = tuple(box for box in boxes if min(box[2] - box[0], box[3] - box[1]) >= 0.02)
    return Radiograph(pixels, region, view, laterality, hardware, fracture, boxes)
