"""Has a child process answer for entries, and survives what an image does to it."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Generic, Literal, TypeVar

from pipeline.archive.child import OUT_OF_MEMORY, Answered, Begun, Failed, Message, Ready, Scoring
from pipeline.archive.entries import Entry
from pipeline.archive.results import Row, error_row
from pipeline.errors import InputError
from serving.errors import ImageError

CRASHED, TIMEOUT = "crashed", "timeout"
_MESSAGES = {
    CRASHED: "the decoder ended the process that ran it, twice",
    TIMEOUT: "the decoder did not end in time, twice",
    OUT_OF_MEMORY: "the decoder needed more memory than a process may have, twice",
}
RUN = "pipeline.archive.child:run"
"""What a child runs."""
_PROGRAM = "from pipeline.archive.child import main; main()"
_TICK = 0.1
"""Seconds between two looks at the memory of a child."""
_MOST_STARTS = 3
"""Children that may end one after the other without having begun an image."""

Death = Literal["crashed", "timeout", "out_of_memory"]


@dataclass(frozen=True)
class Bounds:
    """What one image may take of a child process."""

    seconds: float = 60.0  # of decoding and scoring
    fetch_seconds: float = 600.0  # of waiting for its bytes, all attempts together
    memory: int = 4 << 30  # bytes resident, the model and the images ahead included


@dataclass(frozen=True)
class _Child:
    """A child process, and the connection to it."""

    process: subprocess.Popen[bytes]
    connection: Connection


class _Watch:
    """Waits for a child's messages, and looks at its time and memory meanwhile."""

    def __init__(self, process: subprocess.Popen[bytes], bounds: Bounds) -> None:
        self._memory = Path(f"/proc/{process.pid}/statm")
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._bounds = bounds
        self._looked = self._since = time.monotonic()
        self._patience = bounds.fetch_seconds

    def next_message(self, connection: Connection) -> Message | Death | None:
        """The next message; why the child has to be ended; None where it has ended."""
        while True:
            there = connection.poll(_TICK)
            now = time.monotonic()
            if now - self._looked >= _TICK:
                self._looked = now
                if self._resident() > self._bounds.memory:
                    return "out_of_memory"
            if there:
                break
            if now - self._since > self._patience:
                return "timeout"
        try:
            found: Message = connection.recv()
        except (EOFError, OSError):
            return None
        self._since = time.monotonic()
        working = isinstance(found, Begun) and found.phase == "work"
        self._patience = self._bounds.seconds if working else self._bounds.fetch_seconds
        return found

    def _resident(self) -> int:
        """Bytes; 0 where the process is gone, or this is no Linux."""
        try:
            return int(self._memory.read_text().split()[1]) * self._page
        except (OSError, IndexError):
            return 0


class StoppedError(Exception):
    """Raised in the thread that scores when another one stopped its worker."""


Answer = TypeVar("Answer")


class WatchedChild(Generic[Answer]):
    """One child process at a time, which answers for entries, started anew when an image ends it.

    `asked` is handed to what the child runs, `target`, a module and a function; `failed` makes the answer for an image
    that ends its child. Used by one thread at a time, but for `stop`.
    """

    def __init__(
        self, asked: object, bounds: Bounds, failed: Callable[[Entry, ImageError], Answer], target: str
    ) -> None:
        self._asked, self._bounds, self._failed, self._target = asked, bounds, failed, target
        self._child: _Child | None = None
        self._stopped = False

    def answer(self, entries: Sequence[Entry]) -> list[Answer]:
        """One answer an entry, in their order; InputError when no child can be started, StoppedError after `stop`.

        An image of which a child dies is tried once more, alone: not every death is its fault.
        """
        rows: dict[int, Answer] = {}
        suspects: set[int] = set()
        deaths = 0
        while open_positions := [n for n in range(len(entries)) if n not in rows]:
            alone = next((n for n in open_positions if n in suspects), None)
            asked = open_positions if alone is None else [alone]
            death, at = self._ask(entries, asked, rows)
            if death is None:
                suspects.difference_update(asked)
                continue
            deaths = deaths + 1 if at is None else 0
            if deaths == _MOST_STARTS:
                raise InputError("the processes end before they begin an image; is there enough memory?")
            if at is not None and at in suspects:
                rows[at] = self._failed(entries[at], ImageError(death, _MESSAGES[death]))
                suspects.discard(at)
            elif at is not None:
                suspects.add(at)
        return [rows[n] for n in range(len(entries))]

    def stop(self) -> None:
        """End the child from another thread, for good: what `answer` waits for does not come any more."""
        self._stopped = True
        if (child := self._child) is not None:
            child.process.kill()

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.process.kill()
            self._child.process.wait()
            self._child.connection.close()
        self._child = None

    def _ask(
        self, entries: Sequence[Entry], positions: Sequence[int], rows: dict[int, Answer]
    ) -> tuple[Death | None, int | None]:
        """Let the child answer some entries into `rows`; how it died, and at which one, or None twice."""
        child, at = self._child, None
        if child is None and not self._stopped:
            child = self._start()
        if child is None or self._stopped:
            raise StoppedError
        try:
            child.connection.send([entries[n] for n in positions])
        except OSError:
            return self._ended(child, None), None
        watch = _Watch(child.process, self._bounds)
        while True:
            found = watch.next_message(child.connection)
            if isinstance(found, Begun):
                at = positions[found.position]
            elif isinstance(found, Answered):
                rows.update((positions[n], row) for n, row in found.rows)
                at = None
            elif isinstance(found, Ready):
                return None, None
            elif not isinstance(found, Failed):
                return self._ended(child, found), at

    def _ended(self, child: _Child, reason: Death | None) -> Death:
        """Why the child is gone, or has to be: a kill that is none of ours is the system's, for want of memory."""
        if reason is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(10)
        code = child.process.returncode
        self.close()
        if self._stopped:
            raise StoppedError
        if reason is None:
            return "out_of_memory" if code == -signal.SIGKILL else "crashed"
        return reason

    def _start(self) -> _Child:
        ours, theirs = multiprocessing.Pipe()
        # Not by multiprocessing, which would run the main module of this process again: a command, or Ray's.
        command = [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), self._target]
        environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ}  # read when numpy is imported
        with theirs:
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)  # noqa: S603  our own words
        self._child = child = _Child(process, ours)
        found = None
        with contextlib.suppress(EOFError, OSError):
            ours.send(self._asked)
            found = ours.recv()
        if isinstance(found, Failed):
            self.close()
            raise InputError(found.reason)
        return child


class Worker(WatchedChild[Row]):
    """One that scores; in tests `target` is another one."""

    def __init__(self, asked: Scoring, bounds: Bounds, model: str, target: str = RUN) -> None:
        super().__init__(asked, bounds, lambda entry, error: error_row(entry, error, model, 0.0), target)

    def score(self, entries: Sequence[Entry]) -> list[Row]:
        """One row an entry, as `answer` gives them."""
        return self.answer(entries)
