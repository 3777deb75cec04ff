"""What carries an alert to the workflow `retrain`: run as a process, with a stand-in for GitHub's API on loopback."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.checkers import ROOT
from tests.ports import free_port

SCRIPT = ROOT / "deploy/monitoring/bridge.py"
SECRET, TOKEN = "s" * 32, "t" * 40


class GitHub:
    """Keeps what it was asked, and answers with a status."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.status = 204
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((self.path, self.headers["Authorization"], body))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def github() -> Iterator[GitHub]:
    """Start a stand-in for GitHub's API."""
    made = GitHub()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def settings(tmp_path: Path, github: GitHub) -> dict[str, str]:
    """Write the secrets and name everything that a bridge asks for."""
    for name, content in (("bridge", SECRET), ("github", TOKEN)):
        (tmp_path / name).write_text(f"{content}\n")
    return {
        "PATH": os.environ["PATH"], "BRIDGE_SECRET_FILE": str(tmp_path / "bridge"), "GITHUB_REPOSITORY": "us/project",
        "GITHUB_TOKEN_FILE": str(tmp_path / "github"), "GITHUB_API": github.address, "BRIDGE_PORT": str(free_port()),
        "BRIDGE_STATE": str(tmp_path / "asked"),
    }  # fmt: skip


Start = Callable[[], httpx.Client]


@pytest.fixture
def start(settings: dict[str, str]) -> Iterator[Start]:
    """Give a function that starts the bridge and a client with its secret."""
    running: list[subprocess.Popen[str]] = []

    def begin() -> httpx.Client:
        for former in running:
            former.terminate()
            former.wait(10)
        process = subprocess.Popen([sys.executable, SCRIPT], env=settings, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        address = f"http://127.0.0.1:{settings['BRIDGE_PORT']}"
        return httpx.Client(base_url=address, headers={"Authorization": f"Bearer {SECRET}"}, timeout=30)

    yield begin
    for process in running:
        process.terminate()
        process.communicate(timeout=10)


def _notification(name: str = "FractureScoresMoved", status: str = "firing") -> dict[str, Any]:
    return {"version": "4", "alerts": [{"status": status, "labels": {"alertname": name, "job": "fracture"}}]}


def test_an_alert_that_something_moved_asks_for_a_training(start: Start, github: GitHub) -> None:
    assert start().post("/retrain", json=_notification()).status_code == 202
    ((path, authorization, body),) = github.asked
    assert (path, authorization) == ("/repos/us/project/dispatches", f"Bearer {TOKEN}")
    assert body == {"event_type": "retrain", "client_payload": {"alerts": ["FractureScoresMoved"]}}


def test_it_asks_once_a_day_over_restarts(start: Start, github: GitHub) -> None:
    start().post("/retrain", json=_notification())
    said = start().post("/retrain", json=_notification("FractureInputsMoved"))
    assert (said.status_code, len(github.asked)) == (200, 1)
    assert "asked already; again in 2" in said.text


def test_it_asks_again_after_its_time(start: Start, github: GitHub, settings: dict[str, str]) -> None:
    Path(settings["BRIDGE_STATE"]).write_text(f"{time.time() - 25 * 3600:.0f}")
    assert start().post("/retrain", json=_notification()).status_code == 202


@pytest.mark.parametrize(
    "told", [_notification("FractureDown"), _notification(status="resolved"), {"version": "4", "alerts": []}]
)
def test_other_alerts_ask_for_nothing(start: Start, github: GitHub, told: dict[str, Any]) -> None:
    assert start().post("/retrain", json=told).status_code == 200
    assert github.asked == []


def test_a_github_that_refuses_is_asked_again_when_alertmanager_comes_back(start: Start, github: GitHub) -> None:
    github.status = 500
    client = start()
    refused = client.post("/retrain", json=_notification())
    assert (refused.status_code, refused.text) == (502, "GitHub was not reached: HTTPError 500\n")
    github.status = 204
    assert client.post("/retrain", json=_notification()).status_code == 202


def test_who_lacks_the_secret_asks_for_nothing(start: Start, github: GitHub) -> None:
    client = start()
    client.headers["Authorization"] = "Bearer wrong"
    assert client.post("/retrain", json=_notification()).status_code == 401
    assert github.asked == []


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/other", b"{}", 404),
        ("/retrain", b"no json", 400),
        ("/retrain", b'{"alerts": [1]}', 400),
        ("/retrain", bytes(2**20 + 1), 413),
    ],
)
def test_anything_else_is_refused_and_asks_for_nothing(
    start: Start, github: GitHub, path: str, content: bytes, status: int
) -> None:
    client = start()
    try:
        assert client.post(path, content=content).status_code == status
    except httpx.TransportError:
        assert status == 413  # it hangs up on what is too large while it is being sent
    assert github.asked == []


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("BRIDGE_SECRET_FILE", "", "names no file that can be read (not set)"),
        ("GITHUB_TOKEN_FILE", "/nowhere", "names no file that can be read (/nowhere)"),
        ("GITHUB_REPOSITORY", "project", "write OWNER/NAME"),
        ("BRIDGE_HOURS", "often", "write numbers"),
        ("BRIDGE_STATE", "/nowhere/asked", "is no folder that can be written"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line(
    settings: dict[str, str], variable: str, value: str, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT], env={**settings, variable: value}, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert variable in done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
