"""A canary gets requests once it was tried, and loses them whenever a step fails."""

import pytest

from pipeline.cloud.canary import steps
from pipeline.cloud.canary.steps import Standing
from pipeline.errors import InputError
from tests.pipeline.cloud.canary.memory import MemoryCanary, hands

SECOND = "bone-fracture/2"


def test_it_is_tried_before_it_gets_a_request() -> None:
    canary, checked = MemoryCanary(), list[str]()
    steps.start(canary, hands(checked), SECOND, 10)
    assert canary.done == ["place", "shift"]
    assert checked == ["https://host"]
    assert canary.standing == Standing("image", SECOND, 10)
    assert canary.said[-1].startswith(f"{SECOND} answers 10 % of the requests")


def test_one_that_does_not_answer_as_it_should_gets_no_request() -> None:
    canary = MemoryCanary()
    with pytest.raises(InputError, match=r"not ready.*the canary gets no request") as error:
        steps.start(canary, hands([], "not ready"), SECOND, 10)
    assert "\n" not in str(error.value)
    assert "shift" not in canary.done


def test_one_that_failed_its_trial_is_tried_again() -> None:
    canary, checked = MemoryCanary(Standing("image", SECOND, 0)), list[str]()
    steps.start(canary, hands(checked), SECOND, 10)
    assert checked


def test_started_again_it_changes_its_share_alone() -> None:
    canary = MemoryCanary(Standing("image", SECOND, 10))
    steps.start(canary, hands([]), SECOND, 25)
    assert canary.done == ["shift"]


def test_another_champion_takes_its_place_without_inheriting_its_share() -> None:
    canary = MemoryCanary(Standing("image", SECOND, 50))
    steps.start(canary, hands([]), "bone-fracture/3", 5)
    assert canary.done == ["withdraw", "place", "shift"]
    assert canary.standing == Standing("image", "bone-fracture/3", 5)


@pytest.mark.parametrize("share", [-1, 0, 51, 100])
def test_a_share_outside_1_to_50_percent_is_refused(share: int) -> None:
    canary = MemoryCanary()
    with pytest.raises(InputError, match=f"--share {share}: write a percentage from 1 to 50"):
        steps.start(canary, hands([]), SECOND, share)
    assert canary.done == []


def test_a_share_that_cannot_be_given_is_taken_back() -> None:
    canary = MemoryCanary()
    canary.failing["shift"] = 1
    with pytest.raises(InputError, match="shift failed; every request goes to the service again"):
        steps.start(canary, hands([]), SECOND, 10)
    assert canary.standing == Standing("image", SECOND, 0)


def test_promoted_it_becomes_the_service_and_then_goes() -> None:
    canary = MemoryCanary(Standing("image", SECOND, 50))
    steps.promote(canary, SECOND)
    assert canary.done == ["take_over", "withdraw", "remove"]
    assert canary.standing is None


def test_one_that_is_not_the_champion_any_more_is_not_promoted() -> None:
    canary = MemoryCanary(Standing("image", SECOND, 50))
    with pytest.raises(InputError, match=f"the canary is {SECOND} and the champion bone-fracture/1"):
        steps.promote(canary, "bone-fracture/1")
    assert canary.done == []


def test_a_promotion_that_fails_gives_the_requests_back() -> None:
    canary = MemoryCanary(Standing("image", SECOND, 50))
    canary.failing["take_over"] = 1
    with pytest.raises(InputError, match="take_over failed; every request goes to the service again"):
        steps.promote(canary, SECOND)
    assert canary.standing == Standing("image", SECOND, 0)


def test_without_a_canary_there_is_none_to_promote() -> None:
    with pytest.raises(InputError, match="there is no canary to promote"):
        steps.promote(MemoryCanary(), SECOND)


def test_ended_twice_it_is_gone_once() -> None:
    canary = MemoryCanary(Standing("image", SECOND, 50))
    assert [steps.end(canary), steps.end(canary)] == [True, False]
    assert canary.done == ["withdraw", "remove"]


def test_giving_back_is_tried_again_and_says_so_when_it_cannot() -> None:
    canary = MemoryCanary(Standing("image", SECOND, 50))
    canary.failing["withdraw"] = 2
    assert steps.give_back(canary) == "every request goes to the service again"
    canary.failing["withdraw"] = 9
    assert "THE CANARY STILL HAS ITS SHARE (withdraw failed)" in steps.give_back(canary)
