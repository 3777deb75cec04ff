"""What ends a watch, and that every doubt gives the requests back."""

import pytest

from pipeline.cloud.canary.steps import Standing
from pipeline.cloud.canary.watch import Patience, Verdict, watch
from tests.pipeline.cloud.canary.memory import MemoryCanary

SECOND = "bone-fracture/2"


@pytest.fixture
def canary() -> MemoryCanary:
    """A canary that answers a tenth of the requests."""
    return MemoryCanary(Standing("image", SECOND, 10))


def _watch(canary: MemoryCanary, hours: float = 0.0, failures: int = 3) -> Verdict:
    return watch(canary, None, Patience(1, hours, failures), sleep=lambda _: None, clock=lambda: 0.0)


def test_without_an_alert_it_keeps_its_share(canary: MemoryCanary) -> None:
    verdict = _watch(canary)
    assert verdict.good
    assert canary.done == []


def test_what_is_watched_is_said_once(canary: MemoryCanary) -> None:
    canary.failing["alarms"] = 1
    _watch(canary)
    assert [line for line in canary.said if line.startswith("watching")] == [
        f"watching {SECOND}, which answers 10 % of the requests"
    ]


def test_an_alert_takes_its_share(canary: MemoryCanary) -> None:
    canary.ringing = ["FractureErrors (fracture-canary)"]
    verdict = _watch(canary, hours=1)
    assert not verdict.good
    assert verdict.words.startswith("FractureErrors (fracture-canary): every request goes to the service again")
    assert canary.standing == Standing("image", SECOND, 0)


@pytest.mark.parametrize("what", ["find", "alarms"])
def test_nobody_to_ask_takes_its_share(canary: MemoryCanary, what: str) -> None:
    canary.failing[what] = 3
    verdict = _watch(canary, hours=1)
    assert not verdict.good
    assert f"nobody says how the canary does ({what} failed)" in verdict.words
    assert canary.standing == Standing("image", SECOND, 0)


def test_a_question_without_an_answer_is_borne(canary: MemoryCanary) -> None:
    canary.failing["alarms"] = 1
    assert _watch(canary).good
    assert canary.said[-1] == "1 of 3: alarms failed"


def test_an_interrupted_watch_takes_its_share(canary: MemoryCanary) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(canary, None, Patience(hours=1), sleep=interrupt)
    assert canary.standing == Standing("image", SECOND, 0)
    assert canary.said[-1] == "every request goes to the service again"


@pytest.mark.parametrize("standing", [None, Standing("image", SECOND, 0)])
def test_a_canary_that_somebody_ended_is_watched_no_longer(standing: Standing | None) -> None:
    canary = MemoryCanary(standing)
    canary.ringing = ["FractureErrors"]
    assert _watch(canary, hours=1).good
    assert canary.done == []


def test_requests_that_cannot_be_given_back_are_cried_out(canary: MemoryCanary) -> None:
    canary.ringing, canary.failing["withdraw"] = ["FractureErrors"], 9
    verdict = _watch(canary, hours=1)
    assert not verdict.good
    assert "THE CANARY STILL HAS ITS SHARE" in verdict.words
