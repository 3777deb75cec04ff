"""A DICOM server that no peer can fill up: bounded PDUs, objects, times and connections.

pynetdicom's own server reads a PDU of any length that a peer states, waits without a limit for the rest of it, and
makes the TLS handshake in the thread that accepts connections.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from pynetdicom import ae
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

MAX_PDU = 1 << 18
"""Bytes of a P-DATA-TF PDU that peers are told to send at most."""
_LONGEST_PDU = 1 << 20
"""Bytes that are read of any PDU: an A-ASSOCIATE-RQ has no negotiated limit."""
_MOST_IN_MEMORY = 4 << 20
"""Bytes of a message that does not go to a file: a report on commitment of some ten thousand objects."""
_BLOCK = 1 << 16
_PDU_HEAD = 6
"""Bytes that say type and length of a PDU (PS3.8, 9.3.1): a peer that ends its connection sends no more of them."""
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
    """Reads in place of `AssociationSocket.recv`, and gives up the connection where the bounds are reached.

    `fault` is the code of why it was given up, empty where the peer ended it properly; `was_told` is for who logs it.
    """

    held: AssociationSocket
    bounds: Bounds
    read_bytes: int = field(default=0, init=False)
    has_read: bool = field(default=False, init=False)
    peer_closed: bool = field(default=False, init=False)
    fault: str = field(default="", init=False)
    was_told: bool = field(default=False, init=False)

    def __call__(self, wanted: int) -> bytearray:
        """Read `wanted` bytes, fewer where the peer closes; ConnectionEndedError beyond a bound."""
        if wanted > _LONGEST_PDU:
            self._give_up("pdu_length")
        self.read_bytes += wanted
        if self.read_bytes > (self.bounds.message_bytes if self._goes_to_a_file() else _MOST_IN_MEMORY):
            self._give_up("object_size")
        source = cast(socket.socket, self.held.socket)
        deadline = time.monotonic() + self.bounds.seconds
        found = bytearray(wanted)
        view, at = memoryview(found), 0
        while at < wanted:
            try:
                count = source.recv_into(view[at : at + _BLOCK])
            except TimeoutError:
                self._give_up("pdu_slow")
            except OSError:
                self.peer_closed = True
                raise
            if not count:
                self.peer_closed = True
                break
            at += count
            self.has_read = True
            if time.monotonic() > deadline:
                self._give_up("pdu_slow")
        view.release()
        del found[at:]
        if at < wanted and (at or wanted != _PDU_HEAD):
            self.fault = "pdu_truncated"
        return found

    def message_ended(self) -> None:
        """Count the bytes of the next message."""
        self.read_bytes = 0

    def _goes_to_a_file(self) -> bool:
        message = self.held.assoc.dimse.message
        return message is not None and message._data_set_file is not None

    def _give_up(self, fault: str) -> NoReturn:
        self.fault = fault
        raise ConnectionEndedError(fault)


def reader_of(association: Association) -> BoundedReader | None:
    """The reader of an association that a `BoundedServer` accepted."""
    found = getattr(association.dul.socket, "recv", None)
    return found if isinstance(found, BoundedReader) else None


class _BoundedHandler(RequestHandler):
    def _create_association(self) -> Association:
        association = super()._create_association()
        held = cast(AssociationSocket, association.dul.socket)
        server = cast(BoundedServer, self.server)
        cast(Any, held).recv = reader = BoundedReader(held, server.bounds)
        read = association.dimse.receive_primitive

        def receive(primitive: P_DATA) -> None:
            try:
                read(primitive)
            except Exception:  # noqa: BLE001  an error here would end the thread that reads, and leave the peer waiting
                reader.fault = "bad_message"
                association.dul.event_queue.put("Evt19")  # as pynetdicom itself does with a message that it cannot read

        cast(Any, association.dimse).receive_primitive = receive
        return association


class BoundedServer(ThreadedAssociationServer):
    """pynetdicom's threaded server within `bounds`."""

    daemon_threads = True
    bounds: Bounds
    most_connections: int
    ended: Callable[[Association], None]
    """Told of an association whose connection this side closes, in the association's own thread."""

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

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; pynetdicom raises no event for it."""
        super().shutdown_request(request)
        association = threading.current_thread()
        if isinstance(association, Association):
            self.ended(association)

    def verify_request(self, _request: Any, _client_address: Any) -> bool:
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
    """A server for `entity`, bound to `address` and not yet serving; OSError where the address is taken.

    Its attribute `ended` is the caller's to set.
    """
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
