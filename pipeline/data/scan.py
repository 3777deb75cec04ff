"""One pass over the image files: the facts about each, without judging them."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from pipeline.allocator import keep_image_buffers
from pipeline.data.families.features import SIDE, Features, FeatureTable, describe
from pipeline.data.pixel_cache import PixelWriter
from pipeline.progress import progress_bar
from serving import guard
from serving.errors import ImageError
from serving.imaging import decode
from serving.imaging.canvas import Pixels

THUMBNAIL = 16
_HASH_SIDE = 32
_STATISTICS_SIDE = 56
"""Pixels that the longer side of a JPEG keeps, at least, where its grey levels and colours are measured."""
CHUNK = 64
"""Files that are described together."""

T = TypeVar("T")


@dataclass
class Scan:
    """One file's facts. `decoded` is whole, truncated, failed, empty, oversized or missing; grey levels 0..255."""

    decoded: str
    error: str = ""
    format: str = ""
    mode: str = ""
    bit_depth: int = 0
    width: int = 0
    height: int = 0
    orientation: int = 1
    bytes: int = 0
    mean: float = float("nan")
    contrast: float = float("nan")
    colourfulness: float = 0.0
    sha256: str = ""
    thumbnail: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    features: Features | None = field(default=None, repr=False)


MISSING = Scan("missing", "no such file")
_NO_COLUMNS = ("thumbnail", "features")
_FAULTS = {"empty": "empty", "too_many_pixels": "oversized"}


def scan_file(path: Path, writer: PixelWriter | None = None, with_features: bool = False) -> Scan:
    """Read one file once and describe it; never raises for what the file holds.

    `writer` takes the model's input, for preprocess, of a file that was decoded whole. A JPEG was not: a part of its
    scale is enough here, and reading it once instead of twice saves no more than keeping its pixels costs.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return MISSING
    return scan_content(content, writer, with_features)


def scan_content(content: bytes, writer: PixelWriter | None = None, with_features: bool = False) -> Scan:
    """The same of the bytes of a file."""
    digest = hashlib.sha256(content).hexdigest() if content else ""  # empty files are no copies of each other
    try:
        header = decode.inspect(content)
        pixels, truncated, decoded = decode.look(content, header, 2 * SIDE if with_features else _STATISTICS_SIDE)
    except ImageError as fault:
        return Scan(_FAULTS.get(fault.code, "failed"), fault.message, bytes=len(content), sha256=digest)
    if writer and decoded:
        writer.keep(digest, decoded)
    features = describe(_grey(pixels)) if with_features else None
    if header.format == "JPEG" and not truncated:
        pixels = _reduced(pixels, header)
    colourfulness = guard.colourfulness(pixels) if pixels.ndim == 3 else 0.0
    grey = _grey(pixels)
    mean, deviation = cv2.meanStdDev(grey)
    return Scan(
        decoded="truncated" if truncated else "whole",
        format=header.format,
        mode=header.mode,
        bit_depth=header.bit_depth,
        width=header.width,
        height=header.height,
        orientation=header.orientation,
        bytes=len(content),
        mean=round(float(mean[0, 0]), 3),
        contrast=round(float(deviation[0, 0]), 3),
        colourfulness=round(colourfulness, 3),
        sha256=digest,
        thumbnail=np.asarray(cv2.resize(grey, (_HASH_SIDE, _HASH_SIDE), interpolation=cv2.INTER_AREA), np.float32),
        features=features,
    )


def features_of(content: bytes) -> Features | None:
    """The features of the bytes of a file, as of `scan_content`; None where they are no image."""
    try:
        pixels = decode.look(content, decode.inspect(content), 2 * SIDE)[0]
    except ImageError:
        return None
    return describe(_grey(pixels))


def _grey(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8) if pixels.ndim == 3 else pixels


def _reduced(pixels: Pixels, header: decode.Header) -> Pixels:
    """The size at which a JPEG is measured, however large it was decoded: its noise depends on it."""
    longer = max(header.width, header.height)
    factor = next((factor for factor in (8, 4, 2) if longer >= factor * _STATISTICS_SIDE), 1)
    size = (-(-header.width // factor), -(-header.height // factor))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def scan_files(
    paths: list[Path],
    workers: int | None = None,
    writer: PixelWriter | None = None,
    features: FeatureTable | None = None,
) -> tuple[pd.DataFrame, npt.NDArray[np.float32]]:
    """Scan files on all cores, with progress.

    Returns a table with a row per path (columns: the fields of Scan and `perceptual_hash`) and the thumbnails,
    float32 (n, 16, 16), NaN where there is no picture. `writer` as in `scan_file`; `features` takes
    those of each file.
    """
    cv2.setNumThreads(1)  # the files are spread over the cores, not each image's rows
    keep_image_buffers()
    count = workers or len(os.sched_getaffinity(0))
    small = np.full((len(paths), THUMBNAIL, THUMBNAIL), np.nan, np.float32)
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(count) as pool, progress_bar("validate: reading images", len(paths)) as advance:
        scan_chunk = partial(_scan_chunk, writer=writer, with_features=features is not None)
        for described, thumbnails, found in pool.map(scan_chunk, _chunks(paths)):
            small[len(rows) : len(rows) + len(described)] = thumbnails
            rows += described
            if features is not None:
                features.extend(found)
            advance(len(described))
    return scan_table(rows), small


def scan_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The table of `scan_files` of the rows of all files."""
    columns = [*(name for name in Scan.__dataclass_fields__ if name not in _NO_COLUMNS), "perceptual_hash"]
    return pd.DataFrame(rows, columns=columns)


Chunk = tuple[list[dict[str, Any]], npt.NDArray[np.float32], list[Features | None]]
"""Of some files: rows of the table, thumbnails, float32 (n, 16, 16), and features."""


def _scan_chunk(paths: list[Path], writer: PixelWriter | None, with_features: bool) -> Chunk:
    return chunk_of([scan_file(path, writer, with_features) for path in paths])


def chunk_of(found: Iterable[Scan]) -> Chunk:
    """What is kept of some scans; the larger thumbnails, 4 kB each, are not."""
    scans = [dict(vars(one)) for one in found]
    missing = np.full((_HASH_SIDE, _HASH_SIDE), np.nan, np.float32)
    large = np.stack([missing if (small := scan.pop("thumbnail")) is None else small for scan in scans])
    features = [scan.pop("features") for scan in scans]
    hashes = perceptual_hashes(large)
    half = large.reshape(-1, THUMBNAIL, 2, THUMBNAIL, 2).mean(axis=(2, 4))
    rows = [{**scan, "perceptual_hash": text} for scan, text in zip(scans, hashes, strict=True)]
    return rows, np.asarray(half, np.float32), features


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def perceptual_hashes(thumbnails: npt.NDArray[np.float32]) -> list[str]:
    """64-bit DCT hashes of (n, 32, 32) thumbnails as 16 hex digits; empty where a thumbnail is NaN.

    Each bit says whether one of the 8 x 8 lowest frequencies lies above their median (pHash, Zauner 2010).
    """
    usable = ~np.isnan(thumbnails).any(axis=(1, 2))
    hashes = [""] * len(thumbnails)
    if usable.any():
        low = dctn(thumbnails[usable], axes=(1, 2), norm="ortho")[:, :8, :8].reshape(-1, 64)
        bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
        for index, row in zip(np.flatnonzero(usable), np.packbits(bits, axis=1), strict=True):
            hashes[index] = row.tobytes().hex()
    return hashes


def near_duplicates(thumbnails: npt.NDArray[np.float32], correlation: float) -> npt.NDArray[np.int64]:
    """Pairs (i, j), i < j, of thumbnails (n, 16, 16) that correlate above `correlation`; int64 (m, 2).

    Normalised thumbnails that correlate by r lie sqrt(2 - 2r) apart, and no further on any orthonormal
    projection: a search tree over the lowest DCT frequencies preselects without missing a pair.
    """
    flat = thumbnails.reshape(-1, THUMBNAIL * THUMBNAIL)
    centred = flat - flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    usable = np.flatnonzero(np.isfinite(norms) & (norms > 1e-3))
    if len(usable) < 2:
        return np.empty((0, 2), np.int64)
    unit = centred[usable] / norms[usable, None]
    frequencies = dctn(unit.reshape(-1, THUMBNAIL, THUMBNAIL), axes=(1, 2), norm="ortho")
    tree = cKDTree(frequencies[:, :4, :4].reshape(len(usable), -1))
    radius = float(np.sqrt(2 - 2 * correlation)) + 1e-6
    candidates = tree.query_pairs(radius, output_type="ndarray").astype(np.int64)
    kept = [
        block[np.einsum("ij,ij->i", unit[block[:, 0]], unit[block[:, 1]]) > correlation]
        for block in np.array_split(candidates, max(1, len(candidates) // 65_536))
    ]
    pairs = usable[np.concatenate(kept)] if kept else np.empty((0, 2), np.int64)
    return np.sort(pairs, axis=1)


def turned_duplicates(
    thumbnails: npt.NDArray[np.float32], chosen: npt.NDArray[np.int64], correlation: float
) -> npt.NDArray[np.int64]:
    """Pairs (i, j), i < j, of the `chosen` thumbnails that correlate when one is turned by quarters or mirrored."""
    some = thumbnails[chosen]
    forms = [np.rot90(each, quarters, (1, 2)) for each in (some, some[:, :, ::-1]) for quarters in range(4)]
    pairs = near_duplicates(np.concatenate(forms), correlation) % max(len(chosen), 1)
    return np.unique(np.sort(chosen[pairs[pairs[:, 0] != pairs[:, 1]]], axis=1), axis=0)


def connected(count: int, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Group number of each of `count` items when the items of every pair belong together; int64 (count,)."""
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def pairs_of_equal(values: pd.Series) -> npt.NDArray[np.int64]:
    """Pairs that link all rows with the same non-empty value; int64 (m, 2) of positions."""
    positions = pd.Series(range(len(values)), index=values.index)[values != ""]
    firsts = positions.groupby(values[values != ""]).transform("first")
    pairs = np.column_stack([firsts.to_numpy(np.int64), positions.to_numpy(np.int64)])
    return np.asarray(pairs[pairs[:, 0] != pairs[:, 1]], np.int64)
