"""The BentoML service, put together from the packages of serving/. `fracture serve` and every bento start it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml

from serving.http import accepting
from serving.http.settings import Settings
from serving.late import late

if TYPE_CHECKING:
    from serving.http import worker
else:
    worker = late("serving.http.worker")  # see Workers

accepting.share_connections()
settings = Settings.from_environment()


class Workers:
    """Loads the application in the workers only: the process that starts them does not need it and is ready sooner."""

    def __init__(self) -> None:
        self.app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


here = Workers()


@bentoml.service(
    name="bone-fracture",
    workers=int(os.environ.get("FRACTURE_WORKERS", "1")),
    # Our own limits answer earlier, as problem documents. BentoML keeps a timer, and with it the request, for this
    # long after every answer: it must not be much longer than need be.
    traffic={"timeout": 2 * settings.timeout + 10},
    logging={"access": {"enabled": False}},
    # No traces are exported, and each would cost a quarter of a millisecond.
    tracing={"excluded_urls": ".*"},
    # BentoML counts by path, which strangers choose; ours at /metrics count by route.
    metrics={"enabled": False},
)
@bentoml.asgi_app(here, path="/")
class FractureService:
    """Answers radiographs with the bundle that FRACTURE_BUNDLE names, or the one lying nearest."""

    def __init__(self) -> None:
        folder = os.environ.get("FRACTURE_BUNDLE")
        here.app = worker.start(Path(folder) if folder else None, Path(__file__).parent, settings)

    @bentoml.on_shutdown
    def close(self) -> None:
        """Let the running predictions end."""
        here.app.state.engine.close()
