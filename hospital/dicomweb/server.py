"""The port that STOW-RS is sent to, with limits that no peer can fill up, exchanged without closing the socket."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from hospital.config import WebReceiver
from hospital.errors import HospitalError

_SPARE_CONNECTIONS = 16
"""Connections beyond the requests that are allowed, so that a further sender is told so."""
_BACKLOG = 128
_ENDING_SECONDS = 20
_GRACE_SECONDS = 2.0


class WebServer:
    """Serves an application on one address until it is closed."""

    def __init__(self, settings: WebReceiver) -> None:
        """Listen; HospitalError where the address is taken."""
        self.address = (settings.host, settings.port)
        try:
            self._socket = socket.create_server(
                self.address, family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET, backlog=_BACKLOG
            )
        except OSError as error:
            place = f"{settings.host}:{settings.port}"
            reason = str(error.strerror).partition(" (while")[0]
            raise HospitalError(f"web_receiver.port: {place} cannot be listened on ({reason})") from None
        # A copy takes this over, for the copies before it as well: the loop of a server whose port suddenly waited
        # would stand still with the connection that it has just accepted.
        self._socket.setblocking(False)
        self._running: list[_Running] = []
        self._app: ASGIApp | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._socket.getsockname()[1])

    def serve(self, settings: WebReceiver, app: ASGIApp) -> None:
        """Answer requests that begin from now on with `app`; those under way end with the one that they began with."""
        self._app = app
        before = self._running[-1:]
        self._running = [one for one in self._running if one.thread.is_alive()]
        self._running.append(_Running(settings, self._answer, self._socket.dup()))
        for one in before:
            one.end()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """With the newest application, on whichever connection a request comes."""
        if self._app is not None:
            await self._app(scope, receive, send)

    def close(self) -> None:
        """Answer no further request; those under way are ended in order."""
        self._socket.close()
        for one in self._running:
            one.end(_ENDING_SECONDS)
        for one in self._running:
            one.thread.join(_ENDING_SECONDS + 5)


class _Running:
    """One server of uvicorn's in a thread, on a socket of its own."""

    def __init__(self, settings: WebReceiver, app: ASGIApp, listening: socket.socket) -> None:
        context = settings.tls.server() if settings.tls else None
        protocol = _bounded(settings.idle_seconds, settings.max_requests + _SPARE_CONNECTIONS)
        options = uvicorn.Config(
            app,
            interface="asgi3",
            http=protocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            proxy_headers=False,
            ssl_context_factory=_factory(context) if context else None,
        )
        self._server = _Server(options)
        self._socket = listening
        self.thread = threading.Thread(target=self._serve, name="web-receiver", daemon=True)
        self.thread.start()

    def end(self, seconds: int | None = None) -> None:
        """Take no further connection; requests under way may take `seconds` more, or as long as their limits allow."""
        self._server.config.timeout_graceful_shutdown = seconds
        self._server.should_exit = True

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


class _Server(uvicorn.Server):
    """Uvicorn's server, which would forget connections whose TLS handshake is under way: they are none to it yet."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if self.config.is_ssl:
            await asyncio.sleep(_GRACE_SECONDS)
        await super().shutdown(sockets)


def _factory(context: ssl.SSLContext) -> Callable[..., ssl.SSLContext]:
    return lambda *_: context


class _Bounded(H11Protocol):
    """Uvicorn's protocol, which waits for a request for ever, with an end to that and to connections."""

    seconds: float
    most_connections: int
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.abort()
            return
        self._watch = self.loop.call_later(self.seconds, self._look, None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self.cycle is None:  # its first request may be on the way: a reload shall not cost it
            self.loop.call_later(min(self.seconds, _GRACE_SECONDS), self._shutdown)
        else:
            self._shutdown()

    def _shutdown(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    def _look(self, before: Any) -> None:
        """End the connection where no request has begun since the last look, and none is under way."""
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and cycle is before:
            self.transport.abort()
            return
        self._watch = self.loop.call_later(self.seconds, self._look, cycle)


def _bounded(seconds: float, most_connections: int) -> type[_Bounded]:
    return type("Bounded", (_Bounded,), {"seconds": seconds, "most_connections": most_connections})
