"""`python -m benchmarks.archive.search FOLDER`: near duplicates among a million thumbnails, by the index.

The thumbnails are those of the images in FOLDER, a data set, and blends of two of them, slightly turned, scaled and
moved, as no archive of a million is at hand. One in fifty is a copy of another: brighter or darker, noisy, turned by
quarters or mirrored. A process of its own looks for pairs above the correlation of `params.yaml`, as they are and in
their eight forms. What it finds is compared with a search of all pairs of some of the thumbnails, half of them copies.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks import measure
from benchmarks.families import interval
from pipeline import params
from pipeline.data import layout, scan
from pipeline.data.families import thumbnails as index
from pipeline.errors import exit_with_line

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

TARGET_SECONDS, TARGET_MB, TARGET_RECALL = 1800, 4096, 0.99
_COPIES = 50
"""One thumbnail in so many is a copy."""
_NOISE = 8.0
"""Grey levels, of the noisiest copies: some correlate with their originals above 0.995, and some do not."""
_VARIED = 8
"""Slightly changed thumbnails that are blended, of each real one."""
_MARGIN = 1e-6
"""Correlations this close to the limit are counted neither as found nor as missed."""
_BLOCK = 1 << 14


def filled(real: Floats, count: int, seed: int) -> tuple[Floats, Integers]:
    """Thumbnails (count, 16, 16), the real ones first, and the positions of the copies, which come last."""
    rng = np.random.default_rng(seed)
    result = np.empty((count, scan.THUMBNAIL, scan.THUMBNAIL), np.float32)
    start = min(count, len(real))
    copies = max(start, count - count // _COPIES)
    result[:start] = real[:start]
    varied = np.stack([_varied(each, rng) for each in real for _ in range(_VARIED)])
    for first in range(start, copies, _BLOCK):
        rows = result[first : min(first + _BLOCK, copies)]
        share = np.asarray(rng.uniform(0.55, 0.95, (len(rows), 1, 1)), np.float32)
        one, other = (varied[rng.integers(len(varied), size=len(rows))] for _ in range(2))
        rows[:] = share * one + (1 - share) * other
    form = rng.integers(8, size=count - copies)
    originals = rng.integers(copies, size=count - copies)
    for number in range(8):
        chosen = result[originals[form == number]]
        turned = np.rot90(chosen[:, :, ::-1] if number >= 4 else chosen, number, (1, 2))
        light = rng.uniform(0.6, 1, (len(turned), 1, 1))
        noise = rng.normal(0, rng.uniform(0, _NOISE, (len(turned), 1, 1)), turned.shape)
        result[copies + np.flatnonzero(form == number)] = turned * light + noise
    return np.clip(result, 0, 255, out=result), np.arange(copies, count)


def _varied(real: Floats, rng: np.random.Generator) -> Floats:
    """A thumbnail as another patient might have been laid."""
    side = 2 * scan.THUMBNAIL
    large = cv2.resize(real, (side, side), interpolation=cv2.INTER_CUBIC)
    matrix = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), rng.normal(0, 5), np.exp(rng.normal(0.05, 0.08)))
    matrix[:, 2] = matrix[:, 2] + rng.normal(0, 0.7, 2)
    flipped = np.ascontiguousarray(large[:, ::-1]) if rng.random() < 0.5 else large
    moved = cv2.warpAffine(flipped, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved.reshape(scan.THUMBNAIL, 2, scan.THUMBNAIL, 2).mean(axis=(1, 3)), np.float32)


def recall(thumbnails: Floats, found: Integers, asked: Integers, correlation: float, turned: bool) -> tuple[int, int]:
    """Pairs above the correlation with a thumbnail of `asked` that are in `found` (m, 2), of all such pairs."""
    known = set(map(tuple, found[np.isin(found, asked).any(axis=1)].tolist()))
    hits = of = 0
    queries = _forms(_unit(thumbnails[asked]), turned)
    for start in range(0, len(thumbnails), _BLOCK):
        block = _unit(thumbnails[start : start + _BLOCK])
        best = np.full((len(asked), len(block)), -1, np.float32)
        for form in queries:
            np.maximum(best, form @ block.T, out=best)
        for row, column in np.argwhere(best > correlation + _MARGIN).tolist():
            first, second = sorted((int(asked[row]), start + column))
            if first != second:
                of += 1
                hits += (first, second) in known
    return hits, of


def _unit(thumbnails: Floats) -> Floats:
    flat = thumbnails.reshape(len(thumbnails), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-3), np.float32)


def _forms(unit: Floats, turned: bool) -> list[Floats]:
    if not turned:
        return [unit]
    plain = unit.reshape(-1, scan.THUMBNAIL, scan.THUMBNAIL)
    forms = [np.rot90(each, quarters, (1, 2)) for each in (plain, plain[:, :, ::-1]) for quarters in range(4)]
    return [form.reshape(unit.shape) for form in forms]


def search(folder: Path, correlation: float, turned: bool) -> None:
    """Read the thumbnails, write the pairs, and print seconds, those of the processor, and the largest memory in MB."""
    thumbnails = np.load(folder / "thumbnails.npy")
    start, before = time.perf_counter(), time.process_time()
    pairs = index.Pairs.joined(list(index.alike(thumbnails, correlation, turned)))
    seconds, processor = time.perf_counter() - start, time.process_time() - before
    np.save(folder / "pairs.npy", pairs.images)
    print(seconds, processor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _judged(value: float, most: float) -> str:
    return "met" if value <= most else "missed"


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a data set, such as data/")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--asked", type=int, default=1000, help="thumbnails that are compared with all others")
    parser.add_argument("--correlation", type=float, default=params.ValidateParams().near_duplicate_correlation)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--search", choices=["plain", "turned"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.search:
        search(given.folder, given.correlation, given.search == "turned")
        return
    print(measure.machine(["numpy", "scipy"]))
    data = layout.read(given.folder)
    real = scan.scan_files([data.folder / file for file in sorted(data.labels["file"])])[1]
    thumbnails, copies = filled(real[~np.isnan(real).any(axis=(1, 2))], given.images, given.seed)
    rng = np.random.default_rng(given.seed)
    half = min(len(copies), given.asked // 2)
    some = rng.choice(len(thumbnails) - len(copies), min(given.asked - half, len(thumbnails) - len(copies)), False)
    asked = np.concatenate([some, rng.choice(copies, half, False)])
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / "thumbnails.npy", thumbnails)
        for form, said in (("plain", "as they are"), ("turned", "in eight forms")):
            command = [sys.executable, "-m", "benchmarks.archive.search", name, "--search", form]
            command += ["--correlation", str(given.correlation)]
            told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            seconds, processor, most = map(float, told.split())
            found = np.load(Path(name) / "pairs.npy")
            hits, of = recall(thumbnails, found, asked, given.correlation, form == "turned")
            print(f"{len(thumbnails):,} thumbnails {said}: {len(found):,} pairs")
            print(
                f"  {seconds:.0f} s ({_judged(seconds, TARGET_SECONDS)}), {processor:.0f} s of processor time on "
                f"{measure.cores()} cores, at most {most:.0f} MB ({_judged(most, TARGET_MB)})"
            )
            print(
                f"  of {of:,} pairs that comparing {len(asked):,} thumbnails with all finds: {interval(hits, of)} "
                f"({_judged(TARGET_RECALL * of, hits)})",
                flush=True,
            )


if __name__ == "__main__":
    exit_with_line(main)
