"""What docs/serving.md says is true: its examples run, its tables hold what the code knows."""

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from serving import bundle
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.problems import PROBLEMS
from serving.http.settings import Settings
from serving.imaging import decode
from serving.predictor import Limits

TEXT = (Path(__file__).parents[3] / "docs/serving.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def address(bundle_folder: Path) -> Iterator[str]:
    """Serve the application on a free port."""
    app = create_app()
    app.state.engine = Engine(bundle.read(bundle_folder), Settings(), CollectorRegistry())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def folder(bundle_folder: Path, tmp_path: Path) -> Path:
    """Make a folder with the radiograph that the examples send."""
    shutil.copy(sorted((bundle_folder / "samples").iterdir())[0], tmp_path / "radiograph.png")
    return tmp_path


@pytest.mark.parametrize("command", [line for block in _blocks("sh") for line in block.splitlines()])
def test_a_curl_example_is_answered(command: str, address: str, folder: Path) -> None:
    local = command.replace("http://127.0.0.1:3000", address).replace("curl -s", "curl -sS --fail-with-body")
    done = subprocess.run(["bash", "-c", local], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(b"{") or (folder / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_the_python_example_prints_an_answer(address: str, folder: Path) -> None:
    (code,) = _blocks("python")
    local = code.replace("http://127.0.0.1:3000", address)
    done = subprocess.run([sys.executable, "-c", local], cwd=folder, capture_output=True, text=True, check=False)
    assert re.match(r"(Normal.*|Fracture detected) [\d.]+ (none|possible|high)", done.stdout), done.stdout + done.stderr


def test_the_table_of_errors_holds_every_code_with_its_status() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", TEXT, re.MULTILINE))
    assert rows == {code: str(status) for code, (status, _) in PROBLEMS.items()}


def test_the_table_of_limits_holds_every_setting_with_its_default() -> None:
    default = Settings()
    values = {
        "max_body": default.max_body // 2**20, "max_buffered": default.max_buffered // 2**20,
        "max_pixels": default.max_pixels, "max_frames": default.max_frames, "max_files": default.max_files,
        "timeout": int(default.timeout), "concurrency": default.concurrency, "threads": default.threads,
        "api_keys": "", "scope": default.scope, "store_url": "", "store_queue": default.store_queue,
        "pseudonym_key": "", "feedback_key": "", "feedback_days": int(default.feedback_days),
        "feedback_per_minute": default.feedback_per_minute, "feedback_text": "false",
        "offline": "", "shadow_bundle": "", "keep_images": "", "keep_days": int(default.keep_days),
        "keep_bytes": default.keep_bytes // 2**30, "spare_bytes": default.spare_bytes // 2**20, "spare_idle": "true",
    }  # fmt: skip
    assert set(values) == {field.name for field in fields(Settings)}
    variables = {"max_body": "FRACTURE_MAX_BODY_MB", "max_buffered": "FRACTURE_MAX_BUFFERED_MB", "api_keys": "API_KEYS"}
    variables |= {
        "timeout": "FRACTURE_TIMEOUT_S", "keep_bytes": "FRACTURE_KEEP_GB", "spare_bytes": "FRACTURE_SPARE_MB",
    }  # fmt: skip
    for name, value in values.items():
        variable = variables.get(name, f"FRACTURE_{name.upper()}")
        assert re.search(rf"^\| `{variable}` \| {value} ?\|", TEXT, re.MULTILINE), variable


def test_the_page_says_how_many_pixels_the_service_and_the_commands_take() -> None:
    assert f"| `FRACTURE_MAX_PIXELS` | {Settings().max_pixels} |" in TEXT
    assert f"up to {Limits().max_pixels:,} pixels" in TEXT
    assert Limits().max_pixels == decode.MAX_PIXELS
