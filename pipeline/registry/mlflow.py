"""The only room that knows MLflow.

Two ways in: `Mirror`, a best-effort copy of what train and evaluate write to files anyway, and `Registry`, which
needs the server to answer and raises InputError with one line when it does not.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import InputError
from pipeline.files import atomic_file, home_root
from serving import errors

EXPERIMENT = "bone-fracture"
_DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # A server that is away costs seconds instead of minutes: two short retries, then files only.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}

T = TypeVar("T")


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or the SQLite database in the root of the person's checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home_root() / _DATABASE}"


def shown_uri() -> str:
    """The tracking address without a password, for messages."""
    return re.sub(r"//[^/@]*@", "//***@", tracking_uri())


def connect() -> Any:
    """Import MLflow, point it at the tracking server and return the module; takes seconds."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: PLC0415  takes seconds; importing this module must not

    _make_database()
    mlflow.set_tracking_uri(tracking_uri())
    return mlflow


def _make_database() -> None:
    """Make a SQLite database under another name first: one whose tables are half made can never be opened again."""
    file = database_file()
    if file is None or file.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415  as mlflow itself

    with atomic_file(file) as partial:
        store = SqlAlchemyStore(f"sqlite:///{partial}", (file.parent / ARTIFACTS).as_uri())
        store.engine.dispose()


def experiment_id(mlflow: Any) -> str:
    """The id of the project's experiment, made when it is not there yet."""
    found = mlflow.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    local = tracking_uri().startswith("sqlite:")
    location = (home_root() / ARTIFACTS).as_uri() if local else None
    return str(mlflow.create_experiment(EXPERIMENT, artifact_location=location))


def one_line(error: BaseException) -> str:
    """The gist of an MLflow error, without its stack of retries."""
    return re.sub(r"//[^/@\s]*@", "//***@", errors.one_line(error, 3000))[:300]


def is_refused(error: BaseException) -> bool:
    """Whether the server knows who asks and does not let them."""
    return getattr(error, "error_code", "") == "PERMISSION_DENIED" or _status(error) == 403


def _status(error: BaseException) -> int:
    """The status of a server's answer that an error is about, 0 for other errors."""
    answer = getattr(error, "response", None)
    found = getattr(answer, "status_code", None) or re.search(r"failed with error code (\d{3})\b", str(error))
    if isinstance(found, re.Match):
        return int(found[1])
    return int(found or 0)


def _refusal(error: BaseException) -> str | None:
    """What a login, a permission or a certificate lacks, and how to mend it; None for other errors."""
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            "its certificate is not one that this machine trusts; name the file of its issuer in "
            "MLFLOW_TRACKING_SERVER_CERT_PATH"
        )
    if _status(error) == 401:
        return (
            "it does not know this login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            " (docs/cloud/tracking-server.md)"
        )
    if is_refused(error) and "Permission denied" in text:
        user = os.environ.get("MLFLOW_TRACKING_USERNAME") or "this user"
        return f"{user} has no permission for this; its administrator can grant it (docs/cloud/tracking-server.md)"
    return None


class Mirror:
    """A run kept up to date as far as the server answers; the first failure ends it with one warning line."""

    def __init__(self, run_id: str = "", name: str = "") -> None:
        self.run_id = run_id
        self._mlflow: Any = None
        self._broken = False
        self._try(lambda: self._start(name))

    def _start(self, name: str) -> None:
        self._mlflow = connect()
        client = self._mlflow.MlflowClient()
        if self.run_id:
            client.get_run(self.run_id)
        else:
            self.run_id = client.create_run(experiment_id(self._mlflow), run_name=name or None).info.run_id

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Parameters, once a run."""
        self._try(lambda: log_params(self._mlflow, self.run_id, values))

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Metrics of one epoch."""
        self._try(lambda: log_metrics(self._mlflow, self.run_id, values, step))

    def _try(self, action: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001  whatever MLflow raises, training goes on
            self._broken = True
            refusal = _refusal(error)
            what = f": {refusal}" if refusal else f" does not answer ({one_line(error)})"
            print(f"warning: MLflow at {shown_uri()}{what}; going on with files only")


def log_params(mlflow: Any, run_id: str, values: Mapping[str, Any]) -> None:
    """Log parameters in one request."""
    entities = mlflow.entities
    parameters = [entities.Param(name, str(value)) for name, value in values.items()]
    mlflow.MlflowClient().log_batch(run_id, params=parameters)


def log_metrics(mlflow: Any, run_id: str, values: Mapping[str, float], step: int) -> None:
    """Log metrics of one step in one request."""
    now = int(time.time() * 1000)
    metrics = [mlflow.entities.Metric(name, float(value), now, step) for name, value in values.items()]
    mlflow.MlflowClient().log_batch(run_id, metrics=metrics)


def download_version(mlflow: Any, version: Any, run_folder: str, target: Path) -> tuple[Path, Path]:
    """Fetch a registered version's model and one folder of its run's artifacts below `target`; where they lie."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    fetch = mlflow.artifacts.download_artifacts
    model, run = target / "model", target / "run"
    for folder in (model, run):
        folder.mkdir()
    address = f"models:/{version.name}/{version.version}"
    return (
        Path(fetch(artifact_uri=address, dst_path=str(model))),
        Path(fetch(run_id=version.run_id, artifact_path=run_folder, dst_path=str(run))),
    )


def require(action: Callable[[Any], T]) -> T:
    """Run `action(mlflow)`; InputError with one line when the tracking server does not answer or refuses."""
    try:
        return action(connect())
    except InputError:
        raise
    except Exception as error:
        if not _is_foreign(error):
            raise
        reason = _refusal(error) or f"{one_line(error)}; {_remedy()}"
        raise InputError(f"MLflow at {shown_uri()}: {reason}") from None


def _remedy() -> str:
    file = database_file()
    if file is None:
        return "start the server or set MLFLOW_TRACKING_URI, then repeat"
    return f"if the database is damaged, move {file.name} away and repeat: `dvc repro -sf register` registers anew"


def _is_foreign(error: BaseException) -> bool:
    """Whether an error comes out of MLflow, its database or the network, not out of this project's code."""
    return type(error).__module__.split(".")[0] in {"mlflow", "requests", "urllib3", "sqlalchemy", "sqlite3"}


def database_file() -> Path | None:
    """The SQLite file behind the tracking address, if it is one."""
    uri = tracking_uri()
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
