"""How a worker takes new connections from the socket that it shares with the others."""

import asyncio
from asyncio import selector_events
from typing import Any

# Why not one socket per worker (SO_REUSEPORT): BentoML binds its own without that option, so a second bind is refused.
# The kernel also shares by hash: in a fifth of 200 trials one of two sockets got 11 or more of 16 connections.
# Why not `--backlog`: it limits the kernel's queue as well.
_MOST_AT_ONCE = 1


def share_connections() -> None:
    """Let event loops of this process take one waiting connection at a time, for the other workers to take the next.

    asyncio takes all that wait (as many as the backlog). When a client or proxy opens its connections together, one
    worker gets nearly all of them and keeps them: the others idle, and throughput is that of one core. asyncio has no
    setting for it, so its method is wrapped; where a Python version has none of that name, nothing changes.
    """
    loop: Any = selector_events.BaseSelectorEventLoop
    accept = getattr(loop, "_accept_connection", None)
    if accept is None or hasattr(accept, "__wrapped__"):
        return

    def accept_few(
        self: asyncio.AbstractEventLoop,
        protocol_factory: Any,
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        _backlog: int = 100,
        *rest: Any,
        **named: Any,
    ) -> None:
        named.pop("backlog", None)
        accept(self, protocol_factory, sock, sslcontext, server, _MOST_AT_ONCE, *rest, **named)

    accept_few.__wrapped__ = accept  # type: ignore[attr-defined]
    loop._accept_connection = accept_few
