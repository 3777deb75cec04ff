"""The port that takes ADT messages over MLLP, within limits that no sender can fill up."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from hospital import logs
from hospital.adt import corrections
from hospital.adt.messages import Message, UnacceptableError, acknowledgement, read, refusal
from hospital.adt.settings import Adt
from hospital.audit import messages as audit
from hospital.audit.trail import AuditTrail
from hospital.errors import HospitalError
from hospital.mllp import END, START
from hospital.parts import Parts

_BLOCK = 1 << 16
_BETWEEN = b"\r\n"
"""What some senders put behind a message."""
_REST_SECONDS = 0.5
_HANDSHAKE_SECONDS = 10.0


class AdtListener:
    """Listens until it is closed; `changed` is called after a message that concerns a study."""

    def __init__(self, settings: Adt, parts: Parts, trail: AuditTrail | None, changed: Callable[[], None]) -> None:
        """Open the port; HospitalError where it cannot be had."""
        self._settings, self._parts, self._trail, self._changed = settings, parts, trail, changed
        self._context = settings.tls.server() if settings.tls else None
        self._ending = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        try:
            self._socket = socket.create_server((settings.host, settings.port), family=family)
        except OSError as error:
            place = f"{settings.host}:{settings.port}"
            raise HospitalError(f"adt.port: {place} cannot be listened on ({error.strerror})") from None
        self._thread = threading.Thread(target=self._accept, name="adt", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def renew(self) -> None:
        """Show the certificates that the files hold now; OSError where they cannot be read."""
        self._context = self._settings.tls.server() if self._settings.tls else None

    def close(self) -> None:
        """Take no further message; one that was acknowledged is kept."""
        self._ending.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # it wakes the thread that accepts
        if self._thread.ident is not None:
            self._thread.join(10)
        self._socket.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                connection, address = self._socket.accept()
            except OSError:  # out of file descriptors, or a peer that has gone again
                if not self._ending.wait(_REST_SECONDS):
                    logs.trouble("adt_not_accepted")
                continue
            host = str(address[0])
            with self._lock:
                is_full = len(self._open) >= self._settings.max_connections
                if not is_full and self._settings.takes(host):
                    self._open.add(connection)
                    threading.Thread(target=self._serve, args=(connection, host), name="adt-peer", daemon=True).start()
                    continue
            self._ended(connection, "adt_too_many" if is_full else "adt_address", host)

    def _serve(self, connection: socket.socket, host: str) -> None:
        """Answer one connection's messages, in a thread of its own."""
        code, kept = "", connection
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                connection.settimeout(min(_HANDSHAKE_SECONDS, self._settings.idle_seconds))
                kept = self._context.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open.discard(connection)
                    self._open.add(kept)
            kept.settimeout(self._settings.idle_seconds)
            code = self._talk(kept)
        except TimeoutError:
            code = "adt_idle"
        except ssl.SSLError:
            code = "adt_tls"
        except OSError:
            code = "" if self._ending.is_set() else "adt_lost"
        finally:
            with self._lock:
                self._open -= {connection, kept}
            self._ended(kept, code, host)

    def _ended(self, connection: socket.socket, code: str, host: str) -> None:
        connection.close()
        if code:
            self._parts.metrics.refused.labels(code).inc()
            logs.event("adt_ended", code=code, address=host)

    def _talk(self, connection: socket.socket) -> str:
        """Answer messages until the sender goes; the code of why this side ends it, or empty."""
        found = b""
        most = self._settings.max_message_kb << 10
        deadline = time.monotonic() + self._settings.idle_seconds
        while True:
            if found and not found.startswith(START):
                return "adt_framing"
            content, mark, rest = found.partition(END)
            if mark:
                answer = self._answered(content.removeprefix(START))
                if answer is None:
                    return "adt_framing"
                connection.sendall(START + answer + END)
                found, deadline = rest.lstrip(_BETWEEN), time.monotonic() + self._settings.idle_seconds
                continue
            if len(found) > most:
                return "adt_size"
            if time.monotonic() > deadline:  # of a sender that drips
                return "adt_idle"
            block = connection.recv(_BLOCK)
            if not block:
                return "adt_lost" if found else ""
            found = (found + block).lstrip(_BETWEEN)

    def _answered(self, content: bytes) -> bytes | None:
        """The acknowledgement of a message, once what it says is kept; None for bytes that are no message."""
        try:
            message = read(content, self._settings.authority)
        except UnacceptableError as error:
            return self._refused(error)
        except ValueError:
            return None
        try:
            studies = corrections.keep(self._parts, message.told) if message.told else []
            if self._trail is not None:
                self._trail.record(*_events(message, self._trail.gateway))
        except (SQLAlchemyError, OSError):
            logs.trouble("adt_not_kept")
            return self._refused(UnacceptableError(message, "AE", "207", "it cannot be kept now; send it again"))
        outcome = "ignored" if not message.told else "merged" if message.told[0].prior_id else "updated"
        self._parts.metrics.adt.labels(outcome).inc()
        logs.event("adt", trigger=message.event, outcome=outcome, studies=len(studies))
        if studies:
            self._changed()
        return acknowledgement(message)

    def _refused(self, error: UnacceptableError) -> bytes:
        self._parts.metrics.adt.labels("refused").inc()
        logs.event("adt_refused", code=error.code, reason=error.text)
        return refusal(error)


def _events(message: Message, gateway: str) -> list[audit.Event]:
    """A change of each patient's record (DICOM PS3.15, A.5.3.14)."""
    return [
        audit.patient_changed(message.sender, gateway, patient_id, name)
        for one in message.told
        for patient_id, name in ((one.patient_id, one.name or ""), (one.prior_id, ""))
        if patient_id
    ]
