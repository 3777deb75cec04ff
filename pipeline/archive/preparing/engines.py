"""Who does the blocks: processes of this machine, or of a Ray cluster (`cluster`)."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.archive import cluster_safety
from pipeline.archive.preparing.tasks import Block, Job
from pipeline.archive.processes import run_here
from pipeline.data.engine import RAY, Engine
from pipeline.errors import InputError
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.archive.preparing import cluster
else:
    cluster = late("pipeline.archive.preparing.cluster")


class Runner(Protocol):
    """Does blocks in any order; one that is done twice is no harm."""

    def run(self, job: Job[Any, Any], blocks: Iterator[Block], done: Callable[[Any], None]) -> None:
        """Do all blocks, and call `done` with what comes of each."""


class LocalRunner:
    """`processes` of this machine; 0 takes one a core."""

    def __init__(self, processes: int = 0) -> None:
        self._processes = processes or len(os.sched_getaffinity(0))

    def run(self, job: Job[Any, Any], blocks: Iterator[Block], done: Callable[[Any], None]) -> None:
        run_here([job.worker() for _ in range(self._processes)], job.do, blocks, done)


def runner_of(engine: Engine) -> AbstractContextManager[Runner]:
    """The one that is asked for; InputError for Ray where it is not installed, or its address is none."""
    if engine.name != RAY:
        return nullcontext(LocalRunner(engine.processes))
    cluster_safety.check_address(engine.address)
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "--engine ray: Ray is not installed here; `make ray-setup` makes .venv-ray, then use .venv-ray/bin/python "
            "or .venv-ray/bin/dvc (elsewhere: pip install 'bone-fracture-detection[train,ray]')"
        )
    if not engine.address:
        cluster_safety.make_token()
    found: AbstractContextManager[Runner] = cluster.RayRunner(engine.processes, engine.address)
    return found
