"""Blocks of work on this machine: processes, each watched by a thread."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from pipeline.archive.worker import WatchedChild

Block = TypeVar("Block")
Result = TypeVar("Result")
Child = TypeVar("Child", bound=WatchedChild[Any])


def run_here(
    workers: Sequence[Child],
    do: Callable[[Child, Block], Result],
    blocks: Iterator[Block],
    done: Callable[[Result], None],
) -> None:
    """Let each worker do one block at a time, and call `done` after each; few blocks are taken ahead.

    At the end, or when one fails, all workers are closed.
    """
    idle = deque(workers)

    def work(block: Block) -> Result:
        worker = idle.pop()
        try:
            return do(worker, block)
        finally:
            idle.append(worker)

    pool = ThreadPoolExecutor(len(workers), "block")
    running: set[Future[Result]] = set()
    try:
        for block in itertools.chain(blocks, itertools.repeat(None)):
            if block is not None:
                running.add(pool.submit(work, block))
                if len(running) < 2 * len(workers):
                    continue
            if not running:
                return
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                done(future.result())
    finally:
        for future in running:
            future.cancel()
        for worker in workers:
            worker.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        for worker in workers:
            worker.close()
