"""`fracture serve`: one line for what cannot work, a service that answers, and nothing left when it ends."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from pipeline.cli import serve
from pipeline.cli.ports import check_port
from pipeline.errors import InputError
from serving.http.settings import Settings
from tests.ports import free_port
from tests.signer import Signer

ROOT = Path(__file__).parents[3]
FRACTURE = str(Path(sys.executable).parent / "fracture")


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        (str(ip_address(0)), "127.0.0.1"),
        ("", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("192.0.2.7", "192.0.2.7"),
        ("localhost", "localhost"),
    ],
)
def test_the_address_that_is_shown_can_be_opened_here(host: str, shown: str) -> None:
    assert serve._shown(host) == shown


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is a checkout of this project as far as the service needs one, with a build/ of its own."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("params.yaml", "dvc.yaml", "service.py"):
        shutil.copy(ROOT / name, root)
    (root / "serving").symlink_to(ROOT / "serving")
    return root


@dataclass
class Running:
    """A started `fracture serve`."""

    process: subprocess.Popen[str]
    port: int

    def line_with(self, text: str) -> str:
        """The next line it prints with this text in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return line
        raise AssertionError(f"it ended with {self.process.wait()} and never printed {text!r}")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def _start(checkout: Path, bundle: Path, *arguments: str) -> Running:
    port = free_port()
    process = subprocess.Popen(
        # A shell that runs the tests in the background ignores Ctrl-C, and hands that on.
        ["env", "--default-signal=INT", FRACTURE, "serve", "--port", str(port), "--bundle", str(bundle), *arguments],
        cwd=checkout, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return Running(process, port)


@pytest.fixture
def started(checkout: Path, bundle_folder: Path) -> Iterator[Running]:
    """A service with two workers that said it was ready."""
    running = _start(checkout, bundle_folder, "--workers", "2")
    try:
        assert f"http://127.0.0.1:{running.port}" in running.line_with("ready")
        yield running
    finally:
        running.process.terminate()
        running.process.wait(60)


def _ends_whole(running: Running, number: signal.Signals) -> None:
    family = running.family()
    assert len(family) >= 3  # BentoML and two workers
    running.process.send_signal(number)
    assert running.process.wait(60) == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


def test_it_answers_a_sample_and_ends_on_sigterm_without_leaving_a_child(started: Running, bundle_folder: Path) -> None:
    picture = sorted((bundle_folder / "samples").iterdir())[0].read_bytes()
    request = urllib.request.Request(
        f"http://127.0.0.1:{started.port}/predict", picture, {"content-type": "application/octet-stream"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  loopback
        assert 0 <= json.load(response)["probability"] <= 1
    _ends_whole(started, signal.SIGTERM)


def test_ctrl_c_ends_it_without_leaving_a_child(started: Running) -> None:
    _ends_whole(started, signal.SIGINT)


def test_it_listens_on_loopback_only_and_writes_below_build(started: Running, checkout: Path) -> None:
    processes = [psutil.Process(started.process.pid), *started.family()]
    connections = [connection for process in processes for connection in process.net_connections("inet")]
    assert {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert (checkout / "build/bentoml" / str(started.port)).is_dir()


def test_told_to_end_while_starting_it_ends_at_once(checkout: Path, bundle_folder: Path) -> None:
    running = _start(checkout, bundle_folder)
    end = time.monotonic() + 60
    while not (family := running.family()) and time.monotonic() < end:
        time.sleep(0.02)
    running.process.terminate()
    assert running.process.wait(60) == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


def _refused(checkout: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [FRACTURE, "serve", *arguments],
        cwd=checkout, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def test_a_port_in_use_is_one_line(checkout: Path, bundle_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        message = _refused(checkout, "--port", port, "--bundle", str(bundle_folder))
    assert f"port {port} on 127.0.0.1 cannot be used" in message
    assert "--port" in message


def test_a_damaged_bundle_is_one_line_before_anything_starts(
    checkout: Path, bundle_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(bundle_folder, tmp_path / "bundle")
    with (tmp_path / "bundle/model.tflite").open("ab") as file:
        file.write(b"x")
    assert "model.tflite: is damaged" in _refused(checkout, "--bundle", str(tmp_path / "bundle"))


def test_without_any_model_one_line_says_what_to_do(checkout: Path) -> None:
    assert "fracture package" in _refused(checkout)


def test_an_unusable_setting_is_one_line_before_anything_starts(checkout: Path, bundle_folder: Path) -> None:
    assert "FRACTURE_MAX_BODY_MB" in _refused(checkout, "--bundle", str(bundle_folder), FRACTURE_MAX_BODY_MB="much")


def test_an_unsigned_bundle_is_one_line_before_anything_starts(
    checkout: Path, bundle_folder: Path, tmp_path: Path
) -> None:
    key = Signer().write_public(tmp_path / "key.pub")
    said = _refused(checkout, "--bundle", str(bundle_folder), FRACTURE_TRUSTED_KEYS=str(key))
    assert f"{bundle_folder}.sig: not found" in said


def test_a_host_that_is_none_is_one_line() -> None:
    with pytest.raises(InputError, match="--host no such host"):
        check_port("no such host", 3000)


def test_two_services_do_not_share_a_folder(tmp_path: Path) -> None:
    first, second = (serve.environment(tmp_path, tmp_path, 1, port)["BENTOML_HOME"] for port in (1, 2))
    assert first != second


def test_keys_of_a_relative_path_are_found_by_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRACTURE_TRUSTED_KEYS", "old.pub, /etc/new.pub")
    environment = serve.environment(None, tmp_path, 1, 3000)
    assert environment["FRACTURE_TRUSTED_KEYS"] == f"{tmp_path}/old.pub,/etc/new.pub"


def test_without_keys_the_service_is_told_of_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRACTURE_TRUSTED_KEYS", raising=False)
    assert "FRACTURE_TRUSTED_KEYS" not in serve.environment(None, tmp_path, 1, 3000)


def test_a_misspelt_role_is_said_at_start_without_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    serve._check_store(Settings(api_keys=("ward:readr:north:the secret", "a:b")))
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "API_KEYS: key-1 is a plain key" in said
    assert "its role is neither reader nor sender" in said
    assert "secret" not in said


def test_a_shadow_that_cannot_answer_is_said_at_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve._check_shadow(Settings(shadow_bundle=tmp_path))
    assert f"FRACTURE_SHADOW_BUNDLE: no model answers in the shadow: {tmp_path}" in capsys.readouterr().err


def test_feedback_without_a_store_is_said_at_start(capsys: pytest.CaptureFixture[str]) -> None:
    serve._check_store(Settings(feedback_key="k" * 32))
    assert "FRACTURE_FEEDBACK_KEY needs FRACTURE_STORE_URL" in capsys.readouterr().err
