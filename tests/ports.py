"""Ports of loopback for the servers that tests start."""

import socket

_GIVEN: set[int] = set()


def free_port() -> int:
    """A port of loopback that nobody listens on, and that this process was not given before.

    The system itself may name the same one twice in a row, and a configuration of two ports would then be refused.
    """
    while True:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = int(found.getsockname()[1])
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port
