"""Containers without a container runtime: a base of Debian's packages, and a process in a root it cannot write."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOOL = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
"""Works without namespaces and without a file system of layers."""

_READ_ONLY = """
set -e
mount --bind "$1" "$1"
mount --rbind /dev "$1/dev"
mount --rbind /proc "$1/proc"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
echo "127.0.0.1 localhost" >"$1/etc/hosts"  # every runtime gives one
mount -o remount,bind,ro "$1"
shift
exec "$@"
"""


@dataclass(frozen=True)
class Storage:
    """Where buildah keeps images and containers: a folder of the test's own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which the tool uses this folder, in every process that gets them."""
        return {**TOOL, "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf")}

    def prepare(self) -> None:
        """Write the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{self.folder}/graph"\nrunroot = "{self.folder}/run"\n'
        )

    def buildah(self, *arguments: str | Path) -> str:
        """What buildah prints; fails with what it complains of."""
        done = subprocess.run(
            ["buildah", *map(str, arguments)],
            env={**os.environ, **self.environment}, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def facts(self, image: str) -> dict[str, Any]:
        """What the image says of itself, as a runtime would read it."""
        found: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", image))["Docker"]["config"]
        return found


def debian(target: Path) -> None:
    """Write a root file system with Python 3.11 as a tar file."""
    packages = "--include=python3,ca-certificates"
    done = subprocess.run(
        ["mmdebstrap", "--variant=minbase", packages, "bookworm", target], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def may_mount() -> bool:
    """Whether this user may mount something for a process of theirs."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


@contextmanager
def running(root: Path, facts: Mapping[str, Any], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The image's own command as its own user in `root`, which is read-only but for /tmp; gives process and address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    enter = ["chroot", f"--userspec={facts['User']}", str(root), "/usr/bin/env", "-i", *facts["Env"]]
    inside = ["sh", "-c", 'cd "$0" && exec "$@"', facts["WorkingDir"], *facts["Entrypoint"], "--port", str(port)]
    mounts = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _READ_ONLY, "sh", str(root)]
    with log.open("wb") as file:
        process = subprocess.Popen([*mounts, *enter, *inside], stdout=file, stderr=file)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(40)


def status(url: str) -> int:
    """The HTTP status of a GET, 0 while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  loopback
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return 0


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> list[int]:
    """Ask until the answer is 200; returns every status seen on the way."""
    seen = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        seen.append(status(url))
        if seen[-1] == 200:
            return seen
        time.sleep(0.05)
    raise AssertionError(f"{url} did not answer 200: {log.read_text()}")
