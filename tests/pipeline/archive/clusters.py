"""Ray clusters of two nodes on loopback, whose processes a test may kill."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.archive.manifest import Manifest
from tests.pipeline.archive.conftest import RELEASE, ROOT

HERE = Path(__file__).parent
TOOLS = Path(os.environ.get("RAY_TOOLS") or ROOT / ".venv-ray/bin")
PATIENCE = {
    "RAY_raylet_start_wait_time_s": "60", "RAY_worker_register_timeout_seconds": "300",
    "RAY_gcs_rpc_server_connect_timeout_s": "60", "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_agent_register_timeout_ms": "300000", "RAY_worker_niceness": "0",
}  # fmt: skip
"""That of a busy machine."""


@dataclass
class Cluster:
    """A running cluster; `raylets` are the processes of its nodes, the head's first."""

    address: str
    raylets: Sequence[int]
    environment: Mapping[str, str]
    process: "subprocess.Popen[str]"

    def score(self, manifest: Manifest, out: Path, bundle: Path = RELEASE) -> list[str]:
        """The command that scores on it, with two actors."""
        return [
            str(TOOLS / "fracture"), "score", "--engine", "ray", "--address", self.address, "--actors", "2",
            "--manifest", str(manifest.path), "--out", str(out), "--bundle", str(bundle),
        ]  # fmt: skip

    def score_poison(self, manifest: Manifest, out: Path) -> "subprocess.Popen[str]":
        """The same with a decoder that breaks, started; what it says is written beside `out`."""
        command = [str(TOOLS / "python"), str(HERE / "ray_driver.py"), str(manifest.path), str(RELEASE), str(out)]
        with out.with_suffix(".log").open("a") as log:
            return subprocess.Popen(
                [*command, self.address], cwd=ROOT, env=self.environment, stdout=log, stderr=log, text=True
            )

    @property
    def actors(self) -> list[psutil.Process]:
        """The processes of the actors, on whichever node they run."""
        found = []
        for raylet in self.raylets:
            try:
                found += [one for one in psutil.Process(raylet).children() if "Actor" in one.cmdline()[0]]
            except (psutil.Error, IndexError):
                continue  # that node was killed, or one of its processes has just ended
        return found

    def kill_node(self) -> None:
        """Kill the node that joined last, and let another one join."""
        psutil.Process(self.raylets[-1]).kill()
        assert self.process.stdin is not None
        self.process.stdin.write("node\n")
        self.process.stdin.flush()
        _, self.raylets = _said(self.process)

    def vanish(self) -> None:
        """Kill the head and all nodes."""
        for one in psutil.Process(self.process.pid).children(recursive=True):
            if one.name() in {"gcs_server", "raylet"}:
                one.kill()


@contextmanager
def cluster(**variables: str) -> Iterator[Cluster]:
    """Run a cluster that a token protects, with further variables of the environment."""
    if not (TOOLS / "ray").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("make ray-setup was not run, and CI leaves nothing out")
        pytest.skip("left out: run make ray-setup")
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex()}
    environment = os.environ | PATIENCE | token | {"PYTHONPATH": str(ROOT)} | variables
    process = subprocess.Popen(
        [TOOLS / "python", HERE / "ray_cluster.py"],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    try:
        yield Cluster(*_said(process), environment, process)
    finally:
        process.stdin.close()
        process.wait(60)


def _said(process: "subprocess.Popen[str]") -> tuple[str, list[int]]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the cluster did not start"
    said = json.loads(line)
    return said["address"], said["raylets"]
