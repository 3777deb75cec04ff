"""What each step of the canonical form does (`python -m benchmarks.robustness.steps --help`).

    python -m benchmarks.robustness.steps unchanged            what it does to images that need nothing, and its cost
    python -m benchmarks.robustness.steps changes              how well it undoes each change
    python -m benchmarks.robustness.steps slants               whether frames are found at any slant, and polarity kept

`data/` holds the images; the parts are those of a release's split.
"""

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the service does before numpy is imported

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.robustness.changes import CHANGES, Changed
from pipeline.data import layout
from pipeline.training.trained import newest_release
from serving.imaging import decode
from serving.imaging.canonical.field import Field, find_field
from serving.imaging.canonical.form import HEADS, Heads, canonical, read_heads
from serving.imaging.canonical.intensity import robust_range, spread
from serving.imaging.canonical.orientation import CERTAIN
from serving.imaging.canonical.polarity import INVERTED
from serving.imaging.canvas import Steps

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

ALL = Steps(field=True, range=True, polarity=True, orientation=True)
_STEPS = ("field", "range", "polarity", "orientation")
_SLANTED_ON, _SLANTS = (255, 200, 128, 0), (5, 10, 15, 25, 40)
_DECODED = 672
_COMPARED = 256


@dataclass(frozen=True)
class Case:
    """An image of the split, decoded as the service does, with its label and boxes (k, 4) in fractions."""

    image_id: str
    fractured: bool
    boxes: Array
    pixels: Pixels


def read(data: Path, part: str, images: int = 0, seed: int = 0) -> list[Case]:
    """Images of one part: all, or so many, half of them fractured where there are enough."""
    found = layout.read(data)
    rows = pd.read_csv(newest_release(Path()).parent / "split.csv", dtype=str)
    rows = rows[rows["part"] == part]
    if images:
        shuffled = rows.sample(frac=1, random_state=seed)
        fractured = shuffled[shuffled["label"] == "fractured"].head(images // 2)
        normal = shuffled[shuffled["label"] == "normal"].head(images - len(fractured))
        rows = pd.concat([fractured, normal])
    files = found.labels.set_index("image_id")["file"]
    boxes = found.boxes.groupby("image_id")
    cases = []
    for image_id, label in zip(rows["image_id"], rows["label"], strict=True):
        own = boxes.get_group(image_id)[["x0", "y0", "x1", "y1"]] if image_id in boxes.groups else pd.DataFrame()
        corners = own.to_numpy(np.float64).reshape(-1, 4)
        pixels = decode.decode((data / str(files[image_id])).read_bytes(), _DECODED).pixels
        cases.append(Case(image_id, label == "fractured", corners, pixels))
    return cases


def loses(field: Field, boxes: Array, width: int, height: int) -> bool:
    """Whether a pixel of one of the boxes lies outside of the field."""
    inside = np.zeros((height, width), bool)
    left, top, right, bottom = field.bounds(width, height)
    inside[top:bottom, left:right] = field.mask(width, height)
    corners = np.clip(boxes, 0, 1) * (width, height, width, height)
    return any(not inside[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))].all() for x0, y0, x1, y1 in corners)


def overlap(found: Array, true: Array) -> tuple[float, float, float]:
    """Of two convex outlines: intersection over union, share of the found beyond the true one, share of that lost."""
    a, b = found.astype(np.float32), true.astype(np.float32)
    shared, area, wanted = cv2.intersectConvexConvex(a, b)[0], cv2.contourArea(a), cv2.contourArea(b)
    return shared / (area + wanted - shared), 1 - shared / area, 1 - shared / wanted


def unchanged(cases: Sequence[Case], steps: Steps, heads: Heads) -> None:
    """What the steps do to images that need nothing, and what they cost."""
    forms = [canonical(case.pixels, steps, heads) for case in cases]
    found = sum(form.field.found for form in forms)
    cut = [c.image_id for c, f in zip(cases, forms, strict=True) if loses(f.field, c.boxes, *c.pixels.shape[::-1])]
    boxed = sum(len(case.boxes) > 0 for case in cases)
    areas = [cv2.contourArea(form.field.polygon.astype(np.float32)) for form in forms]
    print(f"images {len(cases)}, with boxes {boxed}")
    print(
        f"something cut off of {found} ({found / len(cases):.1%}), "
        f"more than a tenth of {np.mean(np.array(areas) < 0.9):.1%}"
    )
    print(f"a pixel of a box lost: {len(cut)} {cut}")
    inverted = [case.image_id for case, form in zip(cases, forms, strict=True) if form.inverted >= INVERTED]
    print(f"taken for inverted: {len(inverted)} ({len(inverted) / len(cases):.2%}) {inverted}")
    turns = np.array([form.turns for form in forms])
    for certain in (0.5, 0.8, 0.9, 0.95, CERTAIN):
        wrong = int((turns[:, 1:].max(axis=1) >= certain).sum())
        print(
            f"turned wrongly at {certain}: {wrong} ({wrong / len(cases):.2%}); "
            f"of quarter turns {(turns[:, 0] >= certain).mean():.1%} would be turned back"
        )
    _costs(cases, heads)


def _costs(cases: Sequence[Case], heads: Heads) -> None:
    """Median milliseconds of each step, one thread, images scaled so that their longer side has 448 pixels."""
    scaled = []
    for case in cases[:200]:
        factor = 448 / max(case.pixels.shape)
        scaled.append(np.asarray(cv2.resize(case.pixels, None, fx=factor, fy=factor), np.uint8))
    heads_of = {"polarity": heads.polarity, "orientation": heads.orientation}
    work = {
        "field": find_field,
        "range": lambda pixels: spread(pixels, *robust_range(pixels)),
        **{name: head for name, head in heads_of.items() if head},
        "all": lambda pixels: canonical(pixels, ALL, heads),
    }
    framed = [
        np.asarray(CHANGES["slanted_grey_frame_6"](one, np.random.default_rng(0)).pixels, np.uint8) for one in scaled
    ]
    for kind, images in (("unchanged", scaled), ("slanted grey frame", framed)):
        told = []
        for name, step in work.items():
            spent = []
            for pixels in images:
                begin = time.perf_counter()
                step(pixels)
                spent.append(1000 * (time.perf_counter() - begin))
            told.append(f"{name} {np.median(spent):.2f} ({np.percentile(spent, 95):.2f})")
        print(f"milliseconds, median (95th percentile), {kind}: " + ", ".join(told))


def changes(cases: Sequence[Case], steps: Steps, heads: Heads, names: Sequence[str], certain: float) -> None:
    """How well each change is undone; a table."""
    print(
        "| change | outline: median IoU | IoU >= 0.9 | frame left > 2 % | cut > 10 % | box cut | polarity right "
        "| turned right | difference before | after |"
    )
    print("|" + " --- |" * 10)
    first = [canonical(case.pixels, steps, heads, certain) for case in cases]
    for name in names:
        rows, cut, boxed, polarity_right, turn_right, before, after = [], 0, 0, 0, 0, [], []
        for index, (case, own) in enumerate(zip(cases, first, strict=True)):
            changed = CHANGES[name](case.pixels, np.random.default_rng(index))
            form = canonical(changed.pixels, steps, heads, certain)
            rows.append(overlap(form.field.polygon, _clipped(changed)))
            moved = changed.boxes(case.boxes)
            if len(moved) and not ((moved < -1e-9) | (moved > 1 + 1e-9)).any():
                boxed += 1
                cut += loses(form.field, moved, *changed.pixels.shape[::-1])
            polarity_right += (form.inverted >= INVERTED) == (name == "inverted")
            turned = {"turned_90": 1, "turned_180": 2, "turned_270": 3}.get(name, 0)
            turn_right += form.quarters == turned
            before.append(_apart(_eight(changed.pixels), case.pixels))
            after.append(_apart(form.pixels, own.pixels))
        iou, beyond, lost = np.array(rows).T
        count = len(cases)
        print(
            f"| {name} | {np.median(iou):.3f} | {np.mean(iou >= 0.9):.1%} | {np.mean(beyond > 0.02):.1%} "
            f"| {np.mean(lost > 0.1):.1%} | {cut} of {boxed} | {polarity_right / count:.1%} | {turn_right / count:.1%} "
            f"| {np.mean(before):.1f} | {np.mean(after):.1f} |", flush=True,
        )  # fmt: skip


def slants(cases: Sequence[Case], steps: Steps, heads: Heads) -> None:
    """Whether the field of an image turned by any angle on one grey is found, and its polarity kept; a table."""
    print("| grey | slant | field found | taken for inverted |")
    print("|" + " --- |" * 4)
    for level in _SLANTED_ON:
        for degrees in _SLANTS:
            forms = [canonical(_slanted(case.pixels, level, degrees), steps, heads) for case in cases]
            found = sum(not form.field.upright for form in forms)
            inverted = sum(form.inverted >= INVERTED for form in forms)
            print(f"| {level} | {degrees} | {found} of {len(cases)} | {inverted} |", flush=True)


def _slanted(pixels: Pixels, level: int, degrees: float) -> Pixels:
    """The whole image, turned anticlockwise."""
    height, width = pixels.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    size = round(width * cosine + height * sine), round(width * sine + height * cosine)
    turn[:, 2] += ((size[0] - width) / 2, (size[1] - height) / 2)
    turned = cv2.warpAffine(pixels, turn, size, borderMode=cv2.BORDER_CONSTANT, borderValue=float(level))
    return np.asarray(turned, np.uint8)


def _clipped(changed: Changed) -> Array:
    """The true outline within the changed picture."""
    whole = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    return np.asarray(
        cv2.intersectConvexConvex(changed.field().astype(np.float32), whole)[1].reshape(-1, 2), np.float64
    )


def _eight(pixels: npt.NDArray[np.number]) -> Pixels:
    return np.asarray(pixels) if pixels.dtype == np.uint8 else decode.stretch(pixels.astype(np.float32))


def _apart(a: Pixels, b: Pixels) -> float:
    """Mean absolute difference in grey levels, both brought to one square."""
    small = [cv2.resize(one, (_COMPARED, _COMPARED), interpolation=cv2.INTER_AREA).astype(int) for one in (a, b)]
    return float(np.abs(small[0] - small[1]).mean())


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("unchanged", "changes", "slants"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--part", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--images", type=int, default=0, help="so many of the part, half fractured; 0: all")
    parser.add_argument("--steps", nargs="*", default=_STEPS, choices=_STEPS, help="the steps switched on")
    parser.add_argument("--certain", type=float, default=CERTAIN, help="probability from which a picture is turned")
    parser.add_argument("--only", nargs="+", default=list(CHANGES), choices=list(CHANGES), metavar="CHANGE")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    steps = Steps(
        field="field" in given.steps,
        range="range" in given.steps,
        polarity="polarity" in given.steps,
        orientation="orientation" in given.steps,
    )
    cases = read(given.data, given.part, given.images)
    heads, _ = read_heads(HEADS, ALL)
    if given.what == "unchanged":
        unchanged(cases, steps, heads)
    elif given.what == "slants":
        slants(cases, steps, heads)
    else:
        changes(cases, steps, heads, given.only, given.certain)


if __name__ == "__main__":
    main()
