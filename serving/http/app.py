"""The HTTP interface: routes, limits, errors, security headers. `docs/serving.md` describes it to callers."""

import asyncio
import base64
import hmac
import re
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from starlette.applications import Starlette
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import saliency
from serving.bundle import Bundle
from serving.decision import NONE_IN_PART
from serving.errors import ImageError
from serving.http import openapi
from serving.http.problems import MEDIA_TYPE, RETRY_AFTER_SECONDS, ProblemError
from serving.http.settings import MIB, Settings
from serving.http.telemetry import Stopwatch, Telemetry
from serving.predictor import RESPONSE_SCHEMA, Limits, Prediction, Predictor

WEB = Path(__file__).parents[1] / "web"
PREVIEW_SIDE = 2048
"""Longest side in pixels of the preview that a browser gets of a file it cannot show itself."""

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_RAW_TYPES = ("image/", "application/dicom", "application/octet-stream")
_MULTIPART = "multipart/form-data"
_MOST_PARTS = 256

Endpoint = Callable[["Engine", Request], Awaitable[Response]]


class Engine:
    """What the routes of one worker share: the predictor, its threads, and how much is in flight."""

    def __init__(self, bundle: Bundle, settings: Settings, registry: Any = None) -> None:
        """`registry` is Prometheus' own; by default the one that BentoML shows at /metrics."""
        cv2.setNumThreads(1)  # requests are spread over the cores, not each image's rows
        self.settings = settings
        self.predictor = Predictor(bundle, Limits(settings.max_pixels, settings.max_frames))
        self.telemetry = Telemetry(bundle.reference, self.predictor.facts(), registry)
        self._pool = ThreadPoolExecutor(settings.threads, "predict", self.predictor.warm_up)
        self._in_flight = 0
        self._buffered = 0
        # A prediction in each thread, so that `ready` means ready.
        for waiting in [self._pool.submit(time.sleep, 0.01) for _ in range(settings.threads)]:
            waiting.result()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Take one of the places for requests in flight; Problem `overloaded` at once when none is free."""
        if self._in_flight >= self.settings.concurrency:
            raise _overloaded()
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def body(self, request: Request) -> bytes:
        """The request's body; Problem `body_too_large`, `request_timeout` or `overloaded`."""
        settings = self.settings
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > settings.max_body:
            raise _too_large(settings)
        chunks: list[bytes] = []
        held = 0
        try:
            async with asyncio.timeout(settings.timeout):
                async for chunk in request.stream():
                    held += len(chunk)
                    self._buffered += len(chunk)
                    if held > settings.max_body:
                        raise _too_large(settings)
                    if self._buffered > settings.max_buffered:
                        raise _overloaded()
                    chunks.append(chunk)
        except TimeoutError:
            raise ProblemError("request_timeout", f"the request did not arrive within {settings.timeout:g} s") from None
        finally:
            self._buffered -= held
        return b"".join(chunks)

    async def predict(self, content: bytes) -> Prediction:
        """Predict in one of the threads; ImageError, or Problem `timeout`."""
        loop = asyncio.get_running_loop()
        waiting = loop.run_in_executor(self._pool, self.predictor.predict, content)
        try:
            return await asyncio.wait_for(waiting, self.settings.timeout)
        except TimeoutError:
            raise ProblemError(
                "timeout", f"no answer within {self.settings.timeout:g} s", {"retry-after": str(RETRY_AFTER_SECONDS)}
            ) from None

    async def draw(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a drawing function in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Let running predictions end and stop the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _overloaded() -> ProblemError:
    return ProblemError("overloaded", "the service is busy; try again", {"retry-after": str(RETRY_AFTER_SECONDS)})


def _too_large(settings: Settings) -> ProblemError:
    return ProblemError("body_too_large", f"the request has more than {settings.max_body / MIB:g} MiB")


@dataclass(frozen=True)
class Upload:
    """One file of a request; `name` is the caller's own and is given back to nobody else."""

    name: str
    content: bytes


class _InMemory(MultiPartParser):
    """Starlette's parser, but an upload is never written to disk."""

    spool_max_size = 2**62


async def read_uploads(
    engine: Engine, request: Request, fields: tuple[str, ...]
) -> tuple[list[Upload], Mapping[str, str]]:
    """The files of a request, in order, and its other parameters (query and form).

    A multipart body's files stand in one of `fields`; any other accepted body is one file. Raises ProblemError.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _MULTIPART and kind and not kind.startswith(_RAW_TYPES):
        raise ProblemError(
            "unsupported_media_type",
            f"content type {kind[:80]!r}; send multipart/form-data with the field {fields[0]}, or the image itself as "
            "image/*, application/dicom or application/octet-stream",
        )
    body = await engine.body(request)
    if kind != _MULTIPART:
        if not body and not kind:
            raise ProblemError("missing_image", f"send the image as the body, or as the multipart field {fields[0]}")
        return [Upload("", body)], dict(request.query_params)
    form = await _parse(request.headers, body)
    files = [(name, value) for name, value in form.multi_items() if name in fields]
    if not files:
        raise ProblemError("missing_image", f"the multipart body has no field {fields[0]}")
    if any(not isinstance(value, UploadFile) for _, value in files):
        raise ProblemError(
            "missing_image", f"the field {fields[0]} holds text, not a file; addresses are never fetched"
        )
    uploads = [Upload(value.filename or "", await value.read()) for _, value in files if isinstance(value, UploadFile)]
    texts = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    return uploads, {**texts, **dict(request.query_params)}


async def _parse(headers: Headers, body: bytes) -> FormData:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        return await _InMemory(headers, stream(), max_files=_MOST_PARTS, max_fields=_MOST_PARTS).parse()
    except MultiPartException as error:
        code = "too_many_files" if "Too many files" in error.message else "malformed_multipart"
        raise ProblemError(code, f"the multipart body cannot be read: {error.message}") from None
    except (KeyError, ValueError, LookupError):
        raise ProblemError("malformed_multipart", "the multipart body cannot be read") from None


def flag(parameters: Mapping[str, str], name: str) -> bool:
    """A parameter that is true or false; Problem `invalid_parameter` for anything else."""
    text = parameters.get(name, "false").lower()
    if text not in {"true", "false", "1", "0"}:
        raise ProblemError("invalid_parameter", f"{name}: {text[:40]!r} is neither true nor false")
    return text in {"true", "1"}


def explanation(prediction: Prediction) -> dict[str, Any]:
    """Heatmap and boxes of a prediction, for JSON."""
    shown = prediction.evidence()
    found = saliency.peak(shown)
    image = saliency.layer(shown)
    return {
        "heatmap": {
            "media_type": "image/png",
            "width": image.shape[1],
            "height": image.shape[0],
            "data": base64.b64encode(_png(image)).decode("ascii"),
        },
        "peak": {"x": round(found[0], 5), "y": round(found[1], 5)} if found else None,
        "boxes": [
            {"x0": round(box.x0, 5), "y0": round(box.y0, 5), "x1": round(box.x1, 5), "y1": round(box.y1, 5),
             "strength": box.strength}
            for box in saliency.boxes(shown)
        ],
    }  # fmt: skip


def preview(prediction: Prediction) -> dict[str, Any]:
    """The upright grey image as a JPEG of at most PREVIEW_SIDE pixels, for what a browser cannot show."""
    pixels = prediction.pixels
    scale = PREVIEW_SIDE / max(pixels.shape)
    if scale < 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    done, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise RuntimeError("JPEG encoding failed")
    return {
        "media_type": "image/jpeg",
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "data": base64.b64encode(content.tobytes()).decode("ascii"),
    }


def _png(pixels: Any) -> bytes:
    done, content = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise RuntimeError("PNG encoding failed")
    return bytes(content.tobytes())


async def predict(engine: Engine, request: Request) -> Response:
    """POST /predict."""
    uploads, parameters = await read_uploads(engine, request, ("image",))
    explain, show = flag(parameters, "explain"), flag(parameters, "preview")
    prediction = await _answer(engine, request, _only(uploads))
    extra: dict[str, Any] = {}
    if explain:
        extra["explanation"] = await engine.draw(explanation, prediction)
    if show:
        extra["preview"] = await engine.draw(preview, prediction)
    return JSONResponse(_document(engine, request, prediction) | extra)


async def explain(engine: Engine, request: Request) -> Response:
    """POST /explain."""
    uploads, _ = await read_uploads(engine, request, ("image",))
    prediction = await _answer(engine, request, _only(uploads))
    content = await engine.draw(lambda: _png(saliency.overlay(prediction.pixels, prediction.evidence())))
    return Response(content, media_type="image/png")


async def predict_batch(engine: Engine, request: Request) -> Response:
    """POST /predict/batch."""
    uploads, parameters = await read_uploads(engine, request, ("images", "image"))
    explain, show, study = (flag(parameters, name) for name in ("explain", "preview", "study"))
    most = engine.settings.max_files
    if len(uploads) > most:
        raise ProblemError("too_many_files", f"the request holds {len(uploads)} files; at most {most} are accepted")
    results: list[dict[str, Any]] = []
    answered: list[tuple[int, Prediction]] = []
    for index, upload in enumerate(uploads):
        entry: dict[str, Any] = {"index": index, "file": upload.name or None}
        try:
            prediction = await _answer(engine, request, upload)
        except ImageError as error:
            results.append({**entry, "error": _entry_error(request, error)})
            continue
        document = _document(engine, request, prediction)
        if explain:
            document["explanation"] = await engine.draw(explanation, prediction)
        if show:
            document["preview"] = await engine.draw(preview, prediction)
        results.append({**entry, "prediction": document})
        answered.append((index, prediction))
    answer: dict[str, Any] = {
        "results": results, "request_id": request.state.request_id, "schema_version": RESPONSE_SCHEMA,
    }  # fmt: skip
    if study:
        answer["study"] = _study(answered, len(uploads) - len(answered))
    return JSONResponse(answer)


def _entry_error(request: Request, error: ImageError) -> dict[str, Any]:
    document = ProblemError(error.code, error.message).document(request.state.request_id)
    return {"code": document["code"], "message": error.message, "status": document["status"]}


def _study(answered: list[tuple[int, Prediction]], unanswered: int) -> dict[str, Any] | None:
    """One answer for all views of a study: that of the most suspicious one.

    A fracture may show in one view alone: where others have no answer, nothing is said of the study as a whole.
    """
    if not answered:
        return None
    index, worst = max(answered, key=lambda pair: pair[1].probability)
    found = worst.answer()
    chosen = {name: found[name] for name in ("label", "probability", "threshold", "suspicion", "statement")}
    if worst.suspicion == "none":
        cut_short = any(found.truncated for _, found in answered)
        if unanswered:
            views = f"{len(answered)} view{'s' if len(answered) > 1 else ''}"
            part = " in part" if cut_short else ""
            chosen["statement"] = (
                f"No sign of a fracture was found in the {views} that could be read{part}; {unanswered} could not be."
            )
        elif cut_short:
            chosen["statement"] = NONE_IN_PART
    return {**chosen, "index": index, "images": len(answered), "unanswered": unanswered}


def _only(uploads: list[Upload]) -> Upload:
    if len(uploads) > 1:
        raise ProblemError("too_many_files", "send one image here; POST /predict/batch takes several")
    return uploads[0]


async def _answer(engine: Engine, request: Request, upload: Upload) -> Prediction:
    watch, route = Stopwatch(), request.state.route
    try:
        prediction = await engine.predict(upload.content)
    except ImageError as error:
        engine.telemetry.rejection(request.state.request_id, route, error.code)
        raise
    engine.telemetry.prediction(request.state.request_id, route, prediction, watch())
    return prediction


def _document(engine: Engine, request: Request, prediction: Prediction) -> dict[str, Any]:
    return {
        **prediction.answer(), "model": engine.predictor.facts(), "request_id": request.state.request_id,
    }  # fmt: skip


async def model(engine: Engine, _: Request) -> Response:
    """GET /model."""
    bundle, settings = engine.predictor.bundle, engine.settings
    manifest = bundle.manifest.model_dump(mode="json", exclude={"files", "digest", "formats"})
    return JSONResponse({
        **engine.predictor.facts(),
        **{name: value for name, value in manifest.items() if name not in {"name", "version", "schema_version"}},
        "bundle_schema_version": bundle.manifest.schema_version,
        "schema_version": RESPONSE_SCHEMA,
        "samples": [f"/{name}" for name in bundle.manifest.samples],
        "limits": {
            "max_body_bytes": settings.max_body, "max_pixels": settings.max_pixels,
            "max_frames": settings.max_frames, "max_files": settings.max_files,
        },
    })  # fmt: skip


async def sample(engine: Engine, request: Request) -> Response:
    """GET /samples/NAME."""
    bundle = engine.predictor.bundle
    name = f"samples/{request.path_params['name']}"
    if name not in bundle.manifest.samples:
        raise ProblemError("not_found", "there is no such sample")
    return Response((bundle.folder / name).read_bytes(), media_type="image/png")


async def description(engine: Engine, _: Request) -> Response:
    """GET /openapi.json."""
    return JSONResponse(openapi.description(engine.predictor.bundle.manifest.classes, engine.settings))


async def metrics(engine: Engine, request: Request) -> Response:
    """GET /metrics, under this name only: who shuts it off before the service does so by the bytes of the path."""
    if request.scope.get("raw_path", b"/metrics") != b"/metrics":
        raise ProblemError("not_found", "there is nothing at this address; GET /docs lists what there is")
    content, media_type = engine.telemetry.exposition()
    return Response(content, media_type=media_type)


async def not_found(_: Engine, request: Request) -> Response:
    """Whatever has no route; stands last, so that BentoML's own pages stay hidden."""
    for route in request.app.routes:
        if isinstance(route, Route) and route.methods and route.matches(request.scope)[0] is Match.PARTIAL:
            allowed = ", ".join(sorted(route.methods))
            raise ProblemError("method_not_allowed", f"use {allowed}", {"allow": allowed})
    raise ProblemError("not_found", "there is nothing at this address; GET /docs lists what there is")


async def page(_: Engine, __: Request) -> Response:
    """GET /, the page."""
    return Response((WEB / "index.html").read_bytes(), media_type="text/html")


async def docs(_: Engine, __: Request) -> Response:
    """GET /docs, the description of this interface for a person."""
    return Response((WEB / "docs.html").read_bytes(), media_type="text/html")


def _served(
    endpoint: Endpoint, *, predicts: bool = False, protected: bool = True
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint with key check, figures and problem documents; `predicts` takes a place among those in flight."""
    route = endpoint.__name__

    async def serve(request: Request) -> Response:
        engine: Engine = request.app.state.engine
        watch = Stopwatch()
        request.state.route = route
        try:
            if protected:
                _check_key(request, engine.settings)
            if predicts:
                with engine.admitted():
                    response = await endpoint(engine, request)
            else:
                response = await endpoint(engine, request)
        except ClientDisconnect:
            response = Response(status_code=400)  # nobody is there to read it
        except ProblemError as problem:
            if predicts:
                engine.telemetry.rejection(request.state.request_id, route, problem.code)
            response = _problem(request, problem)
        except ImageError as error:
            response = _problem(request, ProblemError(error.code, error.message))
        except Exception as error:  # noqa: BLE001  whatever fails, the caller gets a problem document and the log a line
            engine.telemetry.failure(request.state.request_id, route, error)
            response = _problem(request, ProblemError("internal", "the service has failed; the log names the request"))
        engine.telemetry.request(route, response.status_code, watch())
        return response

    return serve


def _check_key(request: Request, settings: Settings) -> None:
    if not settings.api_keys:
        return
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = (token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")).encode()
    # Every key is compared, in constant time, so that the time taken tells nothing.
    matches = [hmac.compare_digest(given, key.encode()) for key in settings.api_keys]
    if not any(matches):
        raise ProblemError(
            "unauthorized", "send an API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
            {"www-authenticate": "Bearer"},
        )  # fmt: skip


def _problem(request: Request, problem: ProblemError) -> Response:
    document = problem.document(request.state.request_id)
    return JSONResponse(document, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


async def _http_error(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: a method that an address does not answer, a file of the page that is not there."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if status == 405:
        return _problem(
            request, ProblemError("method_not_allowed", f"use {headers.get('Allow', 'another method')}", headers)
        )
    return _problem(
        request, ProblemError("not_found", "there is nothing at this address; GET /docs lists what there is")
    )


class _Shell:
    """Gives every request an id and every response its security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        own = [(name.encode(), value.encode()) for name, value in {**_HEADERS, "x-request-id": request_id}.items()]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *own]
                # The page's files may be kept but are asked about again; answers are not kept.
                kept = b"no-cache" if scope["path"].startswith("/web/") else b"no-store"
                headers.append((b"cache-control", kept))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def create_app() -> Starlette:
    """The application; `app.state.engine` has to be set before the first request."""
    everything = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    routes = [
        Route("/predict", _served(predict, predicts=True), methods=["POST"]),
        Route("/predict/batch", _served(predict_batch, predicts=True), methods=["POST"]),
        Route("/explain", _served(explain, predicts=True), methods=["POST"]),
        Route("/model", _served(model), methods=["GET"]),
        Route("/samples/{name}", _served(sample, protected=False), methods=["GET"]),
        Route("/openapi.json", _served(description, protected=False), methods=["GET"]),
        Route("/metrics", _served(metrics, protected=False), methods=["GET"]),
        Route("/docs", _served(docs, protected=False), methods=["GET"]),
        Route("/", _served(page, protected=False), methods=["GET"]),
        Mount("/web", StaticFiles(directory=WEB)),
        Route("/{path:path}", _served(not_found, protected=False), methods=everything),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(_Shell)],
        exception_handlers={HTTPException: _http_error, 404: _http_error},
    )
