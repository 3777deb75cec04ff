"""What one worker serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from serving.http import worker
from serving.http.settings import Settings


@pytest.fixture(scope="module")
def app(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starlette]:
    """Start a worker beside a page for devices, as in a bento that was packaged with it; once: it registers metrics."""
    root = tmp_path_factory.mktemp("root")
    (root / "offline").mkdir()
    (root / "offline/sw.js").write_text("const RELEASE = {};")
    started = worker.start(bundle_folder, root, Settings())
    yield started
    started.state.engine.close()


def test_a_worker_answers_with_the_bundle_it_is_given(app: Starlette) -> None:
    assert TestClient(app).get("/model").json()["name"] == app.state.engine.predictor.bundle.manifest.name


def test_a_worker_offers_the_page_that_was_packaged_beside_its_code(app: Starlette) -> None:
    assert TestClient(app).get("/offline/sw.js").text == "const RELEASE = {};"
