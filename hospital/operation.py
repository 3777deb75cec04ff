"""The port of the operation: metrics, probes, and the worklist as JSON; on loopback, or with a key."""

import hmac
from collections.abc import Callable
from typing import Any

import uvicorn
from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hospital.config import Operation
from hospital.database import Instance, Job, Version
from hospital.gateway import Gateway
from hospital.http_server import ThreadedServer, asked_page
from hospital.worklist.entries import RANKS

PAGE_SIZE = 500
_NO_STORE = {"cache-control": "no-store"}


class OperationServer(ThreadedServer):
    """The operation's port; its key can be exchanged while it serves."""

    def __init__(self, settings: Operation, key: str, gateway: Gateway) -> None:
        self._gateway = gateway
        self._key, self._app = key, create_app(gateway, key)
        options = uvicorn.Config(
            self._answer,
            interface="asgi3",
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
        )
        super().__init__(options, "operation")

    def adopt(self, key: str) -> None:
        """Ask for another key from now on."""
        if key != self._key:
            self._key, self._app = key, create_app(self._gateway, key)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def create_app(gateway: Gateway, key: str) -> Starlette:
    """The application; with a key, everything but the probe asks for it."""

    def protected(answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
        def answered(request: Request) -> Response:
            if key and not hmac.compare_digest(_given(request), key.encode()):
                return JSONResponse({"code": "unauthorized"}, 401, {"www-authenticate": "Bearer"})
            return answer(request)

        return answered

    def live(_: Request) -> Response:
        return Response(status_code=200)

    def metrics(_: Request) -> Response:
        return Response(gateway.observe(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def worklist(request: Request) -> Response:
        with gateway.parts.database.reading() as session:
            total = session.scalar(select(func.count()).select_from(_newest().subquery())) or 0
            pages = max(1, -(-total // PAGE_SIZE))
            number = min(max(1, asked_page(request)), pages)
            told = {"studies": listed(session, number), "page": number, "pages": pages, "total": total}
        return JSONResponse(told, headers=_NO_STORE)

    return Starlette(
        routes=[
            Route("/livez", live),
            Route("/metrics", protected(metrics)),
            Route("/worklist.json", protected(worklist)),
        ]
    )


def listed(session: Session, page: int = 1) -> list[dict[str, Any]]:
    """The newest version of each study that is not purged, in the worklist's order of suspicions; 500 a page.

    A study without an answer is listed, too, before those without suspicion.
    """
    rank = case(RANKS, value=Version.suspicion, else_=RANKS[""])
    chosen = (
        _newest()
        .order_by(rank, Version.probability.desc(), Version.last_received_at, Version.id)
        .limit(PAGE_SIZE)
        .offset((page - 1) * PAGE_SIZE)
    )
    return [_entry(session, version) for version in session.scalars(chosen)]


def _newest() -> Select[Version]:
    newest = select(Version.study_uid, func.max(Version.number).label("number")).group_by(Version.study_uid).subquery()
    return (
        select(Version)
        .join(newest, (Version.study_uid == newest.c.study_uid) & (Version.number == newest.c.number))
        .where(Version.study_uid.in_(select(Instance.study_uid).where(Instance.path != "")))
    )


def _entry(session: Session, version: Version) -> dict[str, Any]:
    states = session.execute(select(Job.destination, Job.state).where(Job.kind == "deliver", Job.subject == version.id))
    return {
        "study_uid": version.study_uid,
        "version": version.number,
        "suspicion": version.suspicion or None,
        "probability": version.probability,
        **version.summary,
        "patient": version.patient,
        "made_at": version.made_at,
        "received_at": version.last_received_at,
        "delivery": {row.destination: row.state for row in states},
    }


def _given(request: Request) -> bytes:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip().encode() if scheme.lower() == "bearer" else b""
