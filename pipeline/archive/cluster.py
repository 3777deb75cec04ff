"""The engine of a Ray cluster: actors that each watch one scoring process, and a driver that hands out blocks.

Ray moves blocks and reports, never pixels. Whatever dies, its block is done again by another actor: a block always
writes the same file, so doing it twice is no harm (`pipeline.archive.shards`).
"""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from pipeline.archive.crew import STALL, run_on_actors
from pipeline.archive.engines import Report, Work
from pipeline.archive.joining import joined
from pipeline.archive.places import open_place
from pipeline.archive.shards import Block, Plan, Shards
from pipeline.errors import InputError
from pipeline.files import atomic_folder
from serving import bundle, signature

_SIGNATURE = ".."
"""Stands for the signature among a bundle's files: no file of one can have this name."""


class RayEngine:
    """`processes` actors of the cluster at `address`, or of one on this machine; 0 takes one a CPU of the cluster.

    `stall` is the time in seconds after which a cluster that ends no block is given up. Use it in a `with` block.
    """

    def __init__(self, work: Work, processes: int, address: str = "", stall: float = STALL) -> None:
        self._work, self._processes, self._address, self._stall = work, processes, address, stall
        self._files: Any = None
        self._joined = ExitStack()

    def __enter__(self) -> "RayEngine":
        self._joined.enter_context(joined(self._address, self._processes))
        self._files = ray.put(_bundle_files(self._work.asked.bundle))
        return self

    def __exit__(self, *_: object) -> None:
        self._joined.close()

    def run(self, shards: Shards, blocks: Iterator[Block], done: Callable[[Report], None]) -> None:
        make = ray.remote(num_cpus=1, max_restarts=0, max_concurrency=1)(ScoringActor)

        # In a tuple, so that the actor fetches them itself: an argument of its own stays pinned on the node for ever
        # where the driver is killed while the actor starts (ray-project/ray 64627). After a few such kills the node has
        # no room left, and no driver gets an actor on it.
        files = (self._files,)

        def start() -> Any:
            return make.remote(self._work, shards.place.uri, shards.plan, files)

        run_on_actors(start, self._processes, blocks, done, self._stall)


class ScoringActor:
    """One scoring process on a node of the cluster, and the thread that watches it."""

    def __init__(self, work: Work, place: str, plan: Plan, files: tuple[Any]) -> None:
        folder = _unpacked(ray.get(files[0]), work.asked.digest)
        self._work = replace(work, asked=replace(work.asked, bundle=folder))
        self._worker = self._work.worker()
        self._shards = Shards(open_place(place), plan)

    def ready(self) -> None:
        """Answer when the actor runs."""

    def do(self, block: Block) -> Report:
        """Score a block, and write its rows."""
        return self._work.do(self._worker, self._shards, block)


def _bundle_files(folder: Path) -> dict[str, bytes]:
    """The files of a verified bundle by name, and its signature as _SIGNATURE where there is one."""
    names = [bundle.MANIFEST, *bundle.read_manifest(folder).files]
    files = {name: (folder / name).read_bytes() for name in names}
    beside = signature.beside(folder)
    return files | ({_SIGNATURE: beside.read_bytes()} if beside.is_file() else {})


def _unpacked(files: Mapping[str, bytes], digest: str) -> Path:
    """The bundle on this node's disk, written once by whichever actor is first; the scoring process verifies it."""
    home = Path(tempfile.gettempdir()) / f"fracture-bundles-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.lstat().st_uid != os.getuid() or home.is_symlink():
        raise InputError(f"{home}: belongs to somebody else; set TMPDIR on the nodes")
    target = home / digest
    with (home / f"{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / bundle.MANIFEST).exists():
            with atomic_folder(target) as partial:
                for name, content in files.items():
                    if name == _SIGNATURE:
                        continue
                    (partial / name).parent.mkdir(parents=True, exist_ok=True)
                    (partial / name).write_bytes(content)
        if _SIGNATURE in files:
            signature.beside(target).write_bytes(files[_SIGNATURE])
    return target
