"""The BentoML service: the rooms of serving/ put together. `fracture serve` and every bento start from here."""

import os
from pathlib import Path

import bentoml

from serving import bundle
from serving.http import Engine, create_app
from serving.settings import Settings

settings = Settings.from_environment()
app = create_app()


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
@bentoml.asgi_app(app, path="/")
class FractureService:
    """Answers radiographs with the bundle that FRACTURE_BUNDLE names, or the one lying nearest."""

    def __init__(self) -> None:
        folder = os.environ.get("FRACTURE_BUNDLE")
        chosen = Path(folder) if folder else bundle.find_default(Path(__file__).parent)
        app.state.engine = Engine(bundle.read(chosen), settings)

    @bentoml.on_shutdown
    def close(self) -> None:
        """Let the running predictions end."""
        app.state.engine.close()
