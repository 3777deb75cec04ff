"""What one worker serves."""

from pathlib import Path

from starlette.testclient import TestClient

from serving.http import worker
from serving.http.settings import Settings


def test_a_worker_answers_with_the_bundle_it_is_given(bundle_folder: Path, tmp_path: Path) -> None:
    app = worker.start(bundle_folder, tmp_path, Settings())
    assert TestClient(app).get("/model").json()["name"] == app.state.engine.predictor.bundle.manifest.name
    app.state.engine.close()
