"""A canary from its first request to its last: haproxy as the Service, two real services, the rules in a Prometheus.

kubectl is a stand-in; haproxy leads to as many pods of either Deployment as the cluster says.
"""

import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from pipeline.cloud.canary import steps
from pipeline.cloud.canary.alerts import Prometheus
from pipeline.cloud.canary.kubernetes import CANARY, SERVICE, KubernetesCanary, make_kubectl
from pipeline.cloud.canary.watch import Patience, watch
from pipeline.cloud.deployment import Hands, Release
from pipeline.errors import InputError
from serving import bundle
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.settings import Settings
from tests.deploy.cluster import Cluster
from tests.deploy.test_canary_kubernetes import IMAGE, OVERLAY, SECOND
from tests.deploy.test_monitoring import FOLDER, RULES
from tests.ports import free_port

SLOTS = {SERVICE: 9, CANARY: 2}
"""Places for pods in the proxy."""


@contextmanager
def answering(folder: Path) -> Iterator[uvicorn.Server]:
    """A service with this bundle, in a thread."""
    app = create_app()
    app.state.engine = Engine(bundle.read(folder), Settings(), CollectorRegistry())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    running = threading.Thread(target=server.run, daemon=True)
    running.start()
    _until(lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        running.join(30)
        app.state.engine.close()


def _port(server: uvicorn.Server) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])


def _until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


@contextmanager
def running(words: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program until the block ends."""
    with log.open("wb") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@dataclass
class Balancer:
    """haproxy, which leads to the pods that the cluster's Service leads to, each in its turn."""

    cluster: Cluster
    port: int
    control: Path

    def follow(self) -> None:
        """Let pods in and out."""
        serving = self.cluster.serving()
        for name, slots in SLOTS.items():
            for slot in range(slots):
                state = "ready" if slot < serving.get(name, 0) else "maint"
                self._tell(f"set server pods/{name}-{slot} state {state}")

    def _tell(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.control))
            connection.sendall(f"{command}\n".encode())
            assert not connection.recv(65536).strip(), command

    def ask(self, count: int) -> Counter[str]:
        """How often each model answers; the status of an answer that is none."""
        found: Counter[str] = Counter()
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30) as client:
            for _ in range(count):
                answer = client.get("/model")
                found[answer.json()["sha256"] if answer.status_code == 200 else str(answer.status_code)] += 1
        return found


@contextmanager
def balancing(cluster: Cluster, ports: dict[str, int], folder: Path) -> Iterator[Balancer]:
    """A haproxy that has led to the cluster's pods once."""
    made = Balancer(cluster, free_port(), folder / "control")
    servers = "\n".join(
        f"  server {name}-{slot} 127.0.0.1:{ports[name]} disabled"
        for name, slots in SLOTS.items()
        for slot in range(slots)
    )
    settings = folder / "haproxy.cfg"
    settings.write_text(
        f"global\n  stats socket {made.control} mode 600 level admin\n"
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
        f"frontend all\n  bind 127.0.0.1:{made.port}\n  default_backend pods\n"
        f"backend pods\n  balance roundrobin\n{servers}\n"
    )
    with running(["haproxy", "-f", str(settings), "-db"], folder / "haproxy.txt"):
        _until(made.control.exists)
        made.follow()
        yield made


@contextmanager
def prometheus(ports: dict[str, int], folder: Path) -> Iterator[str]:
    """The project's rules in a Prometheus that scrapes both, and raises an alert as soon as its condition holds."""
    shutil.copytree(RULES, folder / "rules")
    for path in (folder / "rules").glob("*.yml"):
        text = path.read_text().replace("interval: 5m", "interval: 1s")
        path.write_text(re.sub(r"for: \d+[mh]", "for: 0s", text))
    text = (FOLDER / "prometheus.yml").read_text().replace("fracture:3000", f"127.0.0.1:{ports[SERVICE]}")
    text = re.sub(r"(?s)alerting:.*?\n\n", "", re.sub(r"(scrape|evaluation)_interval: \d+s", r"\1_interval: 1s", text))
    target = f"127.0.0.1:{ports[CANARY]}"
    text += f"  - job_name: fracture-canary\n    static_configs:\n      - targets: ['{target}']\n"
    (folder / "prometheus.yml").write_text(text)
    port = free_port()
    words = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    with running(words, folder / "prometheus.txt"):
        _until(lambda: _up(address) == {"fracture": "1", "fracture-canary": "1"})
        yield address


def _up(address: str) -> dict[str, str]:
    """What Prometheus says of each job; nothing while it starts."""
    try:
        answer = httpx.get(f"{address}/api/v1/query", params={"query": "up"}).raise_for_status()
    except httpx.HTTPError:
        return {}
    return {one["metric"]["job"]: one["value"][1] for one in answer.json()["data"]["result"]}


@pytest.mark.slow
@pytest.mark.proxy
@pytest.mark.prometheus
def test_a_tenth_of_the_requests_goes_to_a_canary_until_an_alert_speaks(
    bundle_folder: Path, second_bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (bundle.read(folder).sha256 for folder in (bundle_folder, second_bundle_folder))
    cluster = Cluster(tmp_path, OVERLAY, second)
    release = Release(Path("bento"), "2", second, Path("sample"))
    hands = Hands("docker", lambda: release, lambda _, address: address, lambda *_: None, lambda *_: None, 0)
    with ExitStack() as stack:
        ports = {SERVICE: _port(stack.enter_context(answering(bundle_folder)))}
        broken = ExitStack()
        stack.callback(broken.close)
        ports[CANARY] = _port(broken.enter_context(answering(second_bundle_folder)))
        address = stack.enter_context(prometheus(ports, tmp_path))
        balancer = stack.enter_context(balancing(cluster, ports, tmp_path))
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        canary = KubernetesCanary(make_kubectl("site", lambda _: None), IMAGE, pause=0)
        assert balancer.ask(40) == {first: 40}

        steps.start(canary, hands, SECOND, 10)
        balancer.follow()
        assert balancer.ask(200) == {first: 180, second: 20}
        # The alerts of the first seconds, when nothing had been scraped yet, are over.
        alerts = Prometheus(address)
        _until(lambda: _is_quiet(alerts))
        assert watch(canary, alerts, Patience(hours=0)).good

        broken.close()
        verdict = watch(canary, alerts, Patience(seconds=0.5, hours=0.1))
        balancer.follow()
        assert not verdict.good
        assert verdict.words.startswith("FractureDown (fracture-canary): every request goes to the service again")
        assert balancer.ask(40) == {first: 40}


def _is_quiet(alerts: Prometheus) -> bool:
    try:
        return alerts.firing() == []
    except InputError:  # not every rule has been evaluated yet
        return False
