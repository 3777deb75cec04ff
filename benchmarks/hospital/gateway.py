"""The gateway as a process of its own: configured, started, killed, measured."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hospital.database import Database

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 300.0
Table = Mapping[str, Any]


def free_port() -> int:
    """A port of loopback that nobody listens on, below those that connections take: it is still free after a pause."""
    while True:
        port = random.randint(20000, 32000)  # noqa: S311  no secret
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port


class Gateway:
    """`python -m hospital` in a folder; `tables` are those of hospital.toml."""

    def __init__(self, folder: Path, tables: Mapping[str, Table], destinations: Sequence[Table] = ()) -> None:
        self.folder = folder
        self.port: int = tables["receiver"]["port"]
        self._operation_port: int = tables["operation"]["port"]
        self._log = folder / "log.txt"
        self._config = folder / "hospital.toml"
        parts = [_written(f"[{name}]", table) for name, table in tables.items()]
        parts += [_written("[[destinations]]", table) for table in destinations]
        self._config.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self.ended_alone = 0

    def start(self) -> None:
        """Start it, in a process group of its own; it takes seconds until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("run"), cwd=_ROOT, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip

    def wait_until_it_listens(self) -> None:
        """Return once it takes connections; one that ends by itself is started again, as systemd does.

        RuntimeError after five minutes.
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                self.start_if_it_ended()
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"the gateway does not listen: {self.last_lines()}")

    def start_if_it_ended(self) -> None:
        """Start it again if it ended by itself, as systemd does: on a disk that is full at that moment it may."""
        if self._running().poll() is not None:
            self.ended_alone += 1
            time.sleep(1)
            self.start()

    def kill(self, with_pool: bool) -> None:
        """End it with SIGKILL, with the processes of its pool or alone."""
        process = self._running()
        with suppress(ProcessLookupError):  # it may have ended by itself
            if with_pool:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()

    def stop(self) -> None:
        """End it in order, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(120)

    def command(self, *words: str) -> None:
        """Run a command beside it; CalledProcessError where it fails."""
        subprocess.run(self._command(*words), cwd=_ROOT, check=True, capture_output=True)

    def resident_mb(self) -> float:
        """Memory of its own process, without those of its pool."""
        status = Path(f"/proc/{self._running().pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def metrics(self) -> str:
        """What its port of operation tells."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._operation_port}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    def database(self) -> Database:
        """What it remembers, opened beside it."""
        return Database(f"sqlite:///{self.folder}/spool/gateway.db")

    def last_lines(self) -> str:
        """The end of its log."""
        return " | ".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("the gateway was not started")
        return self._process

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "hospital", "--config", str(self._config), *words]


def _written(head: str, table: Table) -> str:
    return "\n".join([head, *(f"{key} = {json.dumps(value)}" for key, value in table.items())])
