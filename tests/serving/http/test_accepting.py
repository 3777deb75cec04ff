"""Connections that come together are left to be shared by the workers."""

import asyncio
import itertools
import socket
from asyncio import selector_events

import pytest

from serving.http.accepting import share_connections

CLIENTS = 8


def _accepted_by_round() -> list[int]:
    """How many of waiting connections an event loop has accepted after each of its first rounds."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    clients = [socket.create_connection(listening.getsockname()) for _ in range(CLIENTS)]
    made: list[object] = []

    class Counting(asyncio.Protocol):
        def __init__(self) -> None:
            made.append(self)

    async def serve() -> list[int]:
        server = await asyncio.get_running_loop().create_server(Counting, sock=listening, backlog=100)
        rounds = []
        for _ in range(5 * CLIENTS):
            await asyncio.sleep(0)
            rounds.append(len(made))
        server.close()
        return rounds

    try:
        return asyncio.run(serve())
    finally:
        for client in clients:
            client.close()


def test_a_loop_takes_few_connections_a_round_and_all_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = selector_events.BaseSelectorEventLoop
    monkeypatch.setattr(loop, "_accept_connection", loop._accept_connection)  # type: ignore[attr-defined]
    share_connections()
    share_connections()  # twice is as good as once
    rounds = [0, *_accepted_by_round()]
    assert max(after - before for before, after in itertools.pairwise(rounds)) <= 2
    assert rounds[-1] == CLIENTS


def test_without_it_the_first_worker_takes_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = selector_events.BaseSelectorEventLoop
    accept = loop._accept_connection  # type: ignore[attr-defined]
    monkeypatch.setattr(loop, "_accept_connection", getattr(accept, "__wrapped__", accept))
    rounds = [0, *_accepted_by_round()]
    assert max(after - before for before, after in itertools.pairwise(rounds)) == CLIENTS
