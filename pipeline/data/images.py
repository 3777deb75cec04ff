"""Who reads the images of a data set: this process, or an engine of several processes (`pipeline.archive.preparing`).

Which engine reads them changes how long a stage takes, never what it writes: so the engine is chosen by options or the
environment and not in params.yaml, and its modules are no dependencies of a stage in dvc.yaml.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.data import scan
from pipeline.data.families.features import FeatureTable
from pipeline.data.layout import Dataset
from pipeline.data.pixel_cache import PixelWriter
from pipeline.errors import InputError
from pipeline.late import late
from serving.imaging.canvas import Preprocessing

MANIFEST = "manifest.parquet"
"""In data/, instead of the folder images/: `fracture manifest` wrote where the images lie."""
LOCAL, RAY = "local", "ray"

preparing: Any = late("pipeline.archive.preparing.images")  # see above for why no import says so to the type checker


@dataclass(frozen=True)
class Engine:
    """What was asked for; `processes` 0 takes one a core, `address` is that of a Ray cluster."""

    name: str = LOCAL
    address: str = ""
    processes: int = 0


def engine_of(arguments: Sequence[str], description: str | None) -> Engine:
    """The engine that a stage's arguments name, or else the environment; InputError for an unusable variable."""
    name, processes = os.environ.get("FRACTURE_ENGINE") or LOCAL, os.environ.get("FRACTURE_ACTORS") or "0"
    if name not in {LOCAL, RAY}:
        raise InputError(f"FRACTURE_ENGINE: {name!r} is none of {LOCAL}, {RAY}")
    if not processes.isdecimal():
        raise InputError(f"FRACTURE_ACTORS: {processes!r} is no number of processes")
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=[LOCAL, RAY], default=name, help="this machine, or a Ray cluster")
    parser.add_argument(
        "--address", metavar="HOST:PORT", default=os.environ.get("FRACTURE_RAY_ADDRESS", ""),
        help="of the Ray cluster; without it Ray starts here",
    )  # fmt: skip
    parser.add_argument(
        "--actors", type=int, default=int(processes), help="processes that read images; 0 takes one a core"
    )
    given = parser.parse_args(list(arguments))
    if given.actors < 0:
        raise InputError(f"--actors: {given.actors} is no number of processes")
    return Engine(given.engine, given.address, given.actors)


class Images(Protocol):
    """The images of a data set, each named by its `file` in labels.csv."""

    def files(self) -> list[str]:
        """Every file that there is, sorted."""

    def read(self, file: str) -> bytes:
        """The bytes of a file; OSError or ImageError."""

    def scan(self, files: Sequence[str], features: FeatureTable | None) -> tuple[pd.DataFrame, npt.NDArray[np.float32]]:
        """The facts about each file and its thumbnail, as `scan.scan_files` gives them."""


class FolderImages:
    """Those of the folder images/, read by the threads of this process; `writer` as in `scan.scan_files`."""

    def __init__(self, data: Dataset, writer: PixelWriter | None = None) -> None:
        self._data, self._writer = data, writer

    def files(self) -> list[str]:
        return [path.relative_to(self._data.folder).as_posix() for path in self._data.image_files()]

    def read(self, file: str) -> bytes:
        return (self._data.folder / file).read_bytes()

    def scan(self, files: Sequence[str], features: FeatureTable | None) -> tuple[pd.DataFrame, npt.NDArray[np.float32]]:
        return scan.scan_files([self._data.folder / file for file in files], writer=self._writer, features=features)


class EngineImages(Images, Protocol):
    """Those that an engine reads. What it has done is kept until `forget`, so that a killed stage goes on."""

    def write(self, files: Sequence[str], preprocessing: Preprocessing, folder: Path) -> pd.DataFrame:
        """Write the model's inputs into `folder` as shards (`image_shards`); the place of each."""

    def forget(self) -> None:
        """Remove what was kept: the stage has ended well."""


@contextmanager
def opened(data: Dataset, engine: Engine, scratch: Path) -> Iterator[EngineImages | None]:
    """Yield what reads the images in several processes; None where this process reads the folder images/ itself.

    `scratch` takes what a killed stage goes on with. InputError for an engine or a manifest that cannot be used.
    """
    if engine.name == LOCAL and not (data.folder / MANIFEST).exists():
        yield None
        return
    with preparing.opened(data, engine, scratch) as found:
        yield found
