"""The worklist on a port of its own."""

import asyncio

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from hospital.audit.trail import AuditTrail
from hospital.config import Config, Secrets
from hospital.http_server import ThreadedServer
from hospital.parts import Parts
from hospital.worklist.accounts import Accounts
from hospital.worklist.app import Access, create_app
from hospital.worklist.settings import Worklist

_HEADER_SECONDS = 10.0
_MOST_HEADER_BYTES = 16 * 1024
_MOST_CONNECTIONS = 200
_PROXIES = ["127.0.0.1", "::1"]
"""Whose X-Forwarded-For and X-Forwarded-Proto are believed: a proxy on this machine."""


class _Patient(H11Protocol):
    """HTTP/1.1 that closes a connection on which no whole request head comes in time."""

    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._await_head()
        elif self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._overdue is None:
            self._overdue = self.loop.call_later(_HEADER_SECONDS, self.transport.close)


class WorklistServer(ThreadedServer):
    """The worklist's port."""

    def __init__(self, settings: Worklist, parts: Parts, access: Access) -> None:
        self._access, self._tls = access, settings.tls
        self._context = context = settings.tls.server() if settings.tls else None

        options = uvicorn.Config(
            create_app(parts, settings, access),
            host=settings.host,
            port=settings.port,
            http=_Patient,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
            limit_concurrency=_MOST_CONNECTIONS,
            forwarded_allow_ips=_PROXIES,
            ssl_context_factory=(lambda _config, _default: context) if context else None,
        )
        super().__init__(options, "worklist")

    def adopt(self, key: str) -> None:
        """Ask programs for another key from now on, and show the certificate that the files hold now; OSError."""
        if self._tls is not None and self._context is not None:
            self._tls.load_into(self._context)
        self._access.key = key


def open_worklist(config: Config, secrets: Secrets, parts: Parts, trail: AuditTrail | None) -> WorklistServer | None:
    """The server that the configuration asks for, None where it asks for none; HospitalError for unusable users."""
    settings = config.worklist
    if settings is None or trail is None:  # `Config` asks for a trail beside a worklist
        return None
    accounts = Accounts(settings.users, secrets.worklist_users)
    return WorklistServer(settings, parts, Access.by(settings, accounts, trail, secrets.worklist_key))
