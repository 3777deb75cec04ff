"""The page that answers on its readers' own devices (docs/offline.md), as files below /offline."""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from serving.http.admission import Engine
from serving.http.problems import ProblemError


async def offline(engine: Engine, request: Request) -> Response:
    """GET /offline/..., a file of the page; Problem `not_found` where there is none.

    A page holds the model, so that it is not given away where answers need a key.
    """
    folder = engine.settings.offline
    if folder is None or engine.settings.api_keys:
        raise ProblemError("not_found", "no page for devices is served here; `fracture export --format web` makes one")
    name = request.path_params.get("path")
    if name is None:
        return RedirectResponse("offline/")
    try:
        response = await StaticFiles(directory=Path(folder), html=True).get_response(name or ".", request.scope)
    except HTTPException:
        raise ProblemError("not_found", "the page has no such file") from None
    # With the opener policy of every answer, this isolates the page from others, as threads in WebAssembly need it.
    response.headers["cross-origin-embedder-policy"] = "require-corp"
    return response
