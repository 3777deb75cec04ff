"""Data of a team: pushed to a bucket by one machine, pulled by another, through a moto server that answers as S3."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_what_one_machine_pushes_another_pulls(
    project: Path, environment: dict[str, str], moto: str, tmp_path: Path
) -> None:
    _run(project, environment, "dvc", "init", "--no-scm", "-q")
    (project / "data").mkdir()
    for number in range(3):
        (project / f"data/{number}.png").write_bytes(bytes([number]) * 1000)
    _run(project, environment, "dvc", "add", "-q", "data")
    printed = _run(project, environment, "fracture", "remote", "add", f"s3://{BUCKET}/fractures", "--endpoint", moto)
    assert "dvc push" in printed
    _run(project, environment, "dvc", "push", "-q")

    other = tmp_path / "other"
    other.mkdir()
    for name in (".dvc/config", "data.dvc", "params.yaml"):
        (other / name).parent.mkdir(exist_ok=True)
        (other / name).write_bytes((project / name).read_bytes())
    _run(other, environment, "dvc", "pull", "-q", "data.dvc")
    assert (other / "data/2.png").read_bytes() == bytes([2]) * 1000


def test_no_secret_is_written(project: Path, environment: dict[str, str], moto: str) -> None:
    _run(project, environment, "dvc", "init", "--no-scm", "-q")
    _run(project, environment, "fracture", "remote", "add", f"s3://{BUCKET}", "--endpoint", moto)
    assert "testing" not in (project / ".dvc/config").read_text()
