"""Scoring on a Ray cluster of two nodes on loopback."""

import importlib.util
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.archive.engines import LocalEngine
from pipeline.archive.manifest import Manifest
from pipeline.archive.places import open_place
from pipeline.archive.scoring import Observer, Request, run
from serving.bundle import Bundle
from tests.pipeline.archive.conftest import RELEASE, ROOT
from tests.pipeline.archive.test_scoring import PROGRAM, rows

TOOLS = Path(os.environ.get("RAY_TOOLS") or ROOT / ".venv-ray/bin")


@dataclass(frozen=True)
class Cluster:
    """A running cluster; `raylets` are the processes of its nodes, the head's first."""

    address: str
    raylets: tuple[int, int]

    def command(self, manifest: Manifest, out: Path) -> list[str]:
        """The command that scores on it, with two actors."""
        return [
            str(TOOLS / "fracture"), "score", "--engine", "ray", "--address", self.address, "--actors", "2",
            "--manifest", str(manifest.path), "--out", str(out), "--bundle", str(RELEASE),
        ]  # fmt: skip


def _need_ray() -> None:
    if not (TOOLS / "ray").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("make ray-setup was not run, and CI leaves nothing out")
        pytest.skip("left out: run make ray-setup")


@contextmanager
def _cluster() -> Iterator[Cluster]:
    _need_ray()
    # The patience of a busy machine.
    environment = os.environ | {
        "RAY_raylet_start_wait_time_s": "300", "RAY_worker_register_timeout_seconds": "300",
        "RAY_gcs_rpc_server_connect_timeout_s": "60", "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_agent_register_timeout_ms": "300000",
    }  # fmt: skip
    program = [TOOLS / "python", Path(__file__).parent / "ray_cluster.py"]
    process = subprocess.Popen(
        program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        found = json.loads(process.stdout.readline())
        yield Cluster(found["address"], tuple(found["raylets"]))
    finally:
        process.stdin.close()
        process.wait(60)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Run a cluster."""
    with _cluster() as found:
        yield found


def _run(command: list[str], **environment: str) -> None:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(1800)  # seconds on a machine with nothing else to do, minutes on a busy one
def test_two_nodes_answer_every_image_once_as_one_machine_does(
    cluster: Cluster, shared_manifest: Manifest, opened: Bundle, tmp_path: Path
) -> None:
    _run(cluster.command(shared_manifest, tmp_path / "ray"))
    asked = Request(shared_manifest, opened)
    run(asked, open_place(str(tmp_path / "local")), LocalEngine(asked.work(), 1), Observer())
    theirs, ours = (rows(open_place(str(tmp_path / name))) for name in ("ray", "local"))
    assert [{**row, "seconds": 0} for row in theirs] == [{**row, "seconds": 0} for row in ours]


@pytest.mark.timeout(1800)
def test_without_an_address_ray_starts_here_whatever_the_environment_names(
    shared_manifest: Manifest, tmp_path: Path
) -> None:
    _need_ray()
    command = [
        str(TOOLS / "fracture"), "score", "--engine", "ray", "--actors", "1", "--manifest", str(shared_manifest.path),
        "--out", str(tmp_path / "out"), "--bundle", str(RELEASE),
    ]  # fmt: skip
    _run(command, RAY_ADDRESS="127.0.0.9:1", RAY_raylet_start_wait_time_s="300")
    assert len(rows(open_place(str(tmp_path / "out")))) == 6


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_the_command_says_how_to_install_it(shared_manifest: Manifest, tmp_path: Path) -> None:
    command = [
        PROGRAM,
        "score",
        "--engine",
        "ray",
        "--manifest",
        str(shared_manifest.path),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Ray is not installed here; `make ray-setup`" in done.stderr
    assert "Traceback" not in done.stderr
