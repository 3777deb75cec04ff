"""The engine of a Ray cluster: actors that each watch one scoring process, and a driver that hands out blocks.

Ray moves blocks and reports, never pixels. Whatever dies, its block is done again by another actor: a block always
writes the same file, so doing it twice is no harm (`pipeline.archive.shards`).
"""

import fcntl
import os
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from pipeline.archive.engines import Report, Work
from pipeline.archive.joining import connect
from pipeline.archive.places import open_place
from pipeline.archive.shards import Block, Plan, Shards
from pipeline.errors import InputError
from pipeline.files import atomic_folder
from serving import bundle, signature
from serving.errors import one_line

_TICK = 5.0
"""Seconds between two looks at whether anything still moves."""
_MOST_LOSSES = 20
"""Actors that may be lost with one block before it is not tried again."""
_STALL = 1800.0
_SIGNATURE = ".."
"""Stands for the signature among a bundle's files: no file of one can have this name."""


class RayEngine:
    """`processes` actors of the cluster at `address`, or of one on this machine; 0 takes one a CPU of the cluster.

    `stall` is the time in seconds after which a cluster that ends no block is given up. Use it in a `with` block.
    """

    def __init__(self, work: Work, processes: int, address: str = "", stall: float = _STALL) -> None:
        self._work, self._processes, self._address, self._stall = work, processes, address, stall
        self._files: Any = None

    def __enter__(self) -> "RayEngine":
        connect(self._address, self._processes)
        self._files = ray.put(_bundle_files(self._work.asked.bundle))
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()

    def run(self, shards: Shards, blocks: Iterator[Block], done: Callable[[Report], None]) -> None:
        count = self._processes or int(ray.cluster_resources().get("CPU", 0))
        if not count:
            raise InputError("the cluster has no CPU yet; say with --actors how many to wait for")
        make = ray.remote(num_cpus=1, max_restarts=0, max_concurrency=1)(ScoringActor)
        crew = _Crew(lambda: make.remote(self._work, shards.place.uri, shards.plan, self._files), blocks)
        crew.grow(count)
        moved = time.monotonic()
        try:
            while crew.busy:
                found = crew.next_reports(_TICK)
                for report in found:
                    done(report)
                if found:
                    moved = time.monotonic()
                elif time.monotonic() - moved > self._stall:
                    raise InputError(
                        f"the cluster ended no block for {self._stall:.0f} seconds ({crew.ready} of {count} actors "
                        "run); see that its nodes have free CPUs, and run the command again: it goes on where it was"
                    )
        finally:
            crew.dismiss()


@dataclass(frozen=True)
class _Task:
    """What an actor does: a block, or None while it starts."""

    actor: Any
    block: Block | None


class _Crew:
    """Actors and what each of them does. One that is lost is replaced; its block is done by another one."""

    def __init__(self, make: Callable[[], Any], blocks: Iterator[Block]) -> None:
        self._make, self._blocks = make, blocks
        self._tasks: dict[Any, _Task] = {}
        self._again: deque[Block] = deque()
        self._losses: Counter[int] = Counter()
        self._waiting: Block | None = next(blocks, None)
        self.ready = 0

    @property
    def busy(self) -> bool:
        """Whether a block is to be done, or being done; actors that still start do not count."""
        return bool(self._again) or self._waiting is not None or any(task.block for task in self._tasks.values())

    def grow(self, count: int) -> None:
        """Ask for further actors; Ray starts them when nodes have room."""
        for _ in range(count):
            actor = self._make()
            self._tasks[actor.ready.remote()] = _Task(actor, None)

    def next_reports(self, patience: float) -> list[Report]:
        """What ended, waiting up to `patience` seconds for the first; InputError where an actor cannot work."""
        ended, _ = ray.wait(list(self._tasks), num_returns=1, timeout=patience)
        reports = []
        for reference in ended:
            task = self._tasks.pop(reference)
            try:
                found = ray.get(reference)
            except RayTaskError as error:
                raise _cause(error) from None
            except RayActorError:
                self._lost(task)
                continue
            if task.block is None:
                self.ready += 1
            else:
                reports.append(found)
            self._give(task.actor)
        return reports

    def dismiss(self) -> None:
        """End all actors, and with them their processes."""
        for task in self._tasks.values():
            ray.kill(task.actor)

    def _give(self, actor: Any) -> None:
        block = self._next_block()
        if block is None:
            ray.kill(actor)  # its CPU may be wanted elsewhere
        else:
            self._tasks[actor.do.remote(block)] = _Task(actor, block)

    def _next_block(self) -> Block | None:
        if self._again:
            return self._again.popleft()
        block, self._waiting = self._waiting, None
        if block is not None:
            self._waiting = next(self._blocks, None)
        return block

    def _lost(self, task: _Task) -> None:
        number = -1 if task.block is None else task.block.number
        self._losses[number] += 1
        if self._losses[number] > _MOST_LOSSES:
            raise InputError(
                "actors of the cluster end again and again; see Ray's logs for why, and run the command again"
            )
        if task.block is not None:
            self.ready -= 1
            self._again.append(task.block)
        self.grow(1)


class ScoringActor:
    """One scoring process on a node of the cluster, and the thread that watches it."""

    def __init__(self, work: Work, place: str, plan: Plan, files: Mapping[str, bytes]) -> None:
        folder = _unpacked(files, work.asked.digest)
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


def _cause(error: RayTaskError) -> Exception:
    """What went wrong in an actor: bad input and a full disk keep their line."""
    cause = error.cause
    return cause if isinstance(cause, InputError | OSError) else InputError(f"an actor failed: {one_line(cause, 200)}")
