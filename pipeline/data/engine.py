"""Who reads the images of a data set: this process, or an engine of several processes (`pipeline.archive.preparing`).

Which engine reads them changes how long a stage takes, never what it writes: so the engine is chosen by options or the
environment and not in params.yaml, and its modules are no dependencies of a stage in dvc.yaml.
"""

import argparse
import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from pipeline.data.layout import Dataset
from pipeline.errors import InputError
from serving.imaging.canvas import Preprocessing

MANIFEST = "manifest.parquet"
"""In data/, instead of the folder images/: `fracture manifest` wrote where the images lie."""
LOCAL, RAY = "local", "ray"
_ADDRESS = "FRACTURE_RAY_ADDRESS"


@dataclass(frozen=True)
class Engine:
    """What was asked for; `processes` 0 takes one a core, `address` is that of a Ray cluster.

    `insists` tells that an argument gave the number of processes, which is then not passed over.
    """

    name: str = LOCAL
    address: str = ""
    processes: int = 0
    insists: bool = field(default=False, compare=False)


def engine_of(arguments: Sequence[str], description: str | None) -> Engine:
    """The engine that a stage's arguments name, or else the environment.

    InputError for an unusable variable, and for the address of a cluster that is not asked to do anything.
    """
    variable, processes = os.environ.get("FRACTURE_ENGINE", ""), os.environ.get("FRACTURE_ACTORS") or "0"
    if variable not in {"", LOCAL, RAY}:
        raise InputError(f"FRACTURE_ENGINE: {variable!r} is none of {LOCAL}, {RAY}")
    if not processes.isdecimal():
        raise InputError(f"FRACTURE_ACTORS: {processes!r} is no number of processes")
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=[LOCAL, RAY], help="this machine, or a Ray cluster")
    parser.add_argument("--address", metavar="HOST:PORT", help="of the Ray cluster; without it Ray starts here")
    parser.add_argument("--actors", type=int, help="processes that read images; 0 takes one a core")
    given = parser.parse_args(list(arguments))
    if given.actors is not None and given.actors < 0:
        raise InputError(f"--actors: {given.actors} is no number of processes")
    named = given.engine or variable
    address = os.environ.get(_ADDRESS, "") if given.address is None else given.address
    if named != RAY:
        if given.address:
            raise InputError(f"--address {address}: names a Ray cluster; add --engine ray, or leave it out")
        if address and not named:
            raise InputError(f"{_ADDRESS}: names a Ray cluster; set FRACTURE_ENGINE=ray too, or unset it")
        address = ""
    count = int(processes) if given.actors is None else given.actors
    return Engine(named or LOCAL, address, count, insists=bool(given.actors))


class ShardWriter(Protocol):
    """The images of a data set as preprocess has an engine prepare them."""

    def write(self, files: Sequence[str], preprocessing: Preprocessing, folder: Path) -> pd.DataFrame:
        """Write the model's inputs into `folder` as shards (`image_shards`); the place of each."""

    def forget(self) -> None:
        """Remove what was kept: the stage has ended well."""


def require_folder(data: Dataset) -> None:
    """InputError where the images of a data set lie elsewhere: only the two stages have engines."""
    if (data.folder / MANIFEST).exists():
        raise InputError(
            f"{data.folder}: its images lie elsewhere ({MANIFEST}), where only validate and preprocess read them; "
            "fetch them into images/ for anything else"
        )


@contextmanager
def opened(data: Dataset, engine: Engine, scratch: Path) -> Iterator[Any]:
    """Yield what reads the images in several processes; None where this process reads the folder images/ itself.

    It is a `ShardWriter`, and for validate `pipeline.data.images.Images`. What it has done is kept in `scratch` until
    its `forget`, so that a killed stage goes on. InputError for an engine or a manifest that cannot be used.
    """
    if engine.name == LOCAL and not (data.folder / MANIFEST).exists():
        if engine.insists:
            raise InputError(
                f"--actors {engine.processes}: here the stage itself reads images/; add --engine ray, or leave it out"
            )
        yield None
        return
    with _preparing().opened(data, engine, scratch) as found:
        yield found


def _preparing() -> Any:
    """The module of the engines, by its name: an import would make it a dependency of the stages (see above)."""
    return importlib.import_module("pipeline.archive.preparing.images")
