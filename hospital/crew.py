"""The gateway's threads: each does one step after the other, and is exchanged where its configuration changed."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hospital import logs

_IDLE_SECONDS = 0.5
_DEFECT_SECONDS = 5.0
_PAUSE_SECONDS = 0.05
"""Before a worker that had nothing to do looks again: objects that come in side by side wake it once."""

Step = Callable[[], bool]
"""Works on the next thing that is due; False where there is none."""


@dataclass(frozen=True)
class Worker:
    """A thread to be: `make` is told by what to see that it ends. One with the same name and `facts` goes on.

    `bell` is what wakes it in place of the crew's.
    """

    name: str
    facts: object
    make: Callable[[threading.Event], Step]
    bell: threading.Event | None = None


@dataclass(frozen=True)
class _Running:
    worker: Worker
    ending: threading.Event
    thread: threading.Thread


class Crew:
    """Threads that wait for `bell`, or a moment, when there is nothing to do.

    `give_back` frees what a step that failed could not settle; it is called in that step's thread.
    """

    def __init__(self, bell: threading.Event, give_back: Callable[[], None] = lambda: None) -> None:
        self._bell = bell
        self._give_back = give_back
        self._running: dict[str, _Running] = {}
        self._leaving: list[_Running] = []

    def exchange(self, workers: Sequence[Worker]) -> list[str]:
        """Make these the threads that run; the names of those that came or went.

        One that goes ends its step first: its job may go on beside its successor's, each under a lease of its own.
        """
        wanted = {one.name: one for one in workers}
        changed = [
            name
            for name in {**self._running, **wanted}
            if name not in wanted or name not in self._running or self._running[name].worker.facts != wanted[name].facts
        ]
        self._leaving = [one for one in self._leaving if one.thread.is_alive()]
        for name in changed:
            before = self._running.pop(name, None)
            if before is not None:
                before.ending.set()
                (before.worker.bell or self._bell).set()
                self._leaving.append(before)
            if name in wanted:
                self._running[name] = self._started(wanted[name])
        self._bell.set()
        return changed

    def close(self, seconds: float) -> None:
        """Let each thread end its step, and wait `seconds` for each."""
        everyone = [*self._running.values(), *self._leaving]
        for one in everyone:
            one.ending.set()
            (one.worker.bell or self._bell).set()
        for one in everyone:
            one.thread.join(seconds)

    def _started(self, worker: Worker) -> _Running:
        ending = threading.Event()
        step = worker.make(ending)
        thread = threading.Thread(
            target=self._loop, args=(step, ending, worker.bell or self._bell), name=worker.name, daemon=True
        )
        thread.start()
        return _Running(worker, ending, thread)

    def _loop(self, step: Step, ending: threading.Event, bell: threading.Event) -> None:
        """One step after the other; a database that is away is waited for, and the job is taken up again."""
        failed = False
        while not ending.is_set():
            try:
                if failed:
                    self._give_back()
                failed = False
                busy = step()
            except Exception:  # whatever it is, the thread goes on: nothing else does its work
                failed = True
                logs.exception("step_failed", thread=threading.current_thread().name)
                ending.wait(_DEFECT_SECONDS)
                continue
            if busy:
                self._bell.set()
            else:
                bell.wait(_IDLE_SECONDS)
                bell.clear()
                ending.wait(_PAUSE_SECONDS)
