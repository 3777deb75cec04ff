"""A command ends when the head of its cluster has gone."""

import socket
import time
from collections.abc import Iterator

import pytest

from pipeline.archive.watchdog import Watchdog

GONE = 0.1


@pytest.fixture
def head() -> Iterator[socket.socket]:
    """Listen as the head of a cluster does."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def _address(head: socket.socket) -> str:
    return f"127.0.0.1:{head.getsockname()[1]}"


def _wait_for(said: list[str], seconds: float) -> list[str]:
    end = time.monotonic() + seconds
    while not said and time.monotonic() < end:
        time.sleep(0.01)
    return said


def test_a_head_that_has_gone_ends_the_command_with_one_line(head: socket.socket) -> None:
    said: list[str] = []
    address = _address(head)
    head.close()
    Watchdog(address, GONE, said.append)
    (line,) = _wait_for(said, 30)
    assert line.startswith(f"{address}: the head of the cluster has not answered for 0 seconds; ")


def test_a_head_that_answers_ends_nothing(head: socket.socket) -> None:
    said: list[str] = []
    dog = Watchdog(_address(head), GONE, said.append)
    assert _wait_for(said, 4 * GONE) == []
    dog.stop()


def test_nothing_ends_after_the_command_has_left_its_cluster(head: socket.socket) -> None:
    said: list[str] = []
    dog = Watchdog(_address(head), GONE, said.append)
    dog.stop()
    head.close()
    assert _wait_for(said, 4 * GONE) == []
