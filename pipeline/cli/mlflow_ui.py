"""`fracture mlflow`: the MLflow UI over the project's own database."""

from typing import Annotated

import typer

from pipeline.cli.ports import check_port
from pipeline.errors import InputError
from pipeline.registry.mlflow import serve_ui
from pipeline.registry.tracking import shown_uri, tracking_uri


def mlflow_ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Open MLflow on loopback: compare runs there, and promote a version by moving the alias `champion`."""
    if not tracking_uri().startswith("sqlite:"):
        raise InputError(f"the tracking server is {shown_uri()} (MLFLOW_TRACKING_URI); open that address")
    check_port("127.0.0.1", port)
    print(f"MLflow: http://127.0.0.1:{port} (stop with Ctrl-C)", flush=True)
    serve_ui(port)
