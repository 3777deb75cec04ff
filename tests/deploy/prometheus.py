"""A real Prometheus with the configuration and the rules of deploy/monitoring, made fast enough for a test."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.deploy.checkers import ROOT
from tests.ports import free_port

FOLDER = ROOT / "deploy/monitoring"
RULES = FOLDER / "rules"
OFTEN: Mapping[str, str] = {r"interval: 5m": "interval: 1s"}
"""What `watching` changes in the rules, by regular expression."""
_PATIENCE = 90.0
"""Seconds until something that does not happen fails the test."""


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    client: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, query: str) -> list[Any]:
        """The series that answer a query; httpx.HTTPError for a wrong one, and while it starts."""
        answer = self.client.get("query", params={"query": query})
        answer.raise_for_status()
        series: list[Any] = answer.json()["data"]["result"]
        return series

    def value(self, query: str) -> float | None:
        """The value of the first series; None without one, and while nobody answers."""
        try:
            series = self.ask(query)
        except httpx.HTTPError:
            return None
        return float(series[0]["value"][1]) if series else None

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        found = self.client.get("alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}

    def wait(self, condition: Callable[[], bool]) -> None:
        """Look again and again until it holds."""
        until = time.monotonic() + _PATIENCE
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, "it did not happen"
            time.sleep(0.3)


@contextmanager
def watching(service: str, folder: Path, shorter: Mapping[str, str] = OFTEN) -> Iterator[Prometheus]:
    """Scrape a service (host and port) every second, with the project's files but for what `shorter` changes."""
    shutil.copytree(RULES, folder / "rules")
    for path in (folder / "rules").glob("*.yml"):
        text = path.read_text()
        for long, short in shorter.items():
            text = re.sub(long, short, text)
        path.write_text(text)
    text = (FOLDER / "prometheus.yml").read_text().replace("fracture:3000", service)
    text = re.sub(r"(scrape|evaluation)_interval: \d+s", r"\1_interval: 1s", text)
    (folder / "prometheus.yml").write_text(re.sub(r"(?s)alerting:.*?\n\n", "", text))
    port = free_port()
    words = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    log = folder / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1/", timeout=30) as client:
            found = Prometheus(client, process, log)
            found.wait(lambda: found.value('up{job="fracture"}') == 1)
            yield found
    finally:
        process.terminate()
        process.wait(30)
