"""The page for devices below /offline."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from serving import bundle
from serving.errors import SettingsError
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.settings import Settings

ROOT = Path(__file__).parents[3]

Start = Callable[..., TestClient]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "index.html").write_text("<title>page</title>")
    (tmp_path / "sw.js").write_text("const RELEASE = {};")
    (tmp_path / "files/0123.wasm.gz").write_bytes(b"packed")
    return tmp_path


@pytest.fixture
def start() -> Iterator[Start]:
    """Give a function that starts the application with these settings."""
    begun = []

    def begin(**settings: Any) -> TestClient:
        app = create_app()
        released = bundle.read(sorted(ROOT.glob("models/*/bundle"))[0])
        app.state.engine = Engine(released, Settings(**settings), CollectorRegistry())
        begun.append(app.state.engine)
        return TestClient(app, base_url="http://127.0.0.1:3000")

    yield begin
    for engine in begun:
        engine.close()


def test_the_page_and_its_files_lie_below_offline(start: Start, page: Path) -> None:
    client = start(offline=page)
    assert client.get("/offline/").text == "<title>page</title>"
    assert client.get("/offline/sw.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/offline/files/0123.wasm.gz").content == b"packed"


def test_the_address_without_a_slash_leads_there(start: Start, page: Path) -> None:
    assert start(offline=page).get("/offline").url.path == "/offline/"


def test_a_packed_file_is_not_declared_as_packed(start: Start, page: Path) -> None:
    response = start(offline=page).get("/offline/files/0123.wasm.gz")
    assert "content-encoding" not in response.headers


def test_the_page_is_isolated_from_others_as_threads_need_it(start: Start, page: Path) -> None:
    headers = start(offline=page).get("/offline/").headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"


@pytest.mark.parametrize("path", ["nothing", "files/../../secret", "%2e%2e/secret"])
def test_other_files_are_not_found(path: str, start: Start, page: Path) -> None:
    (page.parent / "secret").write_text("secret")
    response = start(offline=page).get(f"/offline/{path}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_there_is_no_page_where_none_was_made(start: Start) -> None:
    response = start().get("/offline/")
    assert response.status_code == 404
    assert "fracture export --format web" in response.json()["detail"]


def test_the_model_is_not_given_away_where_answers_need_a_key(start: Start, page: Path) -> None:
    assert start(offline=page, api_keys=("secret",)).get("/offline/").status_code == 404


def test_a_folder_that_holds_no_page_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"FRACTURE_OFFLINE: .* is no page; write one with"):
        Settings.from_environment({"FRACTURE_OFFLINE": str(tmp_path)})
