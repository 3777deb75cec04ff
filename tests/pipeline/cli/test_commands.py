"""The `fracture` command as a shell sees it: exit codes, one line for bad input, doctor and the MLflow UI."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.cli import doctor
from pipeline.registry import mlflow
from tests.mlflow_client import mlflow_client

FRACTURE = str(Path(sys.executable).parent / "fracture")
ROOT = Path(__file__).parents[3]


def _run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.run(
        [FRACTURE, *arguments],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_unknown_command_is_wrong_usage(project: Path) -> None:
    done = _run(project, "nonsense")
    assert done.returncode == 2
    assert "No such command" in done.stderr


def test_a_misspelt_command_is_told_the_right_one(project: Path) -> None:
    assert "Did you mean 'promote'" in _run(project, "promot").stderr


def test_the_help_lists_every_command_and_imports_none() -> None:
    script = (
        "import sys\nfrom pipeline import cli\nsys.argv = ['fracture', '--help']\n"
        "try:\n    cli.main()\nfinally:\n"
        "    print(*(name for name in sys.modules if name.startswith('pipeline.cli.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr.strip() == ""
    for name, command in cli.COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert command.help in done.stdout  # whole, not cut at the end of the line


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_comes_without_loading_what_works(name: str) -> None:
    heavy = "ai_edge_litert cv2 dvc mlflow numpy pandas pydicom pynetdicom ray sqlalchemy tensorflow"
    script = (
        f"import sys\nfrom pipeline import cli\nsys.argv = ['fracture', {name!r}, '--help']\n"
        f"try:\n    cli.main()\nfinally:\n    print(*({{*{heavy.split()}}} & {{*sys.modules}}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_that_is_asked_for_shows_its_own_help(name: str) -> None:
    shown = CliRunner().invoke(cli.assemble([name]), [name, "--help"])
    assert shown.exit_code == 0
    assert f" {name} [OPTIONS]" in shown.stdout


def test_outside_a_checkout_one_line_says_so(tmp_path: Path) -> None:
    done = _run(tmp_path, "doctor")
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_promoting_without_a_model_says_what_to_do(project: Path) -> None:
    done = _run(project, "promote")
    assert done.returncode == 1
    assert "no challenger" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_ui_is_not_started_over_a_server_that_has_one(project: Path) -> None:
    done = _run(project, "mlflow", MLFLOW_TRACKING_URI="https://u:p@mlflow.example.org")
    assert done.returncode == 1
    assert "open that address" in done.stderr
    assert "u:p" not in done.stderr


def test_doctor_names_the_command_that_makes_missing_data(project: Path) -> None:
    done = _run(project, "doctor")
    assert "fracture data sample" in done.stdout
    for subject in ("python", "packages", "disk", "port 3000", "gpu", "mlflow"):
        assert subject in done.stdout, subject


def test_doctor_finds_a_tracking_server_that_is_away(project: Path) -> None:
    done = _run(project, "doctor", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "start the server" in done.stdout


def test_doctor_tells_that_the_project_was_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, first)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(first)
    mlflow.connect().start("cnn")
    first.rename(second)
    monkeypatch.chdir(second)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it
    findings = list(doctor.check_tracking(second))
    assert findings[0].state == "warning"
    assert f"made when the project was in {first}" in findings[0].text
    assert next(doctor.check_tracking(second)).state == "ok"


def test_doctor_compares_installed_versions_with_the_lock(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/full.txt").write_text(
        f"numpy==0.0.1 \\\n    --hash=sha256:{'0' * 64}\nno-such==1 ; python_version < '3' --hash=sha256:{'0' * 64}\n"
    )
    finding = doctor.check_versions(tmp_path)
    assert finding.state == "error"
    assert "instead of 0.0.1" in finding.text
    assert "no-such" not in finding.text


def test_a_damaged_lock_is_a_finding_of_the_doctor(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/full.txt").write_text("numpy\n")
    finding = doctor.check_versions(tmp_path)
    assert finding.state == "error"
    assert "numpy has no pin" in finding.text


def test_the_environment_of_the_tests_is_the_locked_one() -> None:
    assert doctor.check_versions(ROOT).state == "ok"


def test_doctor_sees_a_port_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(doctor, "_PORTS", {taken.getsockname()[1]: "make mlflow"})
        assert [finding.state for finding in doctor.check_ports()] == ["warning"]


def test_the_ui_refuses_a_port_in_use(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = _run(project, "mlflow", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "give another one with --port" in done.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """`fracture mlflow` over a registry with one model whose version 1 is champion: address and process id."""
    root = tmp_path_factory.mktemp("ui")
    for name in ("params.yaml", "dvc.yaml"):
        (root / name).write_bytes((ROOT / name).read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        client = mlflow_client()
        client.create_registered_model("bone-fracture")
        client.create_model_version("bone-fracture", source="mlflow-artifacts:/nowhere")
        client.set_registered_model_alias("bone-fracture", "champion", "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    running = subprocess.Popen(
        [FRACTURE, "mlflow", "--port", str(port)], cwd=root, env=environment, start_new_session=True
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/health")
        yield address, running.pid
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(timeout=30)


def _wait_for(address: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=2):  # noqa: S310  loopback
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(address)


def test_the_ui_listens_on_loopback_only(server: tuple[str, int]) -> None:
    process = psutil.Process(server[1])
    connections = [c for p in (process, *process.children(recursive=True)) for c in p.net_connections("inet")]
    listening = {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_the_ui_answers_no_other_site(server: tuple[str, int]) -> None:
    for header, value in (("Host", "elsewhere.example"), ("Origin", "https://elsewhere.example")):
        asked = urllib.request.Request(  # noqa: S310  loopback
            f"{server[0]}/api/2.0/mlflow/registered-models/alias", b"{}", {header: value}, method="POST"
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=20)  # noqa: S310  loopback
        assert refused.value.code == 403


def test_the_server_is_told_of_its_stores_by_the_names_it_knows() -> None:
    from mlflow.server import constants

    assert constants.BACKEND_STORE_URI_ENV_VAR == mlflow.BACKEND_STORE
    assert constants.ARTIFACT_ROOT_ENV_VAR == mlflow.ARTIFACT_ROOT


def test_a_database_that_is_none_is_one_line(project: Path) -> None:
    (project / "mlflow.db").write_text("this is no database, and longer than the header of one would be " * 40)
    done = _run(project, "mlflow", "--port", "5987")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: sqlite:///{project}/mlflow.db: ")
    assert done.stderr.count("\n") == 1


def test_the_ui_takes_less_than_600_megabytes(server: tuple[str, int]) -> None:
    process = psutil.Process(server[1])
    resident = sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    assert resident < 600e6


@pytest.mark.browser
def test_a_person_sees_the_champion_in_the_ui(server: tuple[str, int]) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page()
        page.goto(f"{server[0]}/#/models/bone-fracture")
        expect(page.get_by_text("champion").first).to_be_visible(timeout=60_000)
        browser.close()
