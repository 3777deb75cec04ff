"""What one worker serves: the application with its bundle, ready to answer."""

from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette

from serving import bundle
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.settings import Settings, packaged_page


def start(folder: Path | None, root: Path, settings: Settings) -> Starlette:
    """The application with the bundle in `folder`, by default the one that `bundle.find_default` finds from `root`.

    It offers the page for devices that the settings name, by default the one packaged beside the code in `root`. It has
    predicted once when this returns. Raises BundleError.
    """
    app = create_app()
    settings = replace(settings, offline=settings.offline or packaged_page(root))
    app.state.engine = Engine(bundle.read(folder or bundle.find_default(root)), settings)
    return app
