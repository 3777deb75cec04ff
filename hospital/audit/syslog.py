"""Audit messages as syslog: RFC 5424 lines, sent over UDP (RFC 5426) or TLS (RFC 5425)."""

import os
import socket
import ssl
from datetime import UTC, datetime
from typing import Literal

_FACILITY = 10  # security and authorisation (PS3.15, A.6)
_NOTICE, _WARNING = 5, 4
_APPLICATION, _MESSAGE_ID = "fracture-hospital", "DICOM+RFC3881"
_BOM = b"\xef\xbb\xbf"
_SECONDS = 10.0
LARGEST_DATAGRAM = 65_000
"""Bytes of a message over UDP; a longer one cannot be sent."""


def line(message: bytes, at: float, failed: bool) -> bytes:
    """A message with its header (RFC 5424, 6), without an end of line."""
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    priority = _FACILITY * 8 + (_WARNING if failed else _NOTICE)
    head = f"<{priority}>1 {when} {_host()} {_APPLICATION} {os.getpid()} {_MESSAGE_ID} - "
    return head.encode("ascii") + _BOM + message


class Sender:
    """Sends lines to a collection point; OSError (ssl.SSLError is one) where one could not be handed over."""

    def __init__(self, transport: Literal["udp", "tls"], host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._transport = transport
        self._place = (host, port)
        self.context = context
        self._socket: socket.socket | None = None

    def send(self, content: bytes) -> None:
        """Send one line."""
        try:
            if self._transport == "udp":
                self._connected().send(content[:LARGEST_DATAGRAM])
            else:
                self._connected().sendall(b"%d " % len(content) + content)
        except OSError:
            self.close()
            raise

    def connect(self) -> None:
        """Connect, so that a mistake shows."""
        self._connected()

    def close(self) -> None:
        """Give the connection back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        """The connection; a new one where the other side has closed it, as nothing sent on it would arrive."""
        if self._socket is not None and self._transport == "tls" and self._ended(self._socket):
            self.close()
        if self._socket is None:
            self._socket = self._opened()
        return self._socket

    def _opened(self) -> socket.socket:
        if self._transport == "udp":
            family, kind, protocol, _, address = socket.getaddrinfo(*self._place, type=socket.SOCK_DGRAM)[0]
            datagrams = socket.socket(family, kind, protocol)
            datagrams.connect(address)
            return datagrams
        plain = socket.create_connection(self._place, _SECONDS)
        try:
            context = self.context or ssl.create_default_context()  # of the system's authorities, where none are named
            return context.wrap_socket(plain, server_hostname=self._place[0])
        except BaseException:
            plain.close()
            raise

    @staticmethod
    def _ended(connection: socket.socket) -> bool:
        connection.settimeout(0)
        try:
            return not connection.recv(1)  # a collection point sends nothing
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            connection.settimeout(_SECONDS)


def _host() -> str:
    name = "".join(sign for sign in socket.gethostname() if "!" <= sign <= "~")
    return name[:255] or "-"
