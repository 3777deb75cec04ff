"""A process with a bounded queue before it, run for real."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serving.spare.process import SpareProcess

MIB = 2**20


class Meter:
    def __init__(self) -> None:
        self.finished = 0
        self.lost: list[str] = []
        self.lines: list[str] = []

    def done(self) -> None:
        self.finished += 1

    def dropped(self, reason: str) -> None:
        self.lost.append(reason)

    def trouble(self, message: str) -> None:
        self.lines.append(message)


class Echo:
    def __init__(self, most_bytes: int = MIB, idle: bool = False, **settings: Any) -> None:
        self.meter = Meter()
        self.said: list[Any] = []
        self.process = SpareProcess(
            "tests.serving.spare.echo", settings, most_bytes, self.meter, lambda _, said: self.said.append(said),
            idle=idle,
        )  # fmt: skip

    def give(self, *contents: bytes) -> list[bool]:
        return [self.process.give({"name": f"n{number}"}, content) for number, content in enumerate(contents)]


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def start() -> Iterator[Callable[..., Echo]]:
    """Give a function that starts an echo, which is closed at the end."""
    made: list[Echo] = []

    def begin(**settings: Any) -> Echo:
        made.append(Echo(**settings))
        return made[-1]

    yield begin
    for echo in made:
        echo.process.close()


def test_images_are_worked_on_in_order_with_their_facts(start: Callable[..., Echo]) -> None:
    echo = start()
    assert echo.give(b"a", b"bb", bytes(300_000)) == [True] * 3
    _wait(lambda: echo.meter.finished == 3)
    assert echo.said == [["n0", 1], ["n1", 2], ["n2", 300_000]]


def test_what_finds_no_room_is_dropped_at_once_and_counted(start: Callable[..., Echo]) -> None:
    echo = start(most_bytes=10)
    begin = time.perf_counter()
    taken = echo.give(bytes(8), bytes(8))
    assert time.perf_counter() - begin < 0.2
    assert (taken, echo.meter.lost) == ([True, False], ["busy"])


def test_room_comes_back_when_an_image_is_done(start: Callable[..., Echo]) -> None:
    echo = start(most_bytes=10)
    for count in (1, 2):
        assert echo.give(bytes(8)) == [True]
        _wait(lambda count=count: echo.meter.finished == count)  # type: ignore[misc]


def test_the_process_may_refuse_an_image(start: Callable[..., Echo]) -> None:
    echo = start()
    echo.give(b"full", b"a")
    _wait(lambda: echo.meter.finished == 1)
    assert echo.meter.lost == ["full"]


@pytest.mark.parametrize("poison", [b"die", b"raise"])
def test_an_image_that_kills_the_process_costs_itself_only(start: Callable[..., Echo], poison: bytes) -> None:
    echo = start()
    echo.give(poison, b"a")
    _wait(lambda: echo.meter.finished == 1)
    assert echo.meter.lost == ["failed"]
    assert echo.meter.lines


def test_what_a_library_prints_is_no_answer(start: Callable[..., Echo]) -> None:
    echo = start()
    echo.give(b"print")
    _wait(lambda: echo.meter.finished == 1)
    assert echo.said == [["n0", 5]]


def test_settings_that_cannot_be_used_are_one_line_for_the_log(start: Callable[..., Echo]) -> None:
    echo = start(broken=True)
    _wait(lambda: bool(echo.meter.lines))
    assert echo.meter.lines == ["tests.serving.spare.echo: broken settings"]


def test_it_has_the_processor_only_while_nobody_else_wants_it(start: Callable[..., Echo]) -> None:
    echo = start(idle=True)
    echo.give(b"policy")
    _wait(lambda: echo.meter.finished == 1)
    assert echo.said == [[os.SCHED_IDLE, 19]]


def test_closing_ends_the_process_and_counts_what_waits(start: Callable[..., Echo]) -> None:
    echo = start()
    echo.give(*[b"a"] * 50)
    echo.process.close()
    assert echo.meter.finished + len(echo.meter.lost) == 50
    assert set(echo.meter.lost) <= {"closing"}
    assert echo.give(b"late") == [False]
