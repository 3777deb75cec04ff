"""A service that keeps pictures and lets a second bundle answer in its shadow."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from serving import bundle
from serving.errors import SettingsError
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.settings import Settings
from serving.store.database import Database
from serving.store.records import ShadowRecord

LONG_AGO, FAR = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class Service:
    """An application with a store in SQLite and spare processes that need not wait for a quiet moment."""

    def __init__(self, served: Path, folder: Path, **settings: Any) -> None:
        url = f"sqlite:///{folder / 'answers.db'}"
        self.database = Database(url)
        self.database.upgrade()
        app = create_app()
        given = Settings(store_url=url, spare_idle=False, **settings)
        self.engine = app.state.engine = Engine(bundle.read(served), given, CollectorRegistry())
        self.client = TestClient(app, raise_server_exceptions=False)

    def predict(self, image: bytes) -> httpx.Response:
        response: httpx.Response = self.client.post("/predict", files={"image": ("Doe_Jane.png", image)})
        return response

    def figure(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).rsplit(" ", 1)[1])

    def shadows(self) -> list[ShadowRecord]:
        return self.database.shadows(LONG_AGO, FAR)

    def close(self) -> None:
        self.engine.close()
        self.database.close()


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def test_both_models_answers_to_an_image_and_its_picture_are_kept(
    bundle_folder: Path, second_bundle_folder: Path, tmp_path: Path, radiograph: bytes
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    service = Service(bundle_folder, tmp_path, keep_images=kept, shadow_bundle=second_bundle_folder)
    said = service.predict(radiograph).json()
    assert service.predict(b"GIF89a").status_code == 415
    _wait(lambda: len(service.shadows()) == 2 and len(list(kept.iterdir())) == 1)
    assert service.figure("fracture_images_kept_total") == 1
    assert service.figure("fracture_shadow_answers_total") == 2
    answered, refused = sorted(service.shadows(), key=lambda row: row.refused or "")
    assert (answered.answer_id, answered.model_version) == (said["answer_id"], "2")
    assert answered.model_sha256 != said["model"]["sha256"]
    assert answered.probability == pytest.approx(said["probability"], abs=0.1)
    assert (refused.refused, refused.probability) == ("unsupported_format", None)
    assert [path.name for path in kept.iterdir()] == [f"{said['answer_id']}.png"]
    service.close()


def test_a_shadow_and_a_folder_that_fail_cost_no_answer_and_are_counted(
    bundle_folder: Path, tmp_path: Path, radiograph: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, broken = tmp_path / "kept", tmp_path / "broken"
    broken.mkdir()
    service = Service(bundle_folder, tmp_path, keep_images=kept, shadow_bundle=broken, spare_bytes=len(radiograph))
    for _ in range(3):
        assert service.predict(radiograph).status_code == 200
    _wait(lambda: service.figure('fracture_images_dropped_total{reason="full"}') >= 1)
    assert service.figure('fracture_shadow_dropped_total{reason="busy"}') == 2
    _wait(lambda: "serving.spare.shadow: " in capsys.readouterr().out)
    service.close()


def test_without_either_setting_no_process_is_started(bundle_folder: Path, tmp_path: Path) -> None:
    service = Service(bundle_folder, tmp_path)
    assert service.engine.spare is None
    service.close()


@pytest.mark.parametrize(
    ("variable", "value", "store", "said"),
    [
        ("FRACTURE_KEEP_IMAGES", "{folder}", "", "needs FRACTURE_STORE_URL"),
        ("FRACTURE_KEEP_IMAGES", "{folder}/none", "sqlite://", "is no folder that can be written"),
        ("FRACTURE_SHADOW_BUNDLE", "{folder}", "", "needs FRACTURE_STORE_URL"),
        ("FRACTURE_SHADOW_BUNDLE", "{folder}/none", "sqlite://", "is no bundle"),
        ("FRACTURE_KEEP_DAYS", "0", "sqlite://", "number above 0"),
        ("FRACTURE_SPARE_IDLE", "perhaps", "", "neither true nor false"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    tmp_path: Path, variable: str, value: str, store: str, said: str
) -> None:
    values = {variable: value.format(folder=tmp_path), "FRACTURE_STORE_URL": store}
    with pytest.raises(SettingsError, match=f"^{variable}: .*{said}"):
        Settings.from_environment(values)
