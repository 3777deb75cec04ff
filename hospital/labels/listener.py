"""The port that takes final reports: HL7 v2 ORU^R01 over MLLP, one acknowledgement for each message."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from hospital import logs
from hospital.errors import HospitalError
from hospital.labels.hl7 import Hl7Error, Message, acknowledgement, final_reports
from hospital.labels.reports import FinalReport
from hospital.labels.settings import ReportReceiver
from hospital.mllp import END, START

_MOST = 1 << 20
"""Bytes of a message; a report has some thousand."""
_BLOCK = 1 << 16
_ACCEPT_SECONDS = 0.5
_HANDSHAKE_SECONDS = 10.0

Take = Callable[[Sequence[FinalReport]], object]


class ReportListener:
    """Listens from the start on; connections are served by a thread each, and a full house makes others wait."""

    def __init__(self, settings: ReportReceiver, take: Take) -> None:
        """HospitalError for a port that cannot be had, or certificates that cannot be loaded."""
        self._settings = settings
        self._take = take
        self._room = threading.BoundedSemaphore(settings.max_connections)
        self._ending = threading.Event()
        self._open: set[socket.socket] = set()
        try:
            self._context = settings.tls.server() if settings.tls else None
            self._listener = socket.create_server((settings.host, settings.port))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise HospitalError(f"store.reports: {settings.host}:{settings.port} cannot be opened ({reason})") from None
        self._listener.settimeout(_ACCEPT_SECONDS)
        self._thread = threading.Thread(target=self._accept, name="reports", daemon=True)

    def start(self) -> None:
        """Take connections from now on."""
        self._thread.start()

    def renew(self) -> None:
        """Show the certificates that the files hold now; OSError where they cannot be read."""
        self._context = self._settings.tls.server() if self._settings.tls else None

    def close(self) -> None:
        """Take no further message; one that is being taken in is still acknowledged."""
        self._ending.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for a connection
        self._thread.join()
        self._listener.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)

    def _accept(self) -> None:
        while not self._ending.is_set():
            if not self._room.acquire(timeout=_ACCEPT_SECONDS):
                continue
            try:
                connection, _ = self._listener.accept()
            except OSError:  # nobody came
                self._room.release()
                continue
            threading.Thread(target=self._served, args=(connection,), name="report", daemon=True).start()

    def _served(self, plain: socket.socket) -> None:
        try:
            plain.settimeout(_HANDSHAKE_SECONDS)
            with self._context.wrap_socket(plain, server_side=True) if self._context else plain as connection:
                connection.settimeout(self._settings.idle_seconds)
                self._open.add(connection)
                try:
                    for content in _messages(connection):
                        connection.sendall(START + self.answer(content) + END)
                        if self._ending.is_set():
                            break
                finally:
                    self._open.discard(connection)
        except (OSError, ssl.SSLError, ValueError) as error:
            logs.event("report_connection_ended", reason=type(error).__name__)
        finally:
            plain.close()
            self._room.release()

    def answer(self, content: bytes) -> bytes:
        """The acknowledgement of a message: AA only once its labels survive a loss of power."""
        message = None
        try:
            message = Message.parse(content)
            reports = final_reports(message)
        except Hl7Error as error:
            logs.event("report_refused", reason=str(error))
            return acknowledgement(message, "AR", str(error))
        try:
            self._take(reports)
        except SQLAlchemyError:
            logs.trouble("report_not_taken")
            return acknowledgement(message, "AE", "the database cannot be reached; send the message again")
        return acknowledgement(message, "AA")


def _messages(connection: socket.socket) -> Iterator[bytes]:
    """The messages of a connection, without their frames; ValueError for bytes that are no frame, or too many."""
    waiting = b""
    while block := connection.recv(_BLOCK):
        waiting += block
        while (end := waiting.find(END)) >= 0:
            framed, waiting = waiting[:end], waiting[end + len(END) :]
            if not framed.startswith(START):
                raise ValueError("no frame")
            yield framed[len(START) :]
        if len(waiting) > _MOST or (waiting and not waiting.startswith(START)):
            raise ValueError("no frame")
