"""STOW-RS (PS3.18, 10.5) as an application: each object is taken or refused on its own, and named in the answer."""

import asyncio
import hmac
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hospital import logs
from hospital.config import MIB, WebReceiver
from hospital.dicomweb.gate import CANNOT_UNDERSTAND, PROCESSING_FAILURE, Identity, ObjectGate, RefusedObjectError
from hospital.dicomweb.related import DICOM, Part, RelatedBounds, RelatedError, RelatedReader
from hospital.parts import Parts
from hospital.sections import is_loopback
from serving.imaging.dicom.dataset import identifier

_JSON = "application/dicom+json"
_SLOWEST = 10_000
"""Bytes a second, on average, below which a request takes too long."""
_RETRY_SECONDS = "60"
_STATUSES = {
    "media_type": 415,
    "encoded": 415,
    "body_size": 413,
    "too_many_parts": 413,
    "malformed_multipart": 400,
    "truncated_multipart": 400,
    "slow": 408,
    "busy": 503,
    "disk_reserve": 503,
    "bad_uid": 400,
    "host": 421,
    "unauthorized": 401,
}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:]+)(:\d+)?", re.IGNORECASE)


class _ProblemError(Exception):
    """A request that is not answered object by object; `code` is one of `_STATUSES`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class _Outcome:
    """What became of a request's objects."""

    kept: list[Identity] = field(default_factory=list)
    refused: list[RefusedObjectError] = field(default_factory=list)

    @property
    def status(self) -> int:
        """200 where all were taken, 202 where some were, 409 where none was, 503 where none could be for now."""
        if not self.refused:
            return 200
        if self.kept:
            return 202
        return 503 if all(one.is_temporary for one in self.refused) else 409

    def document(self) -> dict[str, Any]:
        """The Store Instances Response Module (PS3.18, I.2) in DICOM JSON."""
        named = [one for one in self.refused if one.identity.sop_instance_uid and one.identity.sop_class_uid]
        others = [one for one in self.refused if one not in named]
        found: dict[str, Any] = {"00081190": {"vr": "UR"}}
        if named:
            found["00081198"] = _sequence([_reference(one.identity) | _reason(one) for one in named])
        if self.kept:
            found["00081199"] = _sequence([_reference(one) | {"00081190": {"vr": "UR"}} for one in self.kept])
        if others:
            found["0008119A"] = _sequence([_reason(one) for one in others])
        return found


class StoreService:
    """Takes objects in for one port; `key` is asked of each request unless it is empty."""

    def __init__(self, settings: WebReceiver, key: str, gate: ObjectGate, parts: Parts, reserve_bytes: int) -> None:
        self._settings, self._key, self._gate = settings, key.encode(), gate
        self._spool, self._metrics, self._reserve_bytes = parts.spool, parts.metrics, reserve_bytes
        self._active = 0

    async def answer(self, request: Request) -> Response:
        """Answer a request in any case."""
        try:
            self._admitted(request)
            self._active += 1
            try:
                outcome = await self._stored(request)
            finally:
                self._active -= 1
        except (_ProblemError, RelatedError) as error:
            return self._problem(error.code, error.message)
        except ClientDisconnect:
            logs.event("request_cut_off")
            return Response(status_code=400)
        if not outcome.kept and not outcome.refused:
            return self._problem("malformed_multipart", "the body holds no part")
        self._metrics.web_requests.labels(str(outcome.status)).inc()
        headers = {"retry-after": _RETRY_SECONDS} if outcome.status == 503 else {}
        return JSONResponse(outcome.document(), outcome.status, headers, media_type=_JSON)

    def _admitted(self, request: Request) -> None:
        """_ProblemError for who has no key, what is no such request, and what there is no room for."""
        settings = self._settings
        if self._key and not hmac.compare_digest(_given(request), self._key):
            raise _ProblemError("unauthorized", "give the key as a bearer token")
        if not self._key and settings.tls is None and not _names_loopback(request.headers.get("host", "")):
            raise _ProblemError("host", "without a key this port answers to names of this machine only")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise _ProblemError("encoded", "send the body without a content encoding")
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > settings.max_request_mb * MIB:
            raise _ProblemError("body_size", f"more than {settings.max_request_mb} MiB in one request")
        if self._active >= settings.max_requests:
            raise _ProblemError("busy", "too many requests at the same time")
        if self._spool.free_bytes() < self._reserve_bytes:
            raise _ProblemError("disk_reserve", "there is no room for objects now")

    async def _stored(self, request: Request) -> _Outcome:
        settings, outcome = self._settings, _Outcome()
        study_uid = request.path_params.get("study", "")
        if study_uid and not identifier(study_uid):
            raise _ProblemError("bad_uid", "the path names no Study Instance UID")
        bounds = RelatedBounds(settings.max_object_mb * MIB, settings.max_request_mb * MIB, settings.max_parts)
        reader = RelatedReader(
            request.headers.get("content-type", ""),
            self._spool.partial,
            bounds,
            lambda part: self._part(part, study_uid, outcome),
        )
        try:
            async with aclosing(self._blocks(request)) as blocks:
                async for block in blocks:
                    await run_in_threadpool(reader.feed, block)
            reader.finish()
        except OSError as error:
            logs.trouble("object_not_stored", errno=error.errno)
            raise _ProblemError("disk_reserve", "the objects cannot be written now") from None
        finally:
            reader.close()
        return outcome

    def _part(self, part: Part, study_uid: str, outcome: _Outcome) -> None:
        """Take one object, or note why not; the others of the request go on."""
        try:
            if part.content_type != DICOM:
                raise self._refused("part_media_type", CANNOT_UNDERSTAND)
            if part.over_size:
                raise self._refused("object_size", PROCESSING_FAILURE)
            outcome.kept.append(self._gate.take(part.path, study_uid))
        except RefusedObjectError as error:
            outcome.refused.append(error)

    def _refused(self, code: str, reason: int) -> RefusedObjectError:
        self._gate.refused(code)
        return RefusedObjectError(code, reason)

    async def _blocks(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The body as it comes; _ProblemError where nothing comes for long, or where it drips."""
        patience = self._settings.idle_seconds
        begun, size = monotonic(), 0
        stream = aiter(request.stream())
        while True:
            try:
                async with asyncio.timeout(patience):
                    block = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise _ProblemError("slow", "the request takes too long") from None
            size += len(block)
            if monotonic() - begun > patience + size / _SLOWEST:
                raise _ProblemError("slow", "the request takes too long")
            yield block

    def _problem(self, code: str, message: str) -> Response:
        status = _STATUSES[code]
        self._metrics.web_requests.labels(str(status)).inc()
        logs.event("request_refused", code=code, status=status)
        # What is left of the body is not read: the connection is of no further use.
        headers = {"connection": "close"}
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        if status == 503:
            headers["retry-after"] = _RETRY_SECONDS
        return JSONResponse({"code": code, "detail": message}, status, headers)


def create_app(answer: Callable[[Request], Awaitable[Response]]) -> Starlette:
    """The application: both addresses of the Store transaction, and a probe."""

    def live(_: Request) -> Response:
        return Response(status_code=200)

    return Starlette(
        routes=[
            Route("/studies", answer, methods=["POST"]),
            Route("/studies/{study}", answer, methods=["POST"]),
            Route("/livez", live),
        ]
    )


def _names_loopback(host: str) -> bool:
    """Whether a Host header is one that a page of another site, whose name was bound to this machine, cannot send."""
    found = _HOST.fullmatch(host)
    return found is not None and is_loopback(found[1].strip("[]"))


def _given(request: Request) -> bytes:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip().encode() if scheme.lower() == "bearer" else b""


def _sequence(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}


def _reference(identity: Identity) -> dict[str, Any]:
    """Referenced SOP Class UID and Referenced SOP Instance UID."""
    return {
        "00081150": {"vr": "UI", "Value": [identity.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [identity.sop_instance_uid]},
    }


def _reason(error: RefusedObjectError) -> dict[str, Any]:
    """Failure Reason."""
    return {"00081197": {"vr": "US", "Value": [error.reason]}}
