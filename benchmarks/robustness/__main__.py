"""What changes that radiographs from elsewhere carry do to the answers of a bundle.

    python -m benchmarks.robustness data                              the test set of the bundle's release
    python -m benchmarks.robustness --bundle build/bundle/1 data --split prepared/split.csv --part validation

For each change: the share of images refused and warned of, AUROC of the others and how far it lies below that of the
unchanged images, sensitivity and specificity at the operating points, and the mean change of the probability. Whole
files are made and answered, as a service would. What is measured is kept in `--state`, so that a run that was stopped
goes on; `--record` is what `fracture release` reads, `--output` a table in Markdown.
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the service does before numpy is imported

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import measure
from benchmarks.robustness.changes import CHANGES, NEVER_TRAINED, change
from benchmarks.robustness.objects import OBJECTS
from pipeline.artifacts import Artifacts, ChangeMetrics, Robustness
from pipeline.data import layout
from pipeline.errors import InputError, exit_with_line
from pipeline.evaluation import metrics, tables
from pipeline.files import sha256_file, write_json, write_text
from pipeline.progress import progress_bar
from serving import bundle
from serving.decision import Decision
from serving.errors import ImageError
from serving.imaging import decode
from serving.predictor import Predictor

Array = npt.NDArray[np.float64]
Grey = npt.NDArray[np.uint8]

STATE = Path("build/robustness.json")
RESAMPLES = 300
_SEED = 7
NAMES = (*CHANGES, *OBJECTS)
_POINTS = ("high_sensitivity", "high_specificity")


@dataclass(frozen=True)
class Case:
    """An image of the part: its file, group, label, and boxes (k, 4) in fractions of the upright image."""

    image_id: str
    path: Path
    group: str
    fractured: bool
    boxes: list[list[float]]


@dataclass(frozen=True)
class Told:
    """What became of one changed image: its probability, or why there is none; None where a box would be cut."""

    image_id: str
    probability: float | None
    refused: str
    warnings: tuple[str, ...]


def read(data: Path, split: Path, part: str, images: int) -> list[Case]:
    """The images of one part of a split; so many of them, drawn at random, where `images` is not 0."""
    found = layout.read(data)
    rows = pd.read_csv(split, dtype=str, keep_default_na=False)
    rows = rows[rows["part"] == part]
    if images:
        rows = rows.sample(min(images, len(rows)), random_state=_SEED).sort_index()
    files = found.labels.set_index("image_id")["file"]
    boxes = {str(name): table[["x0", "y0", "x1", "y1"]] for name, table in found.boxes.groupby("image_id")}
    missing = sorted(set(rows["image_id"]) - set(files.index))
    if missing or not len(rows):
        raise InputError(f"{split}: names {missing[0] if missing else 'no image of part ' + part}; not in {data}")
    return [
        Case(
            row.image_id, data / str(files[row.image_id]), row.group, row.label != found.info.classes[0],
            boxes[row.image_id].to_numpy(float).tolist() if row.image_id in boxes else [],
        )
        for row in rows.itertuples(index=False)
    ]  # fmt: skip


def content_of(name: str, pixels: Grey, case: Case) -> bytes | None:
    """A file with the changed image; None where the change would cut a box."""
    if name in OBJECTS:
        return OBJECTS[name](pixels)
    seed = int.from_bytes(case.image_id.encode()[-6:], "little") % 2**31
    changed = change(name, pixels, np.array(case.boxes, np.float64).reshape(-1, 4), seed)
    if changed is None:
        return None
    _, content = cv2.imencode(".png", changed[0], [cv2.IMWRITE_PNG_COMPRESSION, 0])
    return content.tobytes()


def tell(predictor: Predictor, name: str, case: Case) -> Told | None:
    """Change one image and ask for its answer."""
    pixels = decode.decode(case.path.read_bytes()).pixels
    content = content_of(name, pixels, case)
    if content is None:
        return None
    try:
        found = predictor.predict(content)
    except ImageError as error:
        return Told(case.image_id, None, error.code, ())
    return Told(case.image_id, found.probability, "", tuple(note.code for note in found.warnings))


def run(
    predictor: Predictor, cases: Sequence[Case], names: Sequence[str], known: dict[str, Any], keep: Callable[[], None]
) -> None:
    """Measure each change that is not in `known`, and put it there; `keep` is called after each."""
    left = [name for name in names if name not in known]
    with (
        ThreadPoolExecutor(measure.cores()) as pool,
        progress_bar("robustness: changed images", len(left) * len(cases)) as advance,
    ):
        for name in left:
            told = []
            for one in pool.map(lambda case, name=name: tell(predictor, name, case), cases):
                told += [asdict(one)] if one else []
                advance()
            known[name] = told
            keep()


def table(cases: Sequence[Case], known: dict[str, Any], decision: Decision) -> list[ChangeMetrics]:
    """One row per change, the unchanged images first."""
    of = {case.image_id: case for case in cases}
    plain = {one["image_id"]: one["probability"] for one in known["none"] if one["probability"] is not None}
    rows = []
    for name, told in known.items():
        answered = [one for one in told if one["probability"] is not None]
        compared = [one for one in answered if one["image_id"] in plain]
        figures = _figures(
            np.array([of[one["image_id"]].fractured for one in compared], np.int64),
            np.array([one["probability"] for one in compared], np.float64),
            np.array([plain[one["image_id"]] for one in compared], np.float64),
            pd.factorize(np.array([of[one["image_id"]].group for one in compared]))[0],
            decision,
        )
        rows.append(
            ChangeMetrics(
                change=name,
                never_trained=name in NEVER_TRAINED,
                images=len(told),
                refused=1 - len(answered) / max(len(told), 1),
                warned=sum(bool(one["warnings"]) for one in answered) / max(len(told), 1),
                **figures,
            )
        )
    return rows


def _figures(
    y: npt.NDArray[np.int64], now: Array, was: Array, groups: npt.NDArray[np.int64], decision: Decision
) -> dict[str, float | None]:
    """What is measured of the answers for changed images, paired with those for the same images unchanged."""
    names = [f"{figure}_at_{point}" for point in _POINTS for figure in ("sensitivity", "specificity")]
    if len(set(y.tolist())) < 2:
        whole = ("auroc", "auroc_change", "auroc_change_low", "auroc_change_high", *names, "probability_change")
        return dict.fromkeys(whole)
    weights, ones = metrics.bootstrap_weights(groups, RESAMPLES, _SEED), np.ones((1, len(y)))
    low, high = metrics.interval(metrics.auroc(y, now, weights) - metrics.auroc(y, was, weights))
    at_points = [metrics.at_threshold(y, now, ones, getattr(decision, point)) for point in _POINTS]
    return {
        "auroc": float(metrics.auroc(y, now, ones)[0]),
        "auroc_change": float((metrics.auroc(y, now, ones) - metrics.auroc(y, was, ones))[0]),
        "auroc_change_low": low,
        "auroc_change_high": high,
        **dict(zip(names, (float(at[f][0]) for at in at_points for f in ("sensitivity", "specificity")), strict=True)),
        "probability_change": float(np.abs(now - was).mean()),
    }


def _resumed(path: Path, key: dict[str, Any]) -> dict[str, Any]:
    """What was measured before with the same bundle and images."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(kept["changes"]) if kept.get("key") == key else {}


def main() -> None:
    """Read the options, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data set in the layout of data/")
    parser.add_argument("--bundle", type=Path, help="default: the one that `fracture serve` would take")
    parser.add_argument("--split", type=Path, help="default: split.csv of the bundle's release, or prepared/split.csv")
    parser.add_argument("--part", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--images", type=int, default=0, help="so many of the part, drawn at random; 0: all")
    parser.add_argument("--only", nargs="+", default=list(NAMES), choices=NAMES, metavar="CHANGE")
    parser.add_argument("--state", type=Path, default=STATE, help="what is measured, change by change")
    parser.add_argument("--record", type=Path, default=Artifacts().robustness, help="what `fracture release` reads")
    parser.add_argument("--output", type=Path, help="a file for the table, in Markdown")
    given = parser.parse_args()
    cv2.setNumThreads(0)
    opened = bundle.read(given.bundle or bundle.find_default(Path()))
    beside = opened.folder.parent / "split.csv"
    split = given.split or (beside if beside.is_file() else Path("prepared/split.csv"))
    cases = read(given.data, split, given.part, given.images)
    key = {
        "bundle": opened.manifest.digest, "split": sha256_file(split), "part": given.part, "images": len(cases),
    }  # fmt: skip
    known = _resumed(given.state, key)
    names = ["none", *(name for name in given.only if name != "none")]
    given.state.parent.mkdir(parents=True, exist_ok=True)
    run(Predictor(opened), cases, names, known, lambda: write_json(given.state, {"key": key, "changes": known}))
    rows = table(cases, {name: known[name] for name in names}, opened.decision)
    text = "\n".join(tables.robustness(rows)) + "\n"
    print(text, end="")
    if given.output:
        write_text(given.output, text)
    record = Robustness(
        weights_sha256=opened.manifest.origin.weights_sha256,
        part=given.part,
        images=len(cases),
        complete=set(names) == set(NAMES),
        changes=tuple(rows),
    )
    record.write(given.record)


if __name__ == "__main__":
    exit_with_line(main)
