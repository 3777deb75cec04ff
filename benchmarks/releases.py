"""Two bundles on the same images, paired: `python -m benchmarks.releases FIRST SECOND data [--split FILE]`.

Each file of a part is answered by both, as the service would. Printed as Markdown: each measure of both, and the second
minus the first with a 95 % interval (bootstrap over groups). Images that one of the two refuses are left out of all
measures and counted. A release that left the tree is in the history:
`git archive a14ce33 models/fracatlas-mobilenet-1 | tar --extract --directory build`.
"""

import argparse
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the service does before numpy is imported

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import measure
from benchmarks.parts import PARTS, part_of
from pipeline.errors import InputError, exit_with_line
from pipeline.evaluation import metrics
from pipeline.progress import progress_bar
from serving import bundle
from serving.decision import Decision
from serving.errors import ImageError
from serving.predictor import Predictor

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

RESAMPLES = 1000
_SEED = 7


def measures(y: Labels, p: Array, decision: Decision, w: Array) -> dict[str, Array]:
    """What is compared, of labels (n,) and probabilities (n,); weights (..., n) as in `pipeline.evaluation.metrics`."""
    chosen = metrics.at_threshold(y, p, w, decision.threshold)
    return {
        "AUROC": metrics.auroc(y, p, w),
        "average precision": metrics.average_precision(y, p, w),
        "sensitivity at specificity 0.90": metrics.sensitivity_at_specificity(y, p, w, 0.90),
        "specificity at sensitivity 0.95": metrics.specificity_at_sensitivity(y, p, w, 0.95),
        "accuracy at the threshold": chosen["accuracy"],
        "recall at the threshold": chosen["recall"],
        "Brier score": metrics.brier(y, p, w),
    }


def compare(rows: pd.DataFrame, first: Decision, second: Decision) -> list[str]:
    """The lines of the table; `rows` has label (0 or 1), group, and the probabilities `first` and `second`."""
    y = rows["label"].to_numpy(np.int64)
    if len(set(y.tolist())) < 2:
        raise InputError("the images that both answer are all of one label; nothing can be compared")
    weights = metrics.bootstrap_weights(rows["group"].to_numpy(), RESAMPLES, _SEED)
    ones = np.ones((1, len(y)))
    lines = ["| measure | first | second | second minus first |", "| --- " * 4 + "|"]
    sides: list[tuple[Mapping[str, Array], Mapping[str, Array]]] = []
    for name, decision in (("first", first), ("second", second)):
        p = rows[name].to_numpy(np.float64)
        sides.append((measures(y, p, decision, ones), measures(y, p, decision, weights)))
    (one, one_spread), (two, two_spread) = sides
    for name in one:
        low, high = metrics.interval(two_spread[name] - one_spread[name])
        values = f"| {name} | {one[name][0]:.3f} | {two[name][0]:.3f} "
        lines.append(f"{values}| {two[name][0] - one[name][0]:+.3f} ({low:+.3f} to {high:+.3f}) |")
    return lines


def answers(predictor: Predictor, paths: list[Path], title: str) -> list[float | None]:
    """The probability of each file, None where it is refused."""

    def ask(path: Path) -> float | None:
        try:
            return predictor.predict(path.read_bytes()).probability
        except ImageError:
            return None

    found = []
    with ThreadPoolExecutor(measure.cores()) as pool, progress_bar(title, len(paths)) as advance:
        for probability in pool.map(ask, paths):
            found.append(probability)
            advance()
    return found


def main() -> None:
    """Read the options, ask both bundles and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="folder of a bundle")
    parser.add_argument("second", type=Path)
    parser.add_argument("data", type=Path, help="a data set in the layout of data/")
    parser.add_argument("--split", type=Path, help="default: split.csv beside the second bundle")
    parser.add_argument("--part", default="test", choices=PARTS)
    given = parser.parse_args()
    cv2.setNumThreads(0)
    split = given.split or given.second.resolve().parent / "split.csv"
    rows = part_of(given.data, split, given.part)
    paths = [Path(path) for path in rows["path"]]
    opened = {name: bundle.read(getattr(given, name)) for name in ("first", "second")}
    for name, one in opened.items():
        rows[name] = answers(Predictor(one), paths, f"{one.manifest.name} {one.manifest.version}: images")
    answered = rows.dropna(subset=["first", "second"])
    refused = ", ".join(f"{int(rows[name].isna().sum())} by the {name}" for name in opened)
    print(f"{len(answered)} of {len(rows)} images; refused: {refused}\n")
    print("\n".join(compare(answered, opened["first"].decision, opened["second"].decision)))


if __name__ == "__main__":
    exit_with_line(main)
