"""`fracture mlflow`: the MLflow UI over the project's own database."""

import os
import socket
import sys
from typing import Annotated

import typer

from pipeline import tracking
from pipeline.errors import InputError
from pipeline.workspace import home_root


def mlflow_ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Open MLflow on loopback: compare runs there, and promote a version by moving the alias `champion`."""
    uri = tracking.tracking_uri()
    if not uri.startswith("sqlite:"):
        raise InputError(f"the tracking server is {tracking.shown_uri()} (MLFLOW_TRACKING_URI); open that address")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(f"port {port} cannot be used ({error.strerror}); give another one with --port") from None
    print(f"MLflow: http://127.0.0.1:{port} (stop with Ctrl-C)", flush=True)
    # Job workers would be a dozen more processes and two gigabytes.
    environment = {**os.environ, **tracking.QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    artifacts = (home_root() / tracking.ARTIFACTS).as_uri()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri, "--default-artifact-root", artifacts]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)  # noqa: S606  no shell, fixed words and a number
