"""Threads that come, stay and go with the configuration."""

import threading
from collections.abc import Iterator

import pytest

from hospital.crew import Crew, Step, Worker
from tests.hospital.peers import eventually


@pytest.fixture
def crew() -> Iterator[Crew]:
    """Make a crew without a thread."""
    found = Crew(threading.Event())
    yield found
    found.close(5)


def worker(name: str, facts: object, steps: list[str]) -> Worker:
    def make(_: threading.Event) -> Step:
        def step() -> bool:
            steps.append(f"{name} {facts}")
            return False

        return step

    return Worker(name, facts, make)


def test_only_what_changed_is_exchanged(crew: Crew) -> None:
    steps: list[str] = []
    crew.exchange([worker("a", 1, steps), worker("b", 1, steps), worker("c", 1, steps)])
    threads = {thread.name: thread for thread in threading.enumerate()}
    assert sorted(crew.exchange([worker("a", 1, steps), worker("b", 2, steps), worker("d", 1, steps)])) == [
        "b",
        "c",
        "d",
    ]
    assert threads["a"].is_alive()
    eventually(lambda: not threads["b"].is_alive() and not threads["c"].is_alive(), 10)
    eventually(lambda: {"b 2", "d 1"} <= set(steps), 10)


def test_thread_that_goes_ends_its_step(crew: Crew) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def make(_: threading.Event) -> Step:
        def step() -> bool:
            begun.set()
            may_end.wait(10)
            ended.set()
            return False

        return step

    crew.exchange([Worker("a", 1, make)])
    assert begun.wait(5)
    crew.exchange([])
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(5)


def test_worker_learns_that_it_ends(crew: Crew) -> None:
    told: list[threading.Event] = []

    def make(ending: threading.Event) -> Step:
        told.append(ending)
        return lambda: False

    crew.exchange([Worker("a", 1, make)])
    crew.exchange([])
    assert told[0].is_set()
