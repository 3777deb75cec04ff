"""Ends a command whose Ray cluster has gone: Ray itself may wait for it for many minutes, in calls without a limit."""

import os
import socket
import sys
import time
from collections.abc import Callable
from threading import Event, Thread

GONE = 60.0
"""Seconds without an answer after which a cluster is given up; Ray lets its nodes live as long without the head."""
_LOOK, _PATIENCE = 5.0, 5.0
"""Seconds between two looks, and of one."""


class Watchdog:
    """Looks whether the head of the cluster at HOST:PORT accepts connections, until `stop`.

    After `gone` seconds without one the process ends with one line and code 1, wherever its threads are.
    """

    def __init__(self, address: str, gone: float = GONE, end: Callable[[str], None] | None = None) -> None:
        self._address, self._gone = address, gone
        self._end = end or _end
        self._stopped = Event()
        Thread(target=self._watch, daemon=True, name="ray-watchdog").start()

    def stop(self) -> None:
        """Look no more: the cluster may go."""
        self._stopped.set()

    def _watch(self) -> None:
        host, _, port = self._address.rpartition(":")
        seen = time.monotonic()
        while not self._stopped.wait(min(_LOOK, self._gone / 4)):
            if answers(host.strip("[]"), int(port)):
                seen = time.monotonic()
            elif time.monotonic() - seen > self._gone and not self._stopped.is_set():
                self._end(
                    f"{self._address}: the head of the cluster has not answered for {self._gone:.0f} seconds; "
                    "when it runs again, run the command again: it goes on where it was"
                )
                return


def answers(host: str, port: int) -> bool:
    """Whether somebody accepts a connection there."""
    try:
        with socket.create_connection((host, port), timeout=_PATIENCE):
            return True
    except OSError:
        return False


def _end(line: str) -> None:
    print(f"error: {line}", file=sys.stderr, flush=True)
    os._exit(1)  # the main thread may wait in Ray, which no exception reaches
