"""A child process whose decoder does what a faulty decoder may do, told by the first word of the file it is given.

It takes a tenth of a second for any other file, so that a test can kill something meanwhile.
"""

import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from pipeline.archive.preparing import tasks


class _Poisoned:
    """A task whose work may end the process."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def begin(self) -> Callable[[bytes], Any]:
        work = self._task.begin()

        def poisoned(content: bytes) -> Any:
            word = content[:5]
            if word == b"crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            if word == b"hang ":
                time.sleep(10_000)
            time.sleep(0.1)
            return work(content)

        return poisoned


def run(connection: Connection, asked: Any) -> None:
    """As `tasks.run`."""
    tasks.run(connection, _Poisoned(asked))
