"""Connections that come to a socket of one network namespace, handed to a port of another: for the demonstration."""

import socket
import threading
from contextlib import suppress

_BLOCK = 65536


def listen(port: int) -> socket.socket:
    """Listen on loopback at that port, or at any free one where it is taken."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


def relay(listener: socket.socket, port: int) -> None:
    """Hand each connection of `listener`, wherever it was made, to `port` of this process's loopback, for good."""
    threading.Thread(target=_accept, args=(listener, port), name="relay", daemon=True).start()


def _accept(listener: socket.socket, port: int) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:  # closed
            return
        try:
            far = socket.create_connection(("127.0.0.1", port))
        except OSError:
            near.close()
            continue
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(_BLOCK):
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
