"""A second look at the likeliest places, at twice the scale: `python -m benchmarks.second_look data [--bundle DIR]`.

The network answers the whole image, the image mirrored, and the three windows of half its side that are likeliest by
its own localisation map, in the pixels of twice the scale. Printed as Markdown: AUROC and sensitivity at a specificity
of 0.90 of the first look and of each way to combine them, and the difference of AUROC, paired, with a 95 % interval
(bootstrap over groups). Columns are added in units of their spread over the images. The default part is the validation
set: what is chosen here may not be chosen on the test set.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the service does before numpy is imported

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import measure
from benchmarks.parts import PARTS, part_of
from pipeline.errors import exit_with_line
from pipeline.evaluation import metrics
from pipeline.progress import progress_bar
from serving import bundle
from serving.imaging import model_input
from serving.imaging.canvas import Pixels
from serving.network import MAP, SCORES, Network

Array = npt.NDArray[np.float64]

WINDOWS = 3
RESAMPLES = 1000
_SEED = 7
_APART = 1 / 7
"""Least distance of two places, of the side."""
_WAYS: dict[str, Callable[[Array], Array]] = {
    "whole image": lambda looks: looks[:, 0],
    "with the mirrored image": lambda looks: looks[:, 0] + looks[:, 1],
    "the best window alone": lambda looks: looks[:, 2:].max(axis=1),
    "whole image, best window": lambda looks: _levelled(looks[:, 0]) + _levelled(looks[:, 2:].max(axis=1)),
    "whole image, mean of the windows": lambda looks: _levelled(looks[:, 0]) + _levelled(looks[:, 2:].mean(axis=1)),
    "whole image, likeliest place's window": lambda looks: _levelled(looks[:, 0]) + _levelled(looks[:, 2]),
}


def places(likely: Array, count: int) -> Iterator[tuple[float, float]]:
    """The likeliest places (x, y), as shares of the side, of a map (h, w); no two closer than a seventh of the side."""
    left = likely.astype(np.float64).copy()
    rows, columns = left.shape
    y, x = np.mgrid[0:rows, 0:columns]
    for _ in range(count):
        row, column = np.unravel_index(np.argmax(left), left.shape)
        yield (float(column) + 0.5) / columns, (float(row) + 0.5) / rows
        left[np.hypot((y - row) / rows, (x - column) / columns) < _APART] = -np.inf


def window(pixels: Pixels, x: float, y: float) -> Pixels:
    """The window of half the side around a place, moved inside; uint8 (side, side) to (side / 2, side / 2)."""
    half = pixels.shape[0] // 2
    left, top = (min(max(round(share * 2 * half) - half // 2, 0), half) for share in (x, y))
    return np.ascontiguousarray(pixels[top : top + half, left : left + half])


def looks(network: Network, content: bytes, opened: bundle.Bundle) -> list[float]:
    """Logits of the whole image, of the image mirrored and of each window."""
    preprocessing = opened.preprocessing
    given = model_input.prepare(content, preprocessing, opened.heads).pixels
    twice = replace(preprocessing, image_size=2 * preprocessing.image_size)
    large = model_input.prepare(content, twice, opened.heads).pixels
    found = network(given)
    others = [np.ascontiguousarray(given[:, ::-1]), *(window(large, x, y) for x, y in places(found[MAP][0], WINDOWS))]
    scores = [found[SCORES][0, -1], *(network(pixels)[SCORES][0, -1] for pixels in others)]
    inside = np.clip(np.array(scores, np.float64), 1e-7, 1 - 1e-7)
    return [float(logit) for logit in np.log(inside / (1 - inside))]


def table(found: Array, rows: pd.DataFrame) -> list[str]:
    """The lines of the table, of logits (n, 2 + windows); `rows` has label (0 or 1) and group."""
    y = rows["label"].to_numpy(np.int64)
    ones = np.ones((1, len(y)))
    weights = metrics.bootstrap_weights(rows["group"].to_numpy(), RESAMPLES, _SEED)
    first = metrics.auroc(y, found[:, 0], weights)
    lines = ["| looks | AUROC | difference | sensitivity at specificity 0.90 |", "| --- " * 4 + "|"]
    for name, way in _WAYS.items():
        scores = way(found)
        low, high = metrics.interval(metrics.auroc(y, scores, weights) - first)
        apart = metrics.auroc(y, scores, ones)[0] - metrics.auroc(y, found[:, 0], ones)[0]
        sensitivity = metrics.sensitivity_at_specificity(y, scores, ones, 0.90)[0]
        value = metrics.auroc(y, scores, ones)[0]
        lines.append(f"| {name} | {value:.3f} | {apart:+.3f} ({low:+.3f} to {high:+.3f}) | {sensitivity:.3f} |")
    return lines


def _levelled(scores: Array) -> Array:
    levelled: Array = (scores - scores.mean()) / scores.std()
    return levelled


def main() -> None:
    """Read the options, look at each image and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data set in the layout of data/")
    parser.add_argument("--bundle", type=Path, default=Path("models/fracatlas-efficientnetlite2-2/bundle"))
    parser.add_argument("--split", type=Path, help="default: split.csv beside the bundle")
    parser.add_argument("--part", default="validation", choices=PARTS)
    given = parser.parse_args()
    cv2.setNumThreads(0)
    opened = bundle.read(given.bundle)
    rows = part_of(given.data, given.split or given.bundle.resolve().parent / "split.csv", given.part)
    network = Network(opened.network)

    def look(path: str) -> list[float]:
        return looks(network, Path(path).read_bytes(), opened)

    found = []
    with ThreadPoolExecutor(measure.cores()) as pool, progress_bar("images", len(rows)) as advance:
        for logits in pool.map(look, rows["path"]):
            found.append(logits)
            advance()
    print(f"{len(rows)} images, {int(rows['label'].sum())} of them fractured\n")
    print("\n".join(table(np.array(found), rows)))


if __name__ == "__main__":
    exit_with_line(main)
