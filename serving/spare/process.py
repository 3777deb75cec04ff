"""The worker's end of a spare process: a bounded queue, and the thread that feeds it."""

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from serving.spare import frames
from serving.spare.frames import Facts

_MOST_WAITING = 256
_ANSWER_SECONDS = 300.0
"""After which a process that says nothing of an image is ended; it may have had no time at all until then."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_END_SECONDS = 3.0


class Meter(Protocol):
    """Where it is told what became of the images."""

    def done(self) -> None: ...

    def dropped(self, reason: str) -> None: ...

    def trouble(self, message: str) -> None: ...


class SpareProcess:
    """Images for a module below `serving.spare`, run as a process with the least share of the processor.

    An image is dropped and counted where the queue is full (`busy`), where the process failed on it (`failed`) or said
    why it would not take it, and at the end (`closing`). A process that ended is started again, ever less often.
    """

    def __init__(
        self,
        module: str,
        settings: Facts,
        most_bytes: int,
        meter: Meter,
        take: Callable[[Facts, Any], None] | None = None,
        *,
        idle: bool = True,
    ) -> None:
        """`take` gets what the process says of an image that is done, with the facts that were given with it.

        An `idle` process works only while no other one wants the processor.
        """
        self._module, self._take = module, take
        self._settings = {**settings, "idle": idle}
        self._most_bytes, self._meter = most_bytes, meter
        self._waiting: deque[tuple[Facts, bytes]] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._pause = 0.0
        self._last_trouble = ""
        self._thread = threading.Thread(target=self._run, name=module, daemon=True)
        self._thread.start()

    def give(self, facts: Facts, content: bytes) -> bool:
        """Take an image; False, at once, when there is no room for it. Never raises."""
        with self._changed:
            room = self._held + len(content) <= self._most_bytes and len(self._waiting) < _MOST_WAITING
            if taken := room and not self._closing:
                self._waiting.append((facts, content))
                self._held += len(content)
                self._changed.notify()
        if not taken:
            self._meter.dropped("busy")
        return taken

    def close(self) -> None:
        """End the process; what still waits is dropped."""
        with self._changed:
            self._closing = True
            left = len(self._waiting)
            self._waiting.clear()
            self._changed.notify()
            process = self._process
        for _ in range(left):
            self._meter.dropped("closing")
        _end(process)
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                # Started before the first image, so that a bundle that cannot be used is in the log.
                self._changed.wait_for(lambda: self._closing or self._waiting or self._process is None)
                if self._closing:
                    return
            if not self._is_running():
                self._rest()
                continue
            with self._changed:
                if not self._waiting:
                    continue
                facts, content = self._waiting.popleft()
            said = self._ask(facts, content)
            with self._changed:
                self._held -= len(content)
            self._tell(facts, said)

    def _is_running(self) -> bool:
        """Whether there is a process; one is started where there is none."""
        if self._process is not None:
            if self._process.poll() is None:
                return True
            _end(self._process)
            with self._changed:
                self._process = None
            return False
        started = _start(self._module)
        with self._changed:
            self._process = started
            if self._closing:
                _end(started)
                return False
        said = self._ask(self._settings, b"")
        if said.get("ready"):
            return True
        self._say(f"{self._module}: {said.get('message', 'it ended while it started')}")
        _end(started)
        with self._changed:
            self._process = None
        return False

    def _ask(self, facts: Facts, content: bytes) -> dict[str, Any]:
        """What the process says of a frame; `failed` where it ends or hangs."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise AssertionError("no process was started")
        with suppress(OSError, ValueError):
            frames.write(process.stdin, facts, content)
            if frames.is_waiting(process.stdout.fileno(), _ANSWER_SECONDS):
                line = process.stdout.readline()
                return dict(json.loads(line))
        _end(process)
        return {"dropped": "failed", "message": "the process ended or hung"}

    def _tell(self, facts: Facts, said: dict[str, Any]) -> None:
        if message := said.get("message"):
            self._say(f"{self._module}: {message}")
        if self._process is not None and self._process.returncode is None:
            self._pause = 0.0
        if (reason := said.get("dropped")) is not None:
            self._meter.dropped("closing" if self._closing else str(reason))
            return
        self._last_trouble = ""
        self._meter.done()
        if self._take:
            self._take(facts, said["done"])

    def _rest(self) -> None:
        """Wait before the next start; what comes meanwhile is dropped as soon as the queue is full."""
        self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE)
        with self._changed:
            self._changed.wait_for(lambda: self._closing, self._pause)

    def _say(self, message: str) -> None:
        """A line for the log, once for as long as it stays the same."""
        if message != self._last_trouble and not self._closing:
            self._last_trouble = message
            self._meter.trouble(message)


def _start(module: str) -> "subprocess.Popen[bytes]":
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    return subprocess.Popen(  # noqa: S603  fixed words
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )


def _end(process: "subprocess.Popen[bytes] | None") -> None:
    if process is None:
        return
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError, ValueError):
            if pipe is not None:
                pipe.close()
