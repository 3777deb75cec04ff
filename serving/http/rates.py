"""How often somebody may do something."""

import time
from collections.abc import Callable

_MINUTE = 60.0


class RateLimit:
    """So many a minute for each name: a bucket that refills as time goes by."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> float:
        """0 when one is free, which is then taken; else the seconds until there is one."""
        now = self._clock()
        left, before = self._buckets.get(name, (self._most, now))
        left = min(self._most, left + (now - before) * self._most / _MINUTE)
        self._buckets[name] = (left - 1 if left >= 1 else left, now)
        return 0.0 if left >= 1 else (1 - left) * _MINUTE / self._most
