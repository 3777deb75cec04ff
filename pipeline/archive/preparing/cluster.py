"""The engine of a Ray cluster: actors that each watch one process, and hand back what comes of a block."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import ray

from pipeline.archive.crew import run_on_actors
from pipeline.archive.joining import joined
from pipeline.archive.preparing.tasks import Block, Job


class RayRunner:
    """`processes` actors of the cluster at `address`, or of one on this machine; 0 takes one a CPU of the cluster.

    Use it in a `with` block.
    """

    def __init__(self, processes: int, address: str = "") -> None:
        self._processes, self._address = processes, address
        self._joined = ExitStack()

    def __enter__(self) -> "RayRunner":
        self._joined.enter_context(joined(self._address, self._processes))
        return self

    def __exit__(self, *_: object) -> None:
        self._joined.close()

    def run(self, job: Job[Any, Any], blocks: Iterator[Block], done: Callable[[Any], None]) -> None:
        make = ray.remote(num_cpus=1, max_restarts=0, max_concurrency=1)(PreparingActor)
        run_on_actors(lambda: make.remote(job), self._processes, blocks, done)


class PreparingActor:
    """One process on a node of the cluster, and the thread that watches it."""

    def __init__(self, job: Job[Any, Any]) -> None:
        self._job, self._worker = job, job.worker()

    def ready(self) -> None:
        """Answer when the actor runs."""

    def do(self, block: Block) -> Any:
        """Do a block."""
        return self._job.do(self._worker, block)
