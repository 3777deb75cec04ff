"""The clouds' own clients, from an environment of their own, and stand-ins for what only a cloud has."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.deploy.certificates import Certificate, make_certificate
from tests.deploy.standins import DOCKER, write_program

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def cloud_tools() -> Path:
    """The folder of the programs that `make cloud-setup` installs; CLOUD_TOOLS names another one."""
    folder = Path(os.environ.get("CLOUD_TOOLS", ROOT / ".venv-cloud/bin"))
    if (folder / "aws").exists():
        return folder
    if os.environ.get("CI") == "true":
        pytest.fail("make cloud-setup was not run, and CI leaves nothing out")
    pytest.skip("left out: run make cloud-setup")


@pytest.fixture(scope="session")
def tool_environment(cloud_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for those programs: no login, no proxy and no network of this machine."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    return {
        **kept, "PATH": f"{cloud_tools}:/usr/bin:/bin", "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip


@pytest.fixture(scope="session")
def moto(tool_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a moto server on loopback, which answers as AWS does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log.txt"
    with log.open("w") as file:
        program = _program("moto_server", tool_environment)
        process = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(port)],
            env=tool_environment, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _program(name: str, environment: Mapping[str, str]) -> str:
    found = shutil.which(name, path=environment["PATH"])
    assert found, f"{name} is missing from the cloud tools"
    return found


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with opener.open(f"{address}/moto-api/data.json", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"moto does not answer: {log.read_text()}")


@pytest.fixture(scope="session")
def cloud(moto: str, tool_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which the real `aws` talks to moto, and `docker` pushes there without any Docker."""
    folder = tmp_path_factory.mktemp("stand-ins")
    environment = {
        **tool_environment, "AWS_ENDPOINT_URL": moto, "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }  # fmt: skip
    write_program(folder / "docker", DOCKER)
    return {**environment, "PATH": f"{folder}:{environment['PATH']}"}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate for fracture.example.org."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))
