"""Actors of a Ray cluster that do blocks of work, and what happens when one is lost.

An actor has the methods `ready`, which answers when it runs, and `do`, which does a block. Whatever dies, its block is
done again by another actor: doing one twice must be no harm.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from pipeline.errors import InputError
from serving.errors import one_line

STALL = 1800.0
"""Seconds after which a cluster that ends no block is given up."""
_TICK = 5.0
"""Seconds between two looks at whether anything still moves."""
_MOST_LOSSES = 20
"""Actors that may be lost with one block before it is not tried again."""


class Numbered(Protocol):
    """A block."""

    @property
    def number(self) -> int:
        """That tells blocks apart which are done at the same time."""


Block = TypeVar("Block", bound=Numbered)
Result = TypeVar("Result")


def run_on_actors(
    make: Callable[[], Any],
    processes: int,
    blocks: Iterator[Block],
    done: Callable[[Result], None],
    stall: float = STALL,
) -> None:
    """Let actors that `make` starts do all blocks, and call `done` after each; `processes` 0 takes one a CPU.

    InputError for a cluster without CPUs, for one that ends no block for `stall` seconds, and for actors that cannot
    work.
    """
    count = processes or int(ray.cluster_resources().get("CPU", 0))
    if not count:
        raise InputError("the cluster has no CPU yet; say with --actors how many to wait for")
    crew: _Crew[Block, Result] = _Crew(make, blocks)
    crew.grow(count)
    moved = time.monotonic()
    try:
        while crew.busy:
            found = crew.next_results(_TICK)
            for result in found:
                done(result)
            if found:
                moved = time.monotonic()
            elif time.monotonic() - moved > stall:
                raise InputError(
                    f"the cluster ended no block for {stall:.0f} seconds ({crew.ready} of {count} actors "
                    "run); see that its nodes have free CPUs, and run the command again: it goes on where it was"
                )
    finally:
        crew.dismiss()


@dataclass(frozen=True)
class _Task(Generic[Block]):
    """What an actor does: a block, or None while it starts."""

    actor: Any
    block: Block | None


class _Crew(Generic[Block, Result]):
    """Actors and what each of them does. One that is lost is replaced; its block is done by another one."""

    def __init__(self, make: Callable[[], Any], blocks: Iterator[Block]) -> None:
        self._make, self._blocks = make, blocks
        self._tasks: dict[Any, _Task[Block]] = {}
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

    def next_results(self, patience: float) -> list[Result]:
        """What ended, waiting up to `patience` seconds for the first; InputError where an actor cannot work."""
        ended, _ = ray.wait(list(self._tasks), num_returns=1, timeout=patience)
        results: list[Result] = []
        for reference in ended:
            task = self._tasks.pop(reference)
            try:
                found = ray.get(reference)
            except RayTaskError as error:
                raise _cause(error) from None
            except RayActorError as error:
                self._lost(task, error)
                continue
            if task.block is None:
                self.ready += 1
            else:
                results.append(found)
            self._give(task.actor)
        return results

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

    def _lost(self, task: _Task[Block], error: RayActorError) -> None:
        number = -1 if task.block is None else task.block.number
        self._losses[number] += 1
        if self._losses[number] > _MOST_LOSSES:
            raise InputError(
                "actors of the cluster end again and again; see Ray's logs for why, and run the command again "
                f"(the last one: {one_line(error, 300)})"
            )
        if task.block is not None:
            self.ready -= 1
            self._again.append(task.block)
        self.grow(1)


def _cause(error: RayTaskError) -> Exception:
    """What went wrong in an actor: bad input and a full disk keep their line."""
    cause = error.cause
    return cause if isinstance(cause, InputError | OSError) else InputError(f"an actor failed: {one_line(cause, 200)}")
