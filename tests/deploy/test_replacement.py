"""One model replaced by another, and back, behind a real proxy and under load: nobody is refused or cut off."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving import bundle
from tests.deploy.containers import wait_for
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
CLIENTS = 16
SECONDS = 3.0
"""Of load before, between and after the two replacements."""


@dataclass
class Proxy:
    """haproxy with places for two replicas of either version; each is let in and out by the proxy's own socket."""

    port: int
    control: Path
    replicas: dict[str, int]

    def tell(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.control))
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def let_in(self, name: str) -> None:
        self.tell(f"set server service/{name} state ready")
        self.tell(f"enable health service/{name}")
        end = time.monotonic() + 30
        while "UP" not in self._line(name):
            assert time.monotonic() < end, self._line(name)
            time.sleep(0.05)

    def let_out(self, name: str) -> None:
        """Send nobody there any more, and wait for those who are there."""
        self.tell(f"set server service/{name} state drain")
        end = time.monotonic() + 30
        while self._line(name).split(",")[4] != "0":  # scur: sessions now
            assert time.monotonic() < end, self._line(name)
            time.sleep(0.05)

    def _line(self, name: str) -> str:
        return next(line for line in self.tell("show stat").splitlines() if line.startswith(f"service,{name},"))


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    names = ("old1", "old2", "new1", "new2")
    found = Proxy(free_port(), tmp_path / "control", {name: free_port() for name in names})
    servers = "\n".join(
        f"  server {name} 127.0.0.1:{port} check inter 200 fall 50 disabled" for name, port in found.replicas.items()
    )
    settings = tmp_path / "haproxy.cfg"
    settings.write_text(
        f"global\n  stats socket {found.control} mode 600 level admin\n"
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout check 10s\n"
        f"frontend all\n  bind 127.0.0.1:{found.port}\n  default_backend service\n"
        f"backend service\n  balance leastconn\n  option httpchk GET /readyz\n{servers}\n"
    )
    log = tmp_path / "haproxy.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(["haproxy", "-f", str(settings), "-db"], stdout=file, stderr=file)
    end = time.monotonic() + 10
    while not found.control.exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
    try:
        yield found
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def replicas(proxy: Proxy, names: tuple[str, ...], folder: Path, home: Path) -> Iterator[None]:
    """Run a version as the image does, until whoever has begun is answered."""
    processes = []
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FRACTURE_")}
    for name in names:
        log = home / f"{name}.txt"
        environment = {
            **clean, "FRACTURE_BUNDLE": str(folder), "BENTOML_HOME": str(home / name), "PYTHONPATH": str(ROOT),
            "BENTOML_DO_NOT_TRACK": "True",
        }  # fmt: skip
        command = [sys.executable, "-m", "bentoml", "serve", "service:FractureService", "--host", "127.0.0.1"]
        command += ["--port", str(proxy.replicas[name]), "--timeout-keep-alive", "80"]
        with log.open("wb") as file:
            processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file))
    try:
        for name, process in zip(names, processes, strict=True):
            wait_for(f"http://127.0.0.1:{proxy.replicas[name]}/readyz", process, home / f"{name}.txt")
            proxy.let_in(name)
        yield
        for name in names:
            proxy.let_out(name)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(40)


@dataclass
class Load:
    """Clients that ask without a pause, each on a connection of its own."""

    port: int
    picture: bytes
    answers: list[tuple[float, int, str]] = field(default_factory=list)
    """Moment, status (0 for a broken one), and the model or what was said instead."""
    _ended: threading.Event = field(default_factory=threading.Event)

    def client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                connection.request("POST", "/predict", self.picture, {"content-type": "image/png"})
                answer = connection.getresponse()
                body = answer.read()
                said = json.loads(body)["model"]["sha256"] if answer.status == 200 else body.decode()
                self.answers.append((began, answer.status, said))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.answers.append((began, 0, repr(error)))
                connection.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def models(self, since: float, until: float) -> set[str]:
        return {model for began, _, model in self.answers if since <= began < until}


@pytest.mark.slow
@pytest.mark.proxy
def test_a_model_is_replaced_and_brought_back_without_a_failed_request(
    proxy: Proxy, bundle_folder: Path, second_bundle_folder: Path, tmp_path: Path
) -> None:
    old, new = bundle.read(bundle_folder), bundle.read(second_bundle_folder)
    assert old.sha256 != new.sha256
    picture = (bundle_folder / old.manifest.samples[0]).read_bytes()
    load = Load(proxy.port, picture)
    moments = []

    def rest() -> None:
        moments.append(time.monotonic())
        time.sleep(SECONDS)
        moments.append(time.monotonic())

    with replicas(proxy, ("old1", "old2"), bundle_folder, tmp_path), load.running():
        rest()
        with replicas(proxy, ("new1", "new2"), second_bundle_folder, tmp_path):
            for name in ("old1", "old2"):
                proxy.let_out(name)
            rest()
            for name in ("old1", "old2"):
                proxy.let_in(name)
        rest()
        # The clients leave before the last replicas do.
        load._ended.set()
        time.sleep(1)
    statuses = Counter(status for _, status, _ in load.answers)
    assert set(statuses) == {200}, [entry for entry in load.answers if entry[1] != 200][:3]
    assert load.models(moments[0], moments[1]) == {old.sha256}
    assert load.models(moments[2], moments[3]) == {new.sha256}
    assert load.models(moments[4], moments[5]) == {old.sha256}
    assert {model for _, _, model in load.answers} == {old.sha256, new.sha256}
    print(f"{len(load.answers)} answers, none failed")
