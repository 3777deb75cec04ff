"""Data of a team: pushed to a bucket or container by one machine, pulled by another; moto and azurite answer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.blobs import ACCOUNT, azurite
from tests.deploy.test_aws import ask

BUCKET = "hospital-data"


@pytest.fixture
def environment(moto: str, cloud: dict[str, str]) -> dict[str, str]:
    """Give variables of somebody who is logged in to that S3, in which the bucket is."""
    ask(cloud, "s3api", "create-bucket", "--bucket", BUCKET, region="us-east-1")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DVC_"))}
    return {
        **kept, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip


def _run(folder: Path, environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _push_and_pull(project: Path, other: Path, environment: dict[str, str], *remote: str) -> None:
    """Add data to a project, push it, and pull it into another folder that has only what is committed."""
    _run(project, environment, "dvc", "init", "--no-scm", "-q")
    (project / "data").mkdir()
    for number in range(3):
        (project / f"data/{number}.png").write_bytes(bytes([number]) * 1000)
    _run(project, environment, "dvc", "add", "-q", "data")
    printed = _run(project, environment, "fracture", "remote", "add", *remote)
    assert "dvc push" in printed
    _run(project, environment, "dvc", "push", "-q")

    other.mkdir()
    for name in (".dvc/config", "data.dvc", "params.yaml"):
        (other / name).parent.mkdir(exist_ok=True)
        (other / name).write_bytes((project / name).read_bytes())
    _run(other, environment, "dvc", "pull", "-q", "data.dvc")
    for number in range(3):
        assert (other / f"data/{number}.png").read_bytes() == bytes([number]) * 1000


def test_what_one_machine_pushes_another_pulls(
    project: Path, environment: dict[str, str], moto: str, tmp_path: Path
) -> None:
    _push_and_pull(project, tmp_path / "other", environment, f"s3://{BUCKET}/fractures", "--endpoint", moto)


@pytest.mark.azurite
def test_what_one_machine_pushes_to_azure_another_pulls(project: Path, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "DVC_"))}
    with azurite(tmp_path / "blobs") as blobs:
        blobs.make("fractures")
        environment = {
            **kept, "AZURE_STORAGE_CONNECTION_STRING": blobs.connection,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip
        _push_and_pull(project, tmp_path / "other", environment, "azure://fractures/team", "--account", ACCOUNT)
        stored = blobs.names("fractures")
    assert len(stored) == 4, "three images and the list of them"
    assert all(name.startswith("team/files/md5/") for name in stored)
    written = (project / ".dvc/config").read_text()
    assert "AccountKey" not in written
    assert "connection" not in written


def test_no_secret_is_written(project: Path, environment: dict[str, str], moto: str) -> None:
    _run(project, environment, "dvc", "init", "--no-scm", "-q")
    _run(project, environment, "fracture", "remote", "add", f"s3://{BUCKET}", "--endpoint", moto)
    assert "testing" not in (project / ".dvc/config").read_text()
