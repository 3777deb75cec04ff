"""What is done of a stage, on disk: a file a block or shard, named by a hash of what was asked of which images.

A killed stage finds what it had done; what was asked in another way, or of another image, has another name.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data import scan
from pipeline.data.families.features import Features
from pipeline.data.image_shards import Pixels, npy_header
from pipeline.files import atomic_file, write_text

_HELD = 1 << 20


def name_of(task: str, images: Iterable[tuple[str, str, str]]) -> str:
    """The name of some images, each by file, address and state, in their order, under a task's key."""
    digest = hashlib.sha256(task.encode())
    for image in images:
        digest.update("\0".join((*image, "\n")).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:40]


def write_chunk(path: Path, chunk: scan.Chunk) -> None:
    """Write what is known of some files."""
    rows, thumbnails, features = chunk
    seen = [found for found in features if found is not None]
    arrays: dict[str, npt.NDArray[Any]] = {
        "rows": np.frombuffer(json.dumps(rows).encode(), np.uint8),
        "thumbnails": thumbnails,
        "keypoints": np.array([-1 if found is None else len(found.points) for found in features], np.int64),
        "shapes": np.array([found.picture.shape for found in seen], np.int64).reshape(-1, 2),
        "points": _joined([found.points for found in seen], np.float32),
        "descriptors": _joined([found.descriptors for found in seen], np.uint8),
        "pictures": _joined([found.picture.ravel() for found in seen], np.uint8),
    }
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_chunk(path: Path) -> scan.Chunk:
    """Read what `write_chunk` wrote."""
    with np.load(path, allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files}
    features: list[Features | None] = []
    shapes = iter(arrays["shapes"].tolist())
    point = pixel = 0
    for count in arrays["keypoints"].tolist():
        if count < 0:
            features.append(None)
            continue
        height, width = next(shapes)
        rows = slice(point, point + count)
        picture = arrays["pictures"][pixel : pixel + height * width].reshape(height, width)
        features.append(Features(arrays["points"][rows], arrays["descriptors"][rows], picture))
        point, pixel = point + count, pixel + height * width
    return json.loads(arrays["rows"].tobytes()), arrays["thumbnails"], features


def _joined(parts: Sequence[npt.NDArray[Any]], kind: Any) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, kind)


class GrowingShard:
    """A shard whose blocks come in any order. It has its name when all are there, after the places of its images."""

    def __init__(self, folder: Path, name: str, rows: int, size: int, block_rows: int) -> None:
        self._target, self._places_of = folder / f"{name}.npy", folder / f"{name}.json"
        self._partial = folder / f".{name}.partial"
        self._block_rows, self._missing = block_rows, -(-rows // block_rows)
        self._header, self._row = npy_header((rows, size, size)), size**2
        self._places: dict[int, list[dict[str, Any]]] = {}
        self._file = self._partial.open("wb", buffering=0)
        self._file.write(self._header)

    def add(self, number: int, pixels: Pixels, places: list[dict[str, Any]]) -> bool:
        """Write a block of the shard, counted from its first one; whether the shard is whole. Twice is no harm."""
        self._file.seek(len(self._header) + number * self._block_rows * self._row)
        _write_all(self._file, np.ascontiguousarray(pixels).data.cast("B"))
        self._places[number] = places
        if len(self._places) < self._missing:
            return False
        self._file.close()
        write_text(self._places_of, json.dumps([place for _, some in sorted(self._places.items()) for place in some]))
        self._partial.replace(self._target)
        return True

    def close(self) -> None:
        """Give up what is not whole."""
        self._file.close()
        self._partial.unlink(missing_ok=True)


def _write_all(file: io.FileIO, content: memoryview) -> None:
    while content:
        content = content[file.write(content[:_HELD]) :]


def read_places(folder: Path, name: str) -> list[dict[str, Any]] | None:
    """The places of the images of a whole shard; None where it is not there."""
    try:
        places: list[dict[str, Any]] = json.loads((folder / f"{name}.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return places if (folder / f"{name}.npy").is_file() else None
