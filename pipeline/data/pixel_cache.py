"""Pixels that validate decoded anyway, kept for preprocess: one decode of a grey PNG or DICOM file instead of two.

rows.bin    uint8 (size, size) of each image, one after the other
index.npy   of each image: sha256 of its file, what of it is shown and how large that is, a sum over its row
key         hash of the preprocessing, of the code that decodes, and of the installed packages

It is no output of a stage: what is not found here, or does not fit, is decoded, with the same result. So it can be
deleted at any time, and validate does not depend on the parameters of preprocess, which it reads to fill this. One
generation is kept, that of the last validation.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.files import atomic_folder, sha256_files
from serving import imaging
from serving.imaging.canonical.form import NO_HEADS, Heads
from serving.imaging.canonical.polarity import INVERTED
from serving.imaging.canvas import Pixels, Placement, Preprocessing, View, letterbox_of
from serving.imaging.decode import Decoded
from serving.imaging.model_input import ModelInput, prepare_decoded, size_of

SHOWN = ("shown_x0", "shown_y0", "shown_x1", "shown_y1")
LIMIT = 4 * 2**30
"""Bytes of rows at most, 85,000 images of 224 pixels; those after them are decoded twice."""
_ROW = np.dtype([
    ("sha256", "S64"), ("width", "<u4"), ("height", "<u4"), ("box", "<f8", (4,)), ("quarters", "u1"),
    ("inverted", "<f8"), ("total", "<u8"),
])  # fmt: skip


@dataclass(frozen=True)
class PreparedFile:
    """The model's input of one file, uint8 (size, size), where it lies, and how likely the picture was inverted."""

    pixels: Pixels
    placement: Placement
    inverted: float = 0.0

    @classmethod
    def of(cls, found: ModelInput) -> "PreparedFile":
        """Without what only a service needs."""
        return cls(found.pixels, found.placement, found.canonical.inverted if found.canonical else 0.0)

    def place(self) -> dict[str, Any]:
        """How the image came to lie on its canvas.

        left, top, width, height on the canvas in pixels; the box of the picture that is shown, in fractions; quarters
        it was turned by; inverted, true where it was turned from black bone to white.
        """
        view, letterbox = self.placement.view, self.placement.letterbox
        place = {name: getattr(letterbox, name) for name in ("left", "top", "width", "height")}
        shown = dict(zip(SHOWN, (round(corner, 5) for corner in view.box), strict=True))
        return {**place, **shown, "quarters": view.quarters, "inverted": self.inverted >= INVERTED}


class PixelWriter:
    """Takes prepared images from several threads; a disk that refuses them ends the keeping, not the validation."""

    def __init__(self, file: BinaryIO, preprocessing: Preprocessing, heads: Heads = NO_HEADS) -> None:
        self._preprocessing, self._heads = preprocessing, heads
        self._file = file
        self._bytes = preprocessing.image_size**2
        self._numbers = itertools.count()
        self._refused = False
        self.rows: dict[int, tuple[Any, ...]] = {}

    def keep(self, sha256: str, decoded: Decoded) -> None:
        """Keep the model's input of the file with this content."""
        number = next(self._numbers)
        if self._refused or (number + 1) * self._bytes > LIMIT:
            return
        found = PreparedFile.of(prepare_decoded(decoded, self._preprocessing, self._heads))
        try:
            written = os.pwrite(self._file.fileno(), found.pixels.data, number * self._bytes)
        except OSError:
            self._refused = True
            return
        if written == self._bytes:
            view = found.placement.view
            width, height = size_of(view, decoded.header.width, decoded.header.height)
            self.rows[number] = (
                sha256.encode(), width, height, view.box, view.quarters, found.inverted, _total(found.pixels),
            )  # fmt: skip


class PixelCache:
    """Rows kept by the last validation, by the sha256 of the file."""

    def __init__(self, file: BinaryIO, index: npt.NDArray[Any], size: int) -> None:
        self._file = file
        self._size = size
        self._rows = {row["sha256"].decode(): number for number, row in enumerate(index) if row["sha256"]}
        self._index = index

    def find(self, sha256: str) -> PreparedFile | None:
        """What was kept of a file; None when it is not here, or damaged."""
        number = self._rows.get(sha256)
        if number is None:
            return None
        with suppress(OSError, ValueError):
            content = os.pread(self._file.fileno(), self._size**2, number * self._size**2)
            pixels = np.frombuffer(content, np.uint8).reshape(self._size, self._size)
            row = self._index[number]
            if _total(pixels) == row["total"]:
                view = View(tuple(map(float, row["box"])), int(row["quarters"]))  # type: ignore[arg-type]  # of four
                letterbox = letterbox_of(int(row["width"]), int(row["height"]), self._size)
                return PreparedFile(pixels, Placement(view, letterbox), float(row["inverted"]))
        return None


@contextmanager
def filling(preprocessing: Preprocessing, folder: Path, heads: Heads = NO_HEADS) -> Iterator[PixelWriter]:
    """Yield what takes images; when the block ends well, they replace those of the validation before."""
    with atomic_folder(folder) as partial:
        with (partial / "rows.bin").open("wb", buffering=0) as file:
            writer = PixelWriter(file, preprocessing, heads)
            yield writer
        index = np.zeros(max(writer.rows, default=-1) + 1, _ROW)
        for number, row in writer.rows.items():
            index[number] = row
        np.save(partial / "index.npy", index)
        (partial / "key").write_text(key(preprocessing), encoding="ascii")


@contextmanager
def opened(preprocessing: Preprocessing, folder: Path | None) -> Iterator[PixelCache | None]:
    """Yield the cache, or None when there is none for this preprocessing and this code, or it is damaged."""
    if folder is None:
        yield None
        return
    try:
        fits = (folder / "key").read_text(encoding="ascii") == key(preprocessing)
        index = np.load(folder / "index.npy", allow_pickle=False) if fits else np.zeros(0)
        file = (folder / "rows.bin").open("rb", buffering=0)
    except (OSError, ValueError, EOFError):
        yield None
        return
    with file:
        yield PixelCache(file, index, preprocessing.image_size) if index.dtype == _ROW else None


def key(preprocessing: Preprocessing) -> str:
    """Hex sha256 of all that the pixels depend on beside the file: options, our code, the packages with versions."""
    code = Path(imaging.__file__).parent
    packages = sorted(path.name for path in Path(cv2.__file__).parents[1].glob("*.dist-info"))
    facts = [preprocessing.to_dict(), sha256_files(code, code.rglob("*.py")), packages]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _total(pixels: Pixels) -> int:
    """A sum that zeroed or lost blocks do not keep: no checksum costs less."""
    flat = np.ascontiguousarray(pixels).reshape(-1)
    words = flat[: flat.size // 8 * 8].view("<u8")
    return (int(words.sum()) + int(flat[words.size * 8 :].sum())) % 2**64
