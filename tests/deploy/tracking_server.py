"""A team's tracking server as deploy/tracking runs it: PostgreSQL, the server, TLS before it, all on loopback."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.certificates import Certificate
from tests.deploy.containers import wait_for
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("TRACKING_TOOLS") or ROOT / ".venv-tracking/bin") / "python"
START = ROOT / "deploy/tracking/start.py"
HOST = "127.0.0.1"
PUBLIC = "127.0.0.2"
"""Where the proxy listens: MLflow lets in whatever calls itself localhost or 127.0.0.1."""
DATABASE_PASSWORD = "p%40 s'wörd/of:database"  # noqa: S105  of a database that lives for a test
"""Every character that an address or a configuration file would have to escape."""


def tracking_python() -> str:
    """The interpreter of `make tracking-setup`; without it the test is left out, and fails where CI=true."""
    if PYTHON.is_file():
        return str(PYTHON)
    if os.environ.get("CI") == "true":
        pytest.fail("make tracking-setup was not run, and CI leaves nothing out")
    pytest.skip("left out: run make tracking-setup")


def _server_program(name: str) -> str:
    """A program of PostgreSQL's server, which Debian keeps out of the PATH."""
    places = [os.environ["PATH"], *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    found = shutil.which(name, path=os.pathsep.join(places))
    assert found, f"{name} is missing: apt-get install postgresql"
    return found


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL of the test's own, which asks for a password."""

    folder: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which its library logs in."""
        return {
            "PGHOST": HOST, "PGPORT": str(self.port), "PGUSER": "mlflow", "PGPASSWORD": DATABASE_PASSWORD,
            "PGDATABASE": "postgres",
        }  # fmt: skip

    def run(self, program: str, *arguments: str | Path) -> str:
        """Run one of its programs as its own user: it refuses to work for root."""
        drop: list[str] = []
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            drop = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        done = subprocess.run(
            [*drop, _server_program(program), *map(str, arguments)],
            cwd="/", capture_output=True, text=True, check=False, timeout=120,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def control(self, *words: str) -> None:
        """pg_ctl, until what it was asked for is done; its log goes to a file, or the pipe would never end."""
        options = f"-h {HOST} -p {self.port} -k {self.folder} -F"
        self.run(
            "pg_ctl", "--pgdata", self.folder / "data", "--log", self.folder / "log.txt", "-o", options, "-w", *words
        )

    def client(self, program: str, *arguments: str | Path) -> str:
        """What one of the client's programs prints, logged in with the password."""
        done = subprocess.run(
            [_server_program(program), *map(str, arguments)],
            env={**os.environ, **self.environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What a statement answers."""
        options = ["--no-psqlrc", "--tuples-only", "--no-align", "--dbname", database, "--command", statement]
        return self.client("psql", *options)


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """Give a folder that PostgreSQL's user can reach, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="postgres-test-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Make and start a database below `folder`, which its user must be able to reach."""
    found = Postgres(folder, free_port())
    folder.mkdir(parents=True, exist_ok=True)
    password = folder / "password"
    password.write_text(DATABASE_PASSWORD)
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (folder, password):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    found.run(
        "initdb", "--pgdata", folder / "data", "--username", "mlflow", "--pwfile", password, "--auth", "scram-sha-256",
        "--encoding", "UTF8", "--no-sync",
    )  # fmt: skip
    found.control("start")
    try:
        yield found
    finally:
        found.control("stop", "-m", "immediate")


ADMIN, ADMIN_PASSWORD = "chief", "correct horse battery"


def settings(database: Postgres, artifacts: str, port: int) -> dict[str, str]:
    """What compose.yaml gives to the server."""
    return {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", **database.environment,
        "TRACKING_HOST": PUBLIC, "TRACKING_LISTEN": HOST, "TRACKING_PORT": str(port), "TRACKING_WORKERS": "1",
        "TRACKING_ARTIFACTS": artifacts, "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD, "MLFLOW_FLASK_SERVER_SECRET_KEY": "0123456789abcdef" * 4,
    }  # fmt: skip


@contextmanager
def server(environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """The project's start program, until it answers; gives its address behind the proxy's back."""
    folder.mkdir(parents=True)
    log = folder / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [tracking_python(), START], cwd=folder, env={**environment, "TMPDIR": str(folder)},
            stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    address = f"http://{HOST}:{environment['TRACKING_PORT']}"
    try:
        wait_for(f"{address}/health", process, log)
        yield address
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(40)


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection((PUBLIC, port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens: {log.read_text()}")


@contextmanager
def tls(target: str, certificate: Certificate, folder: Path) -> Iterator[str]:
    """haproxy with the configuration that compose.yaml gives it; gives the https address."""
    folder.mkdir(parents=True)
    pem = folder / "both.pem"
    pem.write_bytes(certificate.chain.read_bytes() + certificate.key.read_bytes())
    port = free_port()
    log = folder / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["haproxy", "-db", "-f", ROOT / "deploy/tracking/haproxy.cfg"],
            env={
                "PATH": os.environ["PATH"], "PROXY_LISTEN": f"{PUBLIC}:{port}", "PROXY_CERTIFICATE": str(pem),
                "PROXY_SERVER": target.removeprefix("http://"),
            },
            stdout=file, stderr=file,
        )  # fmt: skip
    try:
        _wait_for_port(port, process, log)
        yield f"https://{PUBLIC}:{port}"
    finally:
        process.terminate()
        process.wait(20)
