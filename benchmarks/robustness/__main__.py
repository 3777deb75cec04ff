"""What changes that radiographs from elsewhere carry do to the answers of a bundle.

    python -m benchmarks.robustness data                              the test set of the bundle's release
    python -m benchmarks.robustness --bundle build/bundle/1 data --split prepared/split.csv --part validation
    python -m benchmarks.robustness data --folds build/folds --images 600

With `--folds`, the bundles that `benchmarks.robustness.fold_bundles` makes of networks of the folds, each image that is
not test is answered by the one network that never saw it, and all are pooled. A larger `--images` adds to what is
measured already.

For each change: the share of images refused and warned of, AUROC of the others and how far it lies below that of the
unchanged images, sensitivity and specificity at the operating points, and the mean change of the probability. Whole
files are made and answered, as a service would. What is measured is kept in `--state`, so that a run that was stopped
goes on; `--record` is what `fracture release` reads, `--output` a table in Markdown.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
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
from benchmarks.robustness import folds
from benchmarks.robustness.changes import CHANGES, NEVER_TRAINED, change
from benchmarks.robustness.objects import OBJECTS
from pipeline.artifacts import Artifacts
from pipeline.data import layout
from pipeline.errors import InputError, exit_with_line
from pipeline.evaluation import metrics, tables
from pipeline.evaluation.records import ChangeMetrics, Robustness
from pipeline.files import sha256_file, write_json, write_text
from pipeline.progress import progress_bar
from serving import bundle
from serving.bundle import Bundle
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
CUT = "box_cut"
"""Instead of the code of a refusal: the change would cut a box, so nothing was asked."""
WHOLE = ""
"""The fold of all images where there is one network and no folds."""


@dataclass(frozen=True)
class Case:
    """An image: its file, group, label, boxes (k, 4) in fractions of the upright image, and fold."""

    image_id: str
    path: Path
    group: str
    fractured: bool
    boxes: list[list[float]]
    fold: str = WHOLE


@dataclass(frozen=True)
class Told:
    """What became of one changed image: its probability, or why there is none, a code of a refusal or `CUT`."""

    image_id: str
    probability: float | None
    refused: str
    warnings: tuple[str, ...]


def read(data: Path, split: Path, part: str, images: int) -> list[Case]:
    """The images of one part of a split; so many of them, drawn at random, where `images` is not 0."""
    rows = pd.read_csv(split, dtype=str, keep_default_na=False)
    rows = rows[rows["part"] == part]
    if images:
        rows = rows.sample(min(images, len(rows)), random_state=_SEED).sort_index()
    if not len(rows):
        raise InputError(f"{split}: names no image of part {part}")
    return cases_of(data, rows.assign(fold=WHOLE), split)


def cases_of(data: Path, rows: pd.DataFrame, source: Path) -> list[Case]:
    """The images that a table names by image_id, group, label and fold; `source` is its file, for errors."""
    found = layout.read(data)
    files = found.labels.set_index("image_id")["file"]
    boxes = {str(name): table[["x0", "y0", "x1", "y1"]] for name, table in found.boxes.groupby("image_id")}
    missing = sorted(set(rows["image_id"]) - set(files.index))
    if missing:
        raise InputError(f"{source}: names {missing[0]}; not in {data}")
    return [
        Case(
            row.image_id, data / str(files[row.image_id]), row.group, row.label != found.info.classes[0],
            boxes[row.image_id].to_numpy(float).tolist() if row.image_id in boxes else [],
            row.fold,
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


def tell(predictor: Predictor, name: str, case: Case) -> Told:
    """Change one image and ask for its answer."""
    pixels = decode.decode(case.path.read_bytes()).pixels
    content = content_of(name, pixels, case)
    if content is None:
        return Told(case.image_id, None, CUT, ())
    try:
        found = predictor.predict(content)
    except ImageError as error:
        return Told(case.image_id, None, error.code, ())
    return Told(case.image_id, found.probability, "", tuple(note.code for note in found.warnings))


def run(
    predictors: Mapping[str, Predictor],
    cases: Sequence[Case],
    names: Sequence[str],
    known: dict[str, Any],
    keep: Callable[[], None],
) -> None:
    """Measure what is not in `known`, and put it there; `keep` is called after each change.

    Each image is shown to the predictor of its fold.
    """
    done = {name: {one["image_id"] for one in known.get(name, ())} for name in names}
    left = {name: [case for case in cases if case.image_id not in done[name]] for name in names}
    with (
        ThreadPoolExecutor(measure.cores()) as pool,
        progress_bar("robustness: changed images", sum(map(len, left.values()))) as advance,
    ):
        for name, waiting in left.items():
            told = []
            for one in pool.map(lambda case, name=name: tell(predictors[case.fold], name, case), waiting):
                told.append(asdict(one))
                advance()
            if told:
                known[name] = [*known.get(name, ()), *told]
                keep()


def table(cases: Sequence[Case], known: dict[str, Any], decisions: Mapping[str, Decision]) -> list[ChangeMetrics]:
    """One row per change, the unchanged images first; of what is known, that of `cases` counts.

    The operating points of an image are those of its fold's decision.
    """
    of = {case.image_id: case for case in cases}
    plain = {one["image_id"]: one["probability"] for one in known["none"] if one["probability"] is not None}
    rows = []
    for name, all_told in known.items():
        told = [one for one in all_told if one["image_id"] in of and one["refused"] != CUT]
        answered = [one for one in told if one["probability"] is not None]
        compared = [one for one in answered if one["image_id"] in plain]
        figures = _figures(
            np.array([of[one["image_id"]].fractured for one in compared], np.int64),
            np.array([one["probability"] for one in compared], np.float64),
            np.array([plain[one["image_id"]] for one in compared], np.float64),
            pd.factorize(np.array([of[one["image_id"]].group for one in compared]))[0],
            {
                point: np.array([getattr(decisions[of[one["image_id"]].fold], point) for one in compared], np.float64)
                for point in _POINTS
            },
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
    y: npt.NDArray[np.int64], now: Array, was: Array, groups: npt.NDArray[np.int64], limits: Mapping[str, Array]
) -> dict[str, float | None]:
    """What is measured of the answers for changed images, paired with those for the same images unchanged.

    `limits` are each image's thresholds at the operating points.
    """
    names = [f"{figure}_at_{point}" for point in _POINTS for figure in ("sensitivity", "specificity")]
    if len(set(y.tolist())) < 2:
        whole = ("auroc", "auroc_change", "auroc_change_low", "auroc_change_high", *names, "probability_change")
        return dict.fromkeys(whole)
    weights, ones = metrics.bootstrap_weights(groups, RESAMPLES, _SEED), np.ones((1, len(y)))
    low, high = metrics.interval(metrics.auroc(y, now, weights) - metrics.auroc(y, was, weights))
    at_points = [metrics.at_threshold(y, now - limits[point], ones, 0.0) for point in _POINTS]
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


@dataclass(frozen=True)
class Asked:
    """What a command line asks for: images, the bundle of each fold, and what its results may be resumed by."""

    cases: list[Case]
    bundles: Mapping[str, Bundle]
    key: dict[str, Any]
    part: str


def of_release(given: argparse.Namespace) -> Asked:
    """One part of a split, answered by one bundle."""
    opened = bundle.read(given.bundle or bundle.find_default(Path()))
    beside = opened.folder.parent / "split.csv"
    split = given.split or (beside if beside.is_file() else Path("prepared/split.csv"))
    part = given.part or "test"
    cases = read(given.data, split, part, given.images)
    key = {"bundle": opened.manifest.digest, "split": sha256_file(split), "part": part, "images": len(cases)}
    return Asked(cases, {WHOLE: opened}, key, part)


def of_folds(given: argparse.Namespace) -> Asked:
    """Images that are not test, each answered by the bundle of the fold that left it out."""
    if given.bundle or given.split or given.part:
        raise InputError("--folds: names bundles and images itself; leave out --bundle, --split and --part")
    found = folds.read(given.folds)
    cases = cases_of(given.data, folds.sample(found.table, given.images), found.file)
    key = {
        "folds": {fold: one.manifest.digest for fold, one in found.bundles.items()},
        "table": sha256_file(found.file),
    }
    return Asked(cases, found.bundles, key, "out_of_fold")


def main() -> None:
    """Read the options, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data set in the layout of data/")
    parser.add_argument("--bundle", type=Path, help="default: the one that `fracture serve` would take")
    parser.add_argument("--split", type=Path, help="default: split.csv of the bundle's release, or prepared/split.csv")
    parser.add_argument("--part", choices=("train", "validation", "test"), help="default: test")
    parser.add_argument("--folds", type=Path, help="a folder of one bundle a fold, instead of --bundle")
    parser.add_argument("--images", type=int, default=0, help="so many of them, drawn at random; 0: all")
    parser.add_argument("--only", nargs="+", default=list(NAMES), choices=NAMES, metavar="CHANGE")
    parser.add_argument("--state", type=Path, default=STATE, help="what is measured, change by change")
    parser.add_argument("--record", type=Path, help="what `fracture release` reads; with --folds none by default")
    parser.add_argument("--output", type=Path, help="a file for the table, in Markdown")
    given = parser.parse_args()
    cv2.setNumThreads(0)
    asked = of_folds(given) if given.folds else of_release(given)
    known = _resumed(given.state, asked.key)
    names = ["none", *(name for name in given.only if name != "none")]
    given.state.parent.mkdir(parents=True, exist_ok=True)
    predictors = {fold: Predictor(one) for fold, one in asked.bundles.items()}
    run(predictors, asked.cases, names, known, lambda: write_json(given.state, {"key": asked.key, "changes": known}))
    decisions = {fold: one.decision for fold, one in asked.bundles.items()}
    rows = table(asked.cases, {name: known[name] for name in names}, decisions)
    text = "\n".join(tables.robustness(rows)) + "\n"
    print(text, end="")
    if given.output:
        write_text(given.output, text)
    path = given.record or (None if given.folds else Artifacts().robustness)
    if path:
        record = Robustness(
            weights_sha256=_weights(asked.bundles),
            part=asked.part,
            images=len(asked.cases),
            complete=set(names) == set(NAMES),
            changes=tuple(rows),
        )
        record.write(path)


def _weights(bundles: Mapping[str, Bundle]) -> str:
    """Hash of the network's weights, or of the hashes of all."""
    hashes = [one.manifest.origin.weights_sha256 for one in bundles.values()]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


if __name__ == "__main__":
    exit_with_line(main)
