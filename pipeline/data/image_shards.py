"""The pixels of prepared/ as shards, which an engine writes: a file each of at most some hundred megabytes.

prepared/images.json       rows, size and shard_rows
prepared/images-00000.npy  uint8 (shard_rows, size, size); the last one holds the rest

Rows are read where they stand, not memory-mapped: that is as fast (`benchmarks.archive.reading`), and needs neither a
map nor an open file for each of thousands of shards.
"""

import io
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.errors import InputError
from pipeline.files import write_json

INDEX = "images.json"
_OPEN = 128
"""Files that are open at once; a process may have 1,024."""

Pixels = npt.NDArray[np.uint8]


class ImageRows(Protocol):
    """Images by their row, uint8 (n, size, size): an array, a memory map, or shards."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, and pixels of both sides."""

    def __len__(self) -> int:
        """Number of rows."""

    def __iter__(self) -> Iterator[Any]:
        """Each image."""

    def __getitem__(self, rows: Any, /) -> Any:
        """One image for a number, otherwise those of a slice or of an array of numbers."""


@dataclass(frozen=True)
class ShardIndex:
    """images.json: how the rows are divided."""

    rows: int
    size: int
    shard_rows: int

    @property
    def shards(self) -> int:
        """Number of files."""
        return -(-self.rows // self.shard_rows)

    def bounds(self, shard: int) -> tuple[int, int]:
        """First row of a shard, and that of the next one."""
        return shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.rows)

    def header(self, shard: int) -> bytes:
        """What stands before the pixels of a shard in its file."""
        start, stop = self.bounds(shard)
        return npy_header((stop - start, self.size, self.size))

    def write(self, folder: Path) -> None:
        """Write images.json."""
        write_json(folder / INDEX, asdict(self))


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file of uint8."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def shard_name(shard: int) -> str:
    """Of the file of a shard."""
    return f"images-{shard:05d}.npy"


class ImageShards:
    """`ImageRows` of a folder with shards, for any number of threads; it can be pickled."""

    def __init__(self, folder: Path, index: ShardIndex) -> None:
        self.folder, self.index = folder, index
        self._files: OrderedDict[int, tuple[io.FileIO, int]] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path) -> "ImageShards":
        """The shards of a folder; ValueError or FileNotFoundError where one is missing or cut short."""
        try:
            index = ShardIndex(**json.loads((folder / INDEX).read_bytes()))
        except TypeError:
            raise ValueError(f"{INDEX} is broken") from None
        for shard in range(index.shards):
            start, stop = index.bounds(shard)
            wanted = len(index.header(shard)) + (stop - start) * index.size**2
            if (folder / shard_name(shard)).stat().st_size != wanted:
                raise ValueError(f"{shard_name(shard)} has another length than {INDEX} says")
        return cls(folder, index)

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageShards, (self.folder, self.index)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, and pixels of both sides."""
        return self.index.rows, self.index.size, self.index.size

    def __len__(self) -> int:
        return self.index.rows

    def __iter__(self) -> Iterator[Pixels]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, rows: Any, /) -> Pixels:
        if isinstance(rows, slice):
            return self._gather(np.arange(*rows.indices(len(self))))
        chosen = np.asarray(rows)
        if chosen.dtype == np.bool_:
            chosen = np.flatnonzero(chosen)
        found = self._gather(np.atleast_1d(chosen).astype(np.int64))
        return found if chosen.ndim else found[0]

    def _gather(self, rows: npt.NDArray[np.int64]) -> Pixels:
        rows = np.where(rows < 0, rows + len(self), rows)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"there are {len(self)} images")
        found = np.empty((len(rows), self.index.size, self.index.size), np.uint8)
        for image, row in zip(found, rows.tolist(), strict=True):
            shard, number = divmod(row, self.index.shard_rows)
            file, start = self._opened(shard)
            if os.preadv(file.fileno(), [image.data], start + number * image.nbytes) != image.nbytes:
                raise InputError(f"{file.name}: is cut short; make it again with `dvc repro -f preprocess`")
        return found

    def _opened(self, shard: int) -> tuple[io.FileIO, int]:
        """The file of a shard, and where its pixels begin; one that another thread still reads stays open for it."""
        with self._lock:
            if shard not in self._files:
                path = self.folder / shard_name(shard)
                self._files[shard] = io.FileIO(path), len(self.index.header(shard))
                if len(self._files) > _OPEN:
                    self._files.popitem(last=False)
            self._files.move_to_end(shard)
            return self._files[shard]
