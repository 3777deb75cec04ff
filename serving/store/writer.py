"""Writes answers to the store in a thread of its own: no answer waits for it, and none fails with it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from serving.store.errors import StoreError

BATCH = 200
_LONGEST_PAUSE = 10.0
_POLL_SECONDS = 1.0
_GATHER_SECONDS = 0.25
"""From the first row of a batch: one statement for many rows leaves the processor to the answers."""


Row_contra = TypeVar("Row_contra", contravariant=True)


class Sink(Protocol[Row_contra]):
    """A table of the database."""

    def check(self) -> None: ...

    def add_answers(self, rows: Sequence[Row_contra], /) -> None: ...


class Meter(Protocol):
    """Where the writer says how it fares."""

    def stored(self, rows: int) -> None: ...

    def not_stored(self, rows: int, reason: str) -> None: ...

    def waiting(self, rows: int, oldest_seconds: float) -> None: ...

    def trouble(self, message: str) -> None: ...


Written = TypeVar("Written")


class AnswerWriter(Generic[Written]):
    """A bounded queue of answers and the thread that empties it into a database.

    When the queue is full, new answers are dropped and counted (`full`). While the database is away, what waits stays
    and is tried again, ever less often. Rows that it will never take are dropped and counted (`unfit`), and so is what
    is left when the writer has to close (`closing`).
    """

    def __init__(
        self, database: Sink[Written], most: int, meter: Meter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._most = most
        self._meter = meter
        self._clock = clock
        self._waiting: deque[tuple[float, Written]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._pause = 0.0
        self._last_trouble = ""
        self._checked = False
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def add(self, row: Written) -> bool:
        """Take a row to be written; False, at once, when there is no room for it. Never raises."""
        with self._changed:
            taken = len(self._waiting) < self._most and not self._closing
            if taken:
                self._waiting.append((self._clock(), row))
                self._changed.notify()
        if not taken:
            self._meter.not_stored(1, "full")
        return taken

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits, for at most so long, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
        if left:
            self._meter.not_stored(left, "closing")
        self._meter.waiting(0, 0.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._closing:
                    self._changed.wait(_POLL_SECONDS)
                if self._waiting:
                    self._changed.wait_for(self._is_enough, _GATHER_SECONDS)
                batch = [row for _, row in list(self._waiting)[:BATCH]]
                ending = self._closing
            self._report()
            if batch:
                self._write(batch)
            elif ending:
                return
            if self._pause:
                if ending:
                    return
                self._rest()

    def _is_enough(self) -> bool:
        return self._closing or len(self._waiting) >= BATCH

    def _write(self, batch: list[Written]) -> None:
        try:
            if not self._checked:
                self._database.check()
                self._checked = True
            self._database.add_answers(batch)
        except StoreError as error:
            self._checked = False
            self._pause = min(max(0.5, 2 * self._pause), _LONGEST_PAUSE)
            self._say(str(error))
            return
        except Exception as error:  # noqa: BLE001  whatever a driver raises, the rows behind this one still count
            if len(batch) > 1:
                for row in batch:
                    self._write([row])
                    if self._pause:
                        return
                return
            self._say(f"an answer cannot be stored ({type(error).__name__})")
            self._remove(1)
            self._meter.not_stored(1, "unfit")
            return
        self._pause, self._last_trouble = 0.0, ""
        self._remove(len(batch))
        self._meter.stored(len(batch))

    def _remove(self, count: int) -> None:
        with self._changed:
            for _ in range(min(count, len(self._waiting))):
                self._waiting.popleft()

    def _rest(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, self._pause)
        self._report()

    def _report(self) -> None:
        with self._changed:
            rows = len(self._waiting)
            oldest = self._clock() - self._waiting[0][0] if rows else 0.0
        self._meter.waiting(rows, oldest)

    def _say(self, message: str) -> None:
        """A line for the log, once for as long as it stays the same."""
        if message != self._last_trouble:
            self._last_trouble = message
            self._meter.trouble(message)
