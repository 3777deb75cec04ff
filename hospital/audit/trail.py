"""The audit trail: lines in a folder, one file a day, and from there to a collection point, in order."""

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hospital import logs
from hospital.audit import messages, syslog
from hospital.audit.messages import Event
from hospital.audit.settings import Audit
from hospital.database import now
from hospital.errors import HospitalError

_POSITION = "forwarded.json"
_AT_ONCE = 200
"""Lines that are forwarded before the position is written."""


class AuditTrail:
    """Keeps events: `record` returns when they are on the disk, so that nothing is shown that the trail lacks."""

    def __init__(self, settings: Audit, gateway: str) -> None:
        self.gateway = gateway
        self.folder = settings.folder
        self._source, self._site = settings.source or gateway, settings.site
        self._lock = threading.Lock()
        collector = settings.collector
        self._tls = settings.tls
        context = settings.tls.client() if settings.tls else None
        self._sender = syslog.Sender(*collector, context) if collector else None

    def prepare(self) -> None:
        """Make the folder; HospitalError if it cannot be made."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
        except OSError as error:
            raise HospitalError(f"audit.folder: {self.folder}: {error.strerror}; name a folder of its own") from error

    def record(self, *events: Event) -> None:
        """Append events; OSError where they could not be made durable: then what they tell of must not happen."""
        lines = [
            syslog.line(messages.encoded(event, self._source, self._site), event.at, event.outcome != messages.SUCCESS)
            for event in events
        ]
        if not lines:
            return
        name = f"audit-{datetime.fromtimestamp(now(), UTC):%Y-%m-%d}.log"
        with self._lock:
            handle = os.open(self.folder / name, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                content = b"".join(line + b"\n" for line in lines)
                start = os.fstat(handle).st_size
                if start and os.pread(handle, 1, start - 1) != b"\n":  # a crash left half a line
                    content = b"\n" + content
                if os.write(handle, content) < len(content):
                    os.ftruncate(handle, start)  # half a line would spoil the next one, too
                    raise OSError(28, "No space left on device")
                os.fsync(handle)
            finally:
                os.close(handle)

    def renew(self) -> None:
        """Connect with the certificates that the files hold now, from the next time on; OSError."""
        if self._sender is not None and self._tls is not None:
            self._sender.context = self._tls.client()

    def connect(self) -> None:
        """Reach the collection point; HospitalError where that fails, nothing where there is none."""
        try:
            if self._sender is not None:
                self._sender.connect()
        except OSError as error:
            raise HospitalError(f"audit.syslog: the collection point does not answer ({error})") from None

    def forward(self) -> bool:
        """Send lines on that the collection point lacks; False where there are none, or where it is away."""
        if self._sender is None:
            return False
        position = read_state(self.folder / _POSITION)
        for path in sorted(self.folder.glob("audit-*.log")):
            if path.name < position.get("file", ""):
                continue
            offset = int(position.get("offset", 0)) if path.name == position.get("file") else 0
            with path.open("rb") as file:
                file.seek(offset)
                lines = [line for line in (file.readline() for _ in range(_AT_ONCE)) if line.endswith(b"\n")]
            if lines:
                return self._sent(self._sender, path.name, offset, lines)
        return False

    def _sent(self, sender: syslog.Sender, name: str, offset: int, lines: list[bytes]) -> bool:
        done = 0
        try:
            for line in lines:
                sender.send(line.rstrip(b"\n"))
                done += 1
        except OSError:
            logs.trouble("audit_not_forwarded")
        offset += sum(map(len, lines[:done]))
        write_state(self.folder / _POSITION, {"file": name, "offset": offset})
        return done == len(lines)

    def close(self) -> None:
        """Give the connection to the collection point back."""
        if self._sender is not None:
            self._sender.close()


def read_state(path: Path) -> dict[str, Any]:
    """What a later start goes on from; empty where there is nothing."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def write_state(path: Path, content: dict[str, Any]) -> None:
    """Replace such a file as a whole."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(path)
