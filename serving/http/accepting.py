"""How a worker takes new connections from the socket that it shares with the others."""

import asyncio
from asyncio import selector_events
from typing import Any

# Why not one socket per worker (SO_REUSEPORT): BentoML binds its own without that option, so a second bind is refused.
# The kernel also shares by hash: in a fifth of 200 trials one of two sockets got 11 or more of 16 connections.
# Why not `--backlog`: it limits the kernel's queue as well.
_MOST_AT_ONCE = 1


def share_connections() -> None:
    """Make event loops of this process accept one waiting connection at a time, so that other workers get the next.

    asyncio accepts all that wait, up to the backlog. When a client or proxy opens its connections together, one
    worker gets nearly all of them and keeps them: the others idle, and throughput is that of one core. asyncio has no
    setting for it, so its method is wrapped; a Python version without a method of that name is left as it is.
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
