"""`fracture mlflow`: the MLflow UI over the project's own database."""

import os
from typing import Annotated

import typer

from pipeline.cli.ports import check_port
from pipeline.errors import InputError
from pipeline.files import home_root
from pipeline.registry import mlflow as tracking

BACKEND_STORE, ARTIFACT_ROOT = "_MLFLOW_SERVER_FILE_STORE", "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""How the server is told of its stores (mlflow.server.constants, which cannot be imported before they are set)."""


def mlflow_ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Open MLflow on loopback: compare runs there, and promote a version by moving the alias `champion`."""
    uri = tracking.tracking_uri()
    if not uri.startswith("sqlite:"):
        raise InputError(f"the tracking server is {tracking.shown_uri()} (MLFLOW_TRACKING_URI); open that address")
    check_port("127.0.0.1", port)
    print(f"MLflow: http://127.0.0.1:{port} (stop with Ctrl-C)", flush=True)
    _serve(uri, port)


def _serve(uri: str, port: int) -> None:
    """Do what `mlflow server --workers 1` does, in this process: that command takes all imports twice."""
    artifacts = (home_root() / tracking.ARTIFACTS).as_uri()
    # Job workers would be a dozen more processes and two gigabytes.
    os.environ.update(tracking.QUIET | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    os.environ.update({BACKEND_STORE: uri, ARTIFACT_ROOT: artifacts})
    import uvicorn  # noqa: PLC0415  before mlflow.server, which guards against other sites when it sees it
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  takes seconds

    mlflow = tracking.connect()
    from mlflow.server.handlers import initialize_backend_stores  # noqa: PLC0415  takes seconds

    try:
        initialize_backend_stores(uri, uri, artifacts)
    except (mlflow.MlflowException, SQLAlchemyError) as error:
        raise InputError(f"{tracking.shown_uri()}: {tracking.one_line(error)}") from None
    uvicorn.run("mlflow.server.fastapi_app:app", host="127.0.0.1", port=port, log_level="warning", access_log=False)
