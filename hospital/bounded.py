"""A DICOM server that no peer can fill up: bounded PDUs, objects, times and connections.

pynetdicom's own server reads a PDU of any length that a peer states, waits without a limit for the rest of it, and
makes the TLS handshake in the thread that accepts connections.
"""

import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, cast

from pynetdicom import ae
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

MAX_PDU = 1 << 18
"""Bytes of a P-DATA-TF PDU that peers are told to send at most."""
_LONGEST_PDU = 1 << 20
"""Bytes that are read of any PDU: an A-ASSOCIATE-RQ has no negotiated limit."""
_BLOCK = 1 << 16
_SPARE_CONNECTIONS = 16
"""Connections beyond the associations that are allowed, so that a further peer is told so (PS3.8, 9.3.4)."""


@dataclass(frozen=True)
class Bounds:
    """What one connection may use up: seconds for each PDU, bytes of one message."""

    seconds: float
    message_bytes: int


class ConnectionEndedError(OSError):
    """The connection is given up; pynetdicom takes it for closed by the peer."""


@dataclass
class BoundedReader:
    """Reads in place of `AssociationSocket.recv`, and gives up the connection where the bounds are reached."""

    held: AssociationSocket
    bounds: Bounds
    read_bytes: int = field(default=0, init=False)
    over_size: bool = field(default=False, init=False)

    def __call__(self, wanted: int) -> bytearray:
        """Read `wanted` bytes, fewer where the peer closes; ConnectionEndedError beyond a bound."""
        if wanted > _LONGEST_PDU:
            raise ConnectionEndedError("a PDU is longer than allowed")
        self.read_bytes += wanted
        if self.read_bytes > self.bounds.message_bytes:
            self.over_size = True
            raise ConnectionEndedError("a message is longer than allowed")
        source = cast(socket.socket, self.held.socket)
        deadline = time.monotonic() + self.bounds.seconds
        found = bytearray(wanted)
        view, at = memoryview(found), 0
        while at < wanted:
            count = source.recv_into(view[at : at + _BLOCK])
            if not count:
                break
            at += count
            if time.monotonic() > deadline:
                raise ConnectionEndedError("a PDU takes longer than allowed")
        view.release()
        del found[at:]
        return found

    def message_ended(self) -> None:
        """Count the bytes of the next message."""
        self.read_bytes = 0


def reader_of(association: Association) -> BoundedReader | None:
    """The reader of an association that a `BoundedServer` accepted."""
    found = getattr(association.dul.socket, "recv", None)
    return found if isinstance(found, BoundedReader) else None


class _BoundedHandler(RequestHandler):
    def _create_association(self) -> Association:
        association = super()._create_association()
        held = cast(AssociationSocket, association.dul.socket)
        server = cast(BoundedServer, self.server)
        cast(Any, held).recv = BoundedReader(held, server.bounds)
        return association


class BoundedServer(ThreadedAssociationServer):
    """pynetdicom's threaded server within `bounds`."""

    daemon_threads = True
    bounds: Bounds
    most_connections: int

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection; its TLS handshake is made by the thread that serves it, at its first read."""
        accepted, address = cast(socket.socket, self.socket).accept()
        accepted.settimeout(self.bounds.seconds)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.ssl_context is None:
            return accepted, address
        try:
            wrapped = self.ssl_context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        except (OSError, ssl.SSLError):
            accepted.close()
            raise
        return wrapped, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002  the base class's parameters
        """Whether there is room for a further connection."""
        return len(self.active_associations) < self.most_connections


def most_connections(associations: int) -> int:
    """Connections that are open at the same time, for a number of associations."""
    return associations + _SPARE_CONNECTIONS


def make_server(
    entity: ae.ApplicationEntity,
    address: tuple[str, int],
    bounds: Bounds,
    handlers: list[Any],
    context: ssl.SSLContext | None,
) -> BoundedServer:
    """A server for `entity`, bound to `address` and not yet serving; OSError where the address is taken."""
    server = cast(
        BoundedServer,
        entity.make_server(
            address,
            ssl_context=context,
            evt_handlers=handlers,
            server_class=BoundedServer,
            request_handler=_BoundedHandler,
        ),
    )
    entity._servers.append(server)  # as `start_server` does: a server takes itself from there at its end
    server.bounds = bounds
    server.most_connections = most_connections(entity.maximum_associations)
    return server
