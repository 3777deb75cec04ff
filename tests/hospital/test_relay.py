"""A relay hands bytes on in both directions, and survives a port where nobody listens."""

import socket
import threading
from collections.abc import Iterator

import pytest

from hospital import relay
from tests.ports import free_port


def whole(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.fixture
def echo() -> Iterator[int]:
    """Listen on a port that answers what it was sent, in capitals."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(whole(connection).upper())

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def asked(port: int, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        return whole(connection)


def test_bytes_go_there_and_back(echo: int) -> None:
    with relay.listen(0) as listener:
        relay.relay(listener, echo)
        assert asked(listener.getsockname()[1], b"a" * 100_000) == b"A" * 100_000


def test_port_where_nobody_listens_ends_only_that_connection() -> None:
    with relay.listen(0) as listener:
        relay.relay(listener, free_port())
        for _ in range(2):
            assert asked(listener.getsockname()[1], b"") == b""


def test_taken_port_gives_way_to_a_free_one() -> None:
    with relay.listen(0) as first, relay.listen(first.getsockname()[1]) as second:
        assert second.getsockname()[1] != first.getsockname()[1]
