"""The HTTP interface: routes, limits, errors, security headers. `docs/serving.md` describes it to callers."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Mount, Route
from starlette.staticfiles import StaticFiles

from serving import study
from serving.errors import ImageError
from serving.http import feedback, openapi, pictures, schemas
from serving.http.admission import Engine
from serving.http.keeping import Source
from serving.http.keys import Caller
from serving.http.offline import offline
from serving.http.problems import MEDIA_TYPE, PROBLEMS, ProblemError
from serving.http.settings import Settings
from serving.http.shell import Shell
from serving.http.telemetry import Stopwatch
from serving.http.uploads import Upload, flag, only, read_uploads
from serving.predictor import RESPONSE_SCHEMA, Prediction
from serving.scope import Scope
from serving.store.pseudonyms import Pseudonyms

WEB = Path(__file__).parents[1] / "web"

Endpoint = Callable[[Engine, Request], Awaitable[Response]]


async def predict(engine: Engine, request: Request) -> Response:
    """Answer `POST /predict`: one image, with what its parameters ask for.

    Raises ProblemError where the request or the image is refused.
    """
    uploads, parameters = await read_uploads(engine, request, ("image",))
    wanted, region = _wanted(parameters), _region(engine, parameters)
    answer = await _answer(engine, request, only(uploads), region)
    return _json(await _document(engine, request, answer, wanted))


async def explain(engine: Engine, request: Request) -> Response:
    """Answer `POST /explain`: one image with its heatmap drawn over it, as PNG.

    Raises ProblemError where the request or the image is refused.
    """
    uploads, _ = await read_uploads(engine, request, ("image",))
    answer = await _answer(engine, request, only(uploads))
    drawn = await engine.draw(pictures.overlay, answer.prediction)
    return Response(drawn, media_type="image/png", headers={"x-answer-id": answer.answer_id})


async def predict_batch(engine: Engine, request: Request) -> Response:
    """Answer `POST /predict/batch`: an answer or a problem for each image, in order, and one for the study if asked.

    Raises ProblemError where the request as a whole is refused.
    """
    uploads, parameters = await read_uploads(engine, request, ("images", "image"))
    wanted, one_answer, region = _wanted(parameters), flag(parameters, "study"), _region(engine, parameters)
    most = engine.settings.max_files
    if len(uploads) > most:
        raise ProblemError("too_many_files", f"the request holds {len(uploads)} files; at most {most} are accepted")
    results: list[schemas.Entry] = []
    answered: list[tuple[int, Prediction]] = []
    for index, upload in enumerate(uploads):
        name = upload.name or None
        try:
            answer = await _answer(engine, request, upload, region)
        except ImageError as error:
            status, _ = PROBLEMS[error.code]
            failed = schemas.EntryError(code=error.code, message=error.message, status=status)
            results.append(schemas.Entry(index=index, file=name, error=failed))
            continue
        document = await _document(engine, request, answer, wanted)
        results.append(schemas.Entry(index=index, file=name, prediction=document))
        answered.append((index, answer.prediction))
    batch = schemas.Batch(results=results, request_id=request.state.request_id, schema_version=RESPONSE_SCHEMA)
    if one_answer:
        found = study.assess(answered, len(uploads) - len(answered))
        batch.study = schemas.Study(**asdict(found) | {"probability": round(found.probability, 6)}) if found else None
    return _json(batch)


def _json(answer: schemas.Schema) -> Response:
    return Response(answer.written(), media_type="application/json")


def _wanted(parameters: Mapping[str, str]) -> Mapping[str, Callable[[Prediction], schemas.Schema]]:
    """What a request asks for in addition: the answer's key, and the function that draws it."""
    drawn = {
        "explanation": (flag(parameters, "explain"), pictures.explanation),
        "preview": (flag(parameters, "preview"), pictures.preview),
    }
    return {key: draw for key, (asked, draw) in drawn.items() if asked}


def _region(engine: Engine, parameters: Mapping[str, str]) -> str:
    """The region that the sender names; Problem `invalid_parameter` for one that the model does not know."""
    region = parameters.get("region", "")
    known = engine.predictor.bundle.manifest.intended.regions
    if region and region not in known:
        names = ", ".join(known) or "none"
        raise ProblemError("invalid_parameter", f"region: {region[:40]!r} is not one that the model knows ({names})")
    return region


@dataclass(frozen=True)
class _Answer:
    answer_id: str
    prediction: Prediction


async def _answer(engine: Engine, request: Request, upload: Upload, region: str = "") -> _Answer:
    watch, route, request_id = Stopwatch(), request.state.route, request.state.request_id
    source = Source(uuid.uuid4().hex, request_id, route, request.state.caller)
    try:
        prediction = await engine.predict(upload.content, region)
    except ImageError as error:
        engine.telemetry.rejection(request_id, route, error.code)
        if engine.keeper:
            engine.keeper.refused(source, error.code)
        if engine.spare:
            engine.spare.refused(source, upload.content, region)
        raise
    engine.telemetry.prediction(
        request_id, route, prediction, watch(), answer_id=source.answer_id, site=source.caller.site
    )
    if engine.keeper:
        names = Pseudonyms()
        if engine.keeper.may_name(upload.content):
            names = await engine.draw(engine.keeper.pseudonyms, upload.content, source.caller.site)
        engine.keeper.answered(source, prediction, names)
    if engine.spare:
        engine.spare.answered(source, upload.content, region)
    return _Answer(source.answer_id, prediction)


async def _document(
    engine: Engine,
    request: Request,
    answer: _Answer,
    wanted: Mapping[str, Callable[[Prediction], schemas.Schema]],
) -> schemas.Prediction:
    prediction, caller = answer.prediction, request.state.caller
    extra: dict[str, Any] = {key: await engine.draw(draw, prediction) for key, draw in wanted.items()}
    token = engine.keeper.token(answer.answer_id, caller) if engine.keeper else ""
    if token:
        extra["feedback_token"] = token
    return schemas.Prediction(
        **prediction.answer(),
        model=engine.facts,
        request_id=request.state.request_id,
        answer_id=answer.answer_id,
        **extra,
    )


async def model(engine: Engine, _: Request) -> Response:
    """GET /model."""
    bundle, settings = engine.predictor.bundle, engine.settings
    manifest = bundle.manifest.model_dump(mode="json", exclude={"schema_version", "files", "digest", "formats"})
    limits = {
        "max_body_bytes": settings.max_body,
        "max_pixels": settings.max_pixels,
        "max_frames": settings.max_frames,
        "max_files": settings.max_files,
    }
    return _json(
        schemas.Model(
            **manifest | engine.predictor.facts(),
            bundle_schema_version=bundle.manifest.schema_version,
            schema_version=RESPONSE_SCHEMA,
            samples=[f"/{name}" for name in bundle.manifest.samples],
            limits=limits,
            scope=_scope(bundle.scope, settings),
            feedback=feedback.form(engine),
        )
    )


def _scope(scope: Scope, settings: Settings) -> schemas.ScopeOfModel:
    refused = schemas.RefusedScope(modalities=scope.terms.modalities, body_parts=sorted(scope.terms.refused))
    mode: Literal["refuse", "warn"] = "warn" if settings.scope == "warn" else "refuse"
    return schemas.ScopeOfModel(mode=mode, regions=list(scope.named), refused=refused)


async def sample(engine: Engine, request: Request) -> Response:
    """GET /samples/NAME."""
    bundle = engine.predictor.bundle
    name = f"samples/{request.path_params['name']}"
    if name not in bundle.manifest.samples:
        raise ProblemError("not_found", "there is no such sample")
    return Response(bundle.content_of(name), media_type="image/png")


async def description(engine: Engine, _: Request) -> Response:
    """GET /openapi.json."""
    return JSONResponse(openapi.description(engine.predictor.bundle.manifest.classes, engine.settings))


async def metrics(engine: Engine, request: Request) -> Response:
    """GET /metrics, under exactly this path: a proxy in front that blocks it compares the bytes of the path."""
    if request.scope.get("raw_path", b"/metrics") != b"/metrics":
        raise ProblemError("not_found", "there is nothing at this address; GET /docs lists what there is")
    content, media_type = engine.telemetry.exposition()
    return Response(content, media_type=media_type)


async def not_found(_: Engine, request: Request) -> Response:
    """Answers 404 or 405 for whatever has no route; it comes last, so that BentoML's own pages stay hidden."""
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
    """An endpoint with key check, metrics and problem documents; with `predicts` it counts as a request in flight."""
    route = endpoint.__name__

    async def serve(request: Request) -> Response:
        engine: Engine = request.app.state.engine
        watch = Stopwatch()
        request.state.route = route
        try:
            if protected:
                request.state.caller = _caller(request, engine)
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


def _caller(request: Request, engine: Engine) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    caller = engine.keyring.caller(given)
    if caller is None:
        raise ProblemError(
            "unauthorized",
            "send an API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
            {"www-authenticate": "Bearer"},
        )
    return caller


def _problem(request: Request, problem: ProblemError) -> Response:
    document = schemas.Problem(**problem.document(request.state.request_id))
    return Response(document.written(), problem.status, problem.headers, MEDIA_TYPE)


async def _http_error(request: Request, error: Exception) -> Response:
    """Problem documents for what Starlette itself refuses: a wrong method, a missing file of the page."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if status == 405:
        return _problem(
            request, ProblemError("method_not_allowed", f"use {headers.get('Allow', 'another method')}", headers)
        )
    return _problem(
        request, ProblemError("not_found", "there is nothing at this address; GET /docs lists what there is")
    )


_ENDPOINTS: Mapping[str, Endpoint] = {
    "predict": predict,
    "predict_batch": predict_batch,
    "explain": explain,
    "feedback": feedback.receive,
    "model": model,
    "sample": sample,
    "openapi": description,
    "metrics": metrics,
    "docs": docs,
    "page": page,
}
"""By name in `openapi.OPERATIONS`; BentoML's probes and the page's files are not among them."""


def create_app() -> Starlette:
    """The application; `app.state.engine` has to be set before the first request."""
    everything = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    routes = [
        Route(
            operation.path,
            _served(_ENDPOINTS[operation.name], predicts=operation.takes_images, protected=operation.protected),
            methods=[operation.method.upper()],
        )
        for operation in openapi.OPERATIONS
        if operation.name in _ENDPOINTS
    ]
    return Starlette(
        routes=[
            *routes,
            Mount("/web", StaticFiles(directory=WEB)),
            Route("/offline", _served(offline, protected=False), methods=["GET"]),
            Route("/offline/{path:path}", _served(offline, protected=False), methods=["GET"]),
            Route("/{path:path}", _served(not_found, protected=False), methods=everything),
        ],
        middleware=[Middleware(Shell)],
        exception_handlers={HTTPException: _http_error, 404: _http_error},
    )
