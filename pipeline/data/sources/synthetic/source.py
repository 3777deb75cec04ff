"""The synthetic data set, written into data/."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

from pipeline.data.layout import DatasetInfo, rebuild
from pipeline.data.sources.synthetic.plan import CLASSES, Plan, draw_plans
from pipeline.data.sources.synthetic.radiograph import Radiograph, render
from pipeline.errors import InputError
from pipeline.progress import track

MIN_COUNT = 20


def make_picture(plan: Plan) -> tuple[bytes, Radiograph]:
    """The picture of a plan, and the same as a PNG file."""
    picture = render(
        plan.seed,
        plan.region,
        plan.view,
        plan.fracture,
        patient=plan.person,
        hardware=plan.hardware,
        laterality=plan.laterality,
    )
    done, content = cv2.imencode(".png", picture.pixels)
    if not done:
        raise RuntimeError("PNG encoding failed")
    return content.tobytes(), picture


def _pictures(plans: list[Plan], workers: int | None) -> Iterator[tuple[bytes, Radiograph]]:
    """Make the pictures in order on `workers` threads (all cores when None); NumPy and OpenCV free the lock."""
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        yield from pool.map(make_picture, plans)


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
    plans = draw_plans(count, seed, classes)
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
