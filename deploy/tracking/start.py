"""Start a team's tracking server: settings come from the environment; unsafe ones are refused in one line.

Works inside this folder's image and without one; docs/cloud/tracking-server.md lists the settings. PostgreSQL's library
reads host and login from its own variables (PGHOST, PGUSER, PGPASSWORD, ...), so that no address holds a secret.
"""

import configparser
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import sqlalchemy

DATABASE = "postgresql+psycopg2://"
"""Whatever the PG* variables say."""
_USERS = f"{DATABASE}?options=-csearch_path%3Dusers"
"""The same database, in a schema of its own: one dump holds both, and the tables of the two stay apart."""
_NEEDED = {
    "MLFLOW_AUTH_ADMIN_USERNAME": "the name of the first administrator",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "the first administrator's password",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret that protects forms; make one with: openssl rand -hex 32",
    "TRACKING_HOST": "the name under which people reach this server, as in its certificate",
    "TRACKING_ARTIFACTS": "where models and files are kept: s3://BUCKET/PATH or wasbs://CONTAINER@ACCOUNT.blob...",
    "PGHOST": "where PostgreSQL listens",
    "PGUSER": "the user of PostgreSQL who owns the database",
    "PGPASSWORD": "that user's password",
    "PGDATABASE": "the database",
}
_ARTIFACTS = re.compile(
    r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w./-]*)?"
    r"|wasbs://[a-z0-9-]{3,63}@[a-z0-9]{3,24}\.blob\.core\.(windows\.net|chinacloudapi\.cn|usgovcloudapi\.net)(/[\w./-]*)?"
)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_PATIENCE = 60.0
_REMEMBERED = 60
"""Seconds for which a worker remembers a login that was right: checking a password takes 0.25 s of processor time."""


def problem(settings: Mapping[str, str]) -> str | None:
    """What is wrong with the settings, as a line that never shows a secret; None when nothing is."""
    for name, meaning in _NEEDED.items():
        if not settings.get(name, "").strip():
            return f"{name} is not set: {meaning}"
    return next(_wrong(settings), None)


def _wrong(settings: Mapping[str, str]) -> Iterator[str]:
    password, key = settings["MLFLOW_AUTH_ADMIN_PASSWORD"], settings["MLFLOW_FLASK_SERVER_SECRET_KEY"]
    if _is_guessed(password):
        yield "MLFLOW_AUTH_ADMIN_PASSWORD is one that people guess; make one with: openssl rand -base64 18"
    if len(password) < 14:
        yield "MLFLOW_AUTH_ADMIN_PASSWORD is too short: at least 14 characters"
    if len(key) < 32 or len(set(key)) < 6:
        yield "MLFLOW_FLASK_SERVER_SECRET_KEY is too weak: make one with: openssl rand -hex 32"
    if key == password:
        yield "MLFLOW_FLASK_SERVER_SECRET_KEY is the administrator's password: make another"
    if not _ARTIFACTS.fullmatch(settings["TRACKING_ARTIFACTS"]):
        yield "TRACKING_ARTIFACTS is no address of artifacts: s3://BUCKET/PATH or wasbs://CONTAINER@ACCOUNT.blob..."
    if not _HOST.fullmatch(settings["TRACKING_HOST"]):
        yield "TRACKING_HOST is no host name: give it without https:// and without a port"
    if settings["MLFLOW_AUTH_ADMIN_USERNAME"].lower() in password.lower():
        yield "MLFLOW_AUTH_ADMIN_PASSWORD holds the administrator's name: make another"
    for name, most in (("TRACKING_WORKERS", 99), ("TRACKING_PORT", 65535)):
        text = settings.get(name, "1")
        if not (re.fullmatch(r"[1-9]\d{0,4}", text) and int(text) <= most):
            yield f"{name} is no number from 1 to {most}"


def _is_guessed(secret: str) -> bool:
    """Whether people or programs that try passwords begin with it; a drawn one holds none of these."""
    plain = secret.lower().replace("0", "o")
    habits = ("password", "passwort", "changeme", "qwert", "letmein", "12345", "admin", "secret", "welcome")
    return any(habit.replace("0", "o") in plain for habit in habits) or len(set(secret)) < 6


def server_settings(settings: Mapping[str, str], auth: Path) -> dict[str, str]:
    """The environment of `mlflow server`; `auth` is the file that `write_auth` made."""
    host = settings["TRACKING_HOST"]
    return {
        **settings,
        "MLFLOW_AUTH_CONFIG_PATH": str(auth),
        "MLFLOW_BACKEND_STORE_URI": DATABASE,
        # A name that resolves here by an attacker's doing is no name of this server (DNS rebinding).
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{host},{host}:*",
        # Behind TLS the UI's own address is another origin than the one the server listens on.
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"https://{host},https://{host}:*",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }


def write_auth(folder: Path) -> Path:
    """Write the configuration of the login below `folder`, readable by this user only; it holds no password."""
    path = folder / "auth.ini"
    parser = configparser.ConfigParser()
    # Who has no permission of their own may look, and change nothing that others made.
    parser["mlflow"] = {
        "default_permission": "READ",
        "database_uri": _USERS.replace("%", "%%"),
        "auth_cache_ttl_seconds": str(_REMEMBERED),
    }
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        parser.write(file)
    return path


def prepare_database(patience: float = _PATIENCE) -> None:
    """Make the schema of the users, waiting for PostgreSQL to answer; SystemExit with a line when it does not."""
    engine = sqlalchemy.create_engine(DATABASE)
    end = time.monotonic() + patience
    while True:
        try:
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text("CREATE SCHEMA IF NOT EXISTS users"))
        except sqlalchemy.exc.OperationalError as error:
            # A wrong password stays wrong, and asking again may lock the account.
            if time.monotonic() > end or "authentication failed" in str(error.orig):
                sys.exit(f"error: PostgreSQL: {' '.join(str(error.orig).split())}")
            time.sleep(1)
        except sqlalchemy.exc.DBAPIError as error:
            sys.exit(f"error: PostgreSQL: {' '.join(str(error.orig).split())}")
        else:
            engine.dispose()
            return


def _taken(settings: Mapping[str, str]) -> str | None:
    """Why the port cannot be listened on, before the database is touched; None when it can."""
    host, port = _listen(settings)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            return f"port {port} of {host} cannot be used ({error.strerror}); set TRACKING_PORT or TRACKING_LISTEN"
    return None


def _listen(settings: Mapping[str, str]) -> tuple[str, str]:
    listen = settings.get("TRACKING_LISTEN", "0.0.0.0")  # noqa: S104  inside a container, behind the proxy
    return listen, settings.get("TRACKING_PORT", "5000")


def command(settings: Mapping[str, str]) -> list[str]:
    """The server's command line, without a secret."""
    host, port = _listen(settings)
    return [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--app-name",
        "basic-auth",
        "--host",
        host,
        "--port",
        port,
        # Longer than any balancer keeps a connection: one that the server closes first is a 502 now and then.
        "--uvicorn-opts",
        "--timeout-keep-alive 310",
        "--workers",
        settings.get("TRACKING_WORKERS", "2"),
        "--serve-artifacts",
        "--artifacts-destination",
        settings["TRACKING_ARTIFACTS"],
    ]


def main() -> None:
    """Check, prepare, and become the server."""
    wrong = problem(os.environ)
    if wrong is not None:
        sys.exit(f"error: {wrong}")
    taken = _taken(os.environ)
    if taken:
        sys.exit(f"error: {taken}")
    prepare_database()
    auth = write_auth(Path(tempfile.mkdtemp(prefix="tracking-")))
    words = command(os.environ)
    os.execve(words[0], words, server_settings(os.environ, auth))  # noqa: S606  an argument list, checked above


if __name__ == "__main__":
    main()
