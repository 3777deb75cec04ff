"""Watch a canary: one alert, or nobody to ask, and every request goes to the service again."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.cloud.canary.alerts import Prometheus
from pipeline.cloud.canary.steps import Canary, give_back
from pipeline.errors import InputError


@dataclass(frozen=True)
class Patience:
    """How often is asked, for how long, and how many failed questions in a row are borne."""

    seconds: float = 30.0
    hours: float = 24.0
    failures: int = 3


@dataclass(frozen=True)
class Verdict:
    """How a watch ended."""

    words: str
    good: bool
    """Nothing spoke against the canary: it stands as before, or somebody ended or promoted it."""


def watch(
    canary: Canary,
    prometheus: Prometheus | None,
    patience: Patience,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Verdict:
    """Ask the alerts until one fires, the time is over or the canary has no share any more.

    Whatever ends the watch but the last two, an interruption too, gives the requests back to the service.
    """
    until, failed, seen = clock() + 3600 * patience.hours, 0, None
    try:
        while True:
            try:
                standing = canary.find()
                if standing is None or not standing.share:
                    return Verdict("there is no canary with a share to watch any more", good=True)
                if standing != seen:
                    seen = standing
                    canary.client.show(f"watching {standing.model}, which answers {standing.share} % of the requests")
                found = canary.alarms() + (prometheus.firing() if prometheus else [])
                failed = 0
            except InputError as error:
                failed += 1
                canary.client.show(f"{failed} of {patience.failures}: {error}")
                if failed >= patience.failures:
                    return _withdrawn(canary, f"nobody says how the canary does ({error})", sleep)
                found = []
            if found:
                return _withdrawn(canary, ", ".join(found), sleep)
            if clock() >= until and not failed:
                return Verdict(
                    f"no alert in {patience.hours:g} h; promote the canary, end it or watch it further", good=True
                )
            sleep(patience.seconds)
    except BaseException:
        canary.client.show(give_back(canary))
        raise


def _withdrawn(canary: Canary, why: str, sleep: Callable[[float], None]) -> Verdict:
    said = give_back(canary, tries=5, pause=lambda: sleep(5.0))
    return Verdict(f"{why}: {said}; the canary stands without a request, for its log; `end` removes it", good=False)
