"""Scoring on a Ray cluster of two nodes on loopback: every image once, whatever is killed."""

import importlib.util
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.archive import manifest
from pipeline.archive.engines import LocalEngine
from pipeline.archive.manifest import Manifest, Sources
from pipeline.archive.places import open_place
from pipeline.archive.scoring import Observer, Request, run
from serving.bundle import Bundle
from tests.pipeline.archive.conftest import RELEASE, ROOT, SAMPLES
from tests.pipeline.archive.test_scoring import PROGRAM, rows

TOOLS = Path(os.environ.get("RAY_TOOLS") or ROOT / ".venv-ray/bin")


@dataclass(frozen=True)
class Cluster:
    """A running cluster; `raylets` are the processes of its nodes, the head's first."""

    address: str
    raylets: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether both nodes run."""
        return all(
            psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in self.raylets
        )

    def command(self, manifest: Manifest, out: Path) -> list[str]:
        """The command that scores on it, in shards of two rows."""
        return [
            str(TOOLS / "fracture"), "score", "--engine", "ray", "--address", self.address, "--actors", "2",
            "--manifest", str(manifest.path), "--out", str(out), "--bundle", str(RELEASE),
        ]  # fmt: skip


@contextmanager
def _cluster() -> Iterator[Cluster]:
    if not (TOOLS / "ray").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("make ray-setup was not run, and CI leaves nothing out")
        pytest.skip("left out: run make ray-setup")
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


class _Clusters:
    """One cluster at a time, as two of one machine want the same ports; a new one when a node of it was killed."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._found: Cluster | None = None

    def get(self) -> Cluster:
        if self._found is None or not self._found.whole:
            self.close()
            self._found = self._stack.enter_context(_cluster())
        return self._found

    def close(self) -> None:
        self._stack.close()
        self._found = None


@pytest.fixture(scope="module")
def clusters() -> Iterator[_Clusters]:
    """Keep a cluster for all tests."""
    found = _Clusters()
    yield found
    found.close()


@pytest.fixture
def cluster(clusters: _Clusters) -> Cluster:
    """Run a cluster of two nodes."""
    return clusters.get()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_nodes_answer_every_image_once_as_one_machine_does(
    cluster: Cluster, shared_manifest: Manifest, opened: Bundle, tmp_path: Path
) -> None:
    _run(cluster.command(shared_manifest, tmp_path / "ray"))
    asked = Request(shared_manifest, opened)
    run(asked, open_place(str(tmp_path / "local")), LocalEngine(asked.work(), 1), Observer())
    theirs, ours = (rows(open_place(str(tmp_path / name))) for name in ("ray", "local"))
    assert [{**row, "seconds": 0} for row in theirs] == [{**row, "seconds": 0} for row in ours]


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


def _actors(cluster: Cluster) -> list[psutil.Process]:
    """The processes of the actors, on whichever node they run."""
    below = [
        one for raylet in cluster.raylets if psutil.pid_exists(raylet) for one in psutil.Process(raylet).children()
    ]
    return [one for one in below if "ScoringActor" in " ".join(one.cmdline())]


def _kill(victim: str, cluster: Cluster, driver: "subprocess.Popen[bytes]") -> None:
    if victim == "an actor":
        random.choice(_actors(cluster)).kill()  # noqa: S311
    elif victim == "a node":
        psutil.Process(cluster.raylets[1]).kill()
    else:
        driver.kill()


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["an actor", "the driver", "a node"])
def test_every_image_is_answered_once_after_a_kill(victim: str, cluster: Cluster, tmp_path: Path) -> None:
    for number in range(80):
        shutil.copy(SAMPLES[number % len(SAMPLES)], tmp_path / f"{number}.png")
    manifest.write(tmp_path / "m.parquet", Sources((str(tmp_path),)))
    listed, out = Manifest(tmp_path / "m.parquet"), tmp_path / "out"
    command = cluster.command(listed, out)
    driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while len(open_place(str(out)).names("checkpoints/00000")) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    _kill(victim, cluster, driver)
    if driver.wait(300) != 0:
        _run(command)
    found = rows(open_place(str(out)))
    assert len({row["id"] for row in found}) == len(found) == 80
    assert {row["error_code"] for row in found} == {None}
