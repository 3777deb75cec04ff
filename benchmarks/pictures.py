"""The pictures that the benchmarks work on."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from pipeline.data import layout
from pipeline.data.layout import Dataset, DatasetInfo
from pipeline.data.sources import fracatlas, synthetic

CLINICAL_SIDE = 2048
"""Longer side in pixels of a radiograph as a clinic's archive holds it, roughly."""
_BATCH = 256


def radiographs(folder: Path) -> Dataset:
    """FracAtlas from the archive that FRACATLAS_ARCHIVE names, the synthetic sample where none is named."""
    archive = os.environ.get("FRACATLAS_ARCHIVE")
    if archive:
        fracatlas.fill(folder, archive=Path(archive))
    else:
        print("note: FRACATLAS_ARCHIVE names no archive; the synthetic sample (PNG files) stands in for FracAtlas")
        synthetic.fill(folder)
    return layout.read(folder)


def enlarge(source: Path, target: Path) -> bool:
    """Write a picture as a JPEG file of CLINICAL_SIDE, in its own colours; False for one that OpenCV cannot read."""
    pixels = cv2.imread(str(source))
    if pixels is None:
        return False
    scale = CLINICAL_SIDE / max(pixels.shape[:2])
    enlarged = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return cv2.imwrite(str(target), enlarged, [cv2.IMWRITE_JPEG_QUALITY, 90])


def clinical(paths: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """About `count` of the pictures, spread over all, enlarged."""
    folder.mkdir(parents=True)
    targets = {path: folder / f"{path.stem}.jpg" for path in paths[:: max(1, len(paths) // count)]}
    return [target for path, target in targets.items() if enlarge(path, target)]


def _field(seed: int) -> bytes:
    """A JPEG file of a soft random field with grain, unlike that of any other seed; 280 to 420 pixels a side."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(280, 421, 2))
    coarse = rng.integers(20, 236, (7, 6), dtype=np.uint8)
    grain = cv2.resize(rng.integers(0, 20, (height // 4, width // 4), dtype=np.uint8), (width, height))
    field = cv2.add(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), grain)
    return bytes(cv2.imencode(".jpg", field, [cv2.IMWRITE_JPEG_QUALITY, 85])[1])


def _fields(count: int) -> Iterator[bytes]:
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, count, _BATCH):  # `map` over all would hold every file in memory
            yield from pool.map(_field, range(start, min(count, start + _BATCH)))


def generated(folder: Path, count: int) -> None:
    """Fill a data folder with `count` generated pictures, a fifth of them called fractured."""
    info = DatasetInfo("generated", "1", "CC0-1.0", "None", "generated", ("normal", "fractured"), {"count": count})
    with layout.rebuild(folder, info, force=True) as building:
        for number, content in enumerate(_fields(count)):
            label = "fractured" if np.random.default_rng(number).random() < 0.2 else "normal"
            building.add(f"g{number:06d}", ".jpg", content, label, source="generated")
