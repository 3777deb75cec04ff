"""A server that is looked at now and then, and less often while it fails."""

import time
from collections.abc import Callable

from hospital import logs
from hospital.database import now
from hospital.errors import DeadLetterError, TryAgainError
from hospital.metrics import Metrics

_LONGEST_WAIT = 3600.0
"""Seconds between looks at a server that fails."""


class Rounds:
    """Makes one round each `interval` seconds, and tells metrics and log how it went.

    `name` is the server's, `due` the moment of the next look (time.monotonic).
    """

    def __init__(self, name: str, interval: float, metrics: Metrics, make: Callable[[], None]) -> None:
        self._name, self._interval, self._metrics, self._make = name, interval, metrics, make
        self.due = 0.0
        self._failures = 0

    def step(self) -> bool:
        """Look at the server if it is time to; False, as whatever it brings is announced by itself."""
        if time.monotonic() < self.due:
            return False
        try:
            self._make()
        except (TryAgainError, DeadLetterError) as error:
            self._failures += 1
            self._metrics.polls.labels(self._name, error.code).inc()
            logs.trouble("poll_failed", source=self._name, code=error.code, reason=error.message)
        except BaseException:
            self._failures += 1
            raise
        else:
            self._failures = 0
            self._metrics.polls.labels(self._name, "done").inc()
            self._metrics.polled_at.labels(self._name).set(now())
        finally:
            self.due = time.monotonic() + self.wait(self._failures)
        return False

    def wait(self, failures: int) -> float:
        """Seconds until the next look, doubled with each failure up to an hour."""
        return max(self._interval, min(_LONGEST_WAIT, self._interval * 2.0 ** min(failures, 20)))
