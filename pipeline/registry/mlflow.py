"""The only module that imports MLflow: the others know a registry by what this one offers.

Two ways in: `Mirror`, a best-effort copy of what train and evaluate write to files anyway, and `Registry`, which needs
the server to answer and raises TrackingError with one line when it does not.
"""

import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.files import atomic_file, home_root
from pipeline.late import late
from pipeline.registry import moved
from pipeline.registry.moved import ARTIFACTS
from pipeline.registry.records import ModelVersion, Run
from pipeline.registry.tracking import (
    BUSY,
    DATABASE,
    TrackingError,
    answering,
    database_file,
    is_busy,
    one_line,
    shown_uri,
    tracking_uri,
)

# They take seconds, and read variables of the environment when they are loaded.
mlflow = late("mlflow")
handlers = late("mlflow.server.handlers")
sqlalchemy_store = late("mlflow.store.tracking.sqlalchemy_store")
sqlalchemy_errors = late("sqlalchemy.exc")
uvicorn = late("uvicorn")

EXPERIMENT = "bone-fracture"
_PARENT = "mlflow.parentRunId"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A server that is away costs seconds instead of minutes: two short retries, then files only.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}


class Registry:
    """Runs, and versions of registered models, on the tracking server; `connect` makes it.

    Every method raises TrackingError when the server does not answer or refuses.
    """

    def __init__(self, mlflow: Any) -> None:
        self._mlflow = mlflow
        self._client = mlflow.MlflowClient()

    @answering()
    def version(self, name: str, number: str) -> ModelVersion:
        """One version of a model."""
        return _version(self._client.get_model_version(name, number))

    @answering()
    def versions(self, name: str) -> list[ModelVersion]:
        """Every version of a model, the oldest first; empty when there is no such model. Tags may lag behind."""
        return _oldest_first(self._client.search_model_versions(f"name = '{name}'"))

    @answering()
    def version_with_tag(self, name: str, tag: str, value: str) -> ModelVersion | None:
        """The newest version of a model whose tag has the value."""
        found = _oldest_first(self._client.search_model_versions(f"name = '{name}' and tags.{tag} = '{value}'"))
        return found[-1] if found else None

    def version_by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version behind an alias, None when the model or the alias does not exist."""
        try:
            aliases = self._model(name).aliases
        except TrackingError as error:
            if error.missing:
                return None
            raise
        return self.version(name, str(aliases[alias])) if alias in aliases else None

    def model_tags(self, name: str) -> dict[str, str]:
        """Tags of a registered model as a whole."""
        return dict(self._model(name).tags)

    @answering()
    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """Set a tag of a registered model as a whole."""
        self._client.set_registered_model_tag(name, key, value)

    @answering()
    def set_version_tags(self, name: str, number: str, tags: Mapping[str, str]) -> None:
        """Set tags of one version."""
        for key, value in tags.items():
            self._client.set_model_version_tag(name, number, key, value)

    @answering()
    def set_alias(self, name: str, alias: str, number: str) -> None:
        """Let an alias name a version."""
        self._client.set_registered_model_alias(name, alias, number)

    @answering()
    def start(self, name: str, parent: str = "") -> Run:
        """Make a run in the project's experiment, below the run `parent` if one is named."""
        tags = {_PARENT: parent} if parent else None
        return _run(self._client.create_run(self._experiment(), run_name=name or None, tags=tags))

    @answering()
    def end(self, run_id: str, failed: bool = False) -> None:
        """Mark a run as ended."""
        self._client.set_terminated(run_id, "FAILED" if failed else "FINISHED")

    @answering()
    def run(self, run_id: str) -> Run:
        """A run by its id."""
        return _run(self._client.get_run(run_id))

    def find_run(self, run_id: str) -> Run | None:
        """A run by its id, None when there is none."""
        try:
            return self.run(run_id) if run_id else None
        except TrackingError as error:
            if error.missing:
                return None
            raise

    @answering()
    def log_params(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Log parameters in one request."""
        parameter = self._mlflow.entities.Param
        self._client.log_batch(run_id, params=[parameter(name, str(value)) for name, value in values.items()])

    @answering()
    def log_metrics(self, run_id: str, values: Mapping[str, float], step: int) -> None:
        """Log metrics of one step in one request."""
        now, metric = int(time.time() * 1000), self._mlflow.entities.Metric
        metrics = [metric(name, float(value), now, step) for name, value in values.items()]
        self._client.log_batch(run_id, metrics=metrics)

    @answering()
    def steps(self, run_id: str, metric: str) -> list[int]:
        """The steps at which a metric was logged."""
        return [point.step for point in self._client.get_metric_history(run_id, metric)]

    @answering()
    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        for key, value in tags.items():
            self._client.set_tag(run_id, key, value)

    @answering()
    def log_file(self, run_id: str, path: Path, folder: str) -> None:
        """Keep a file in a folder of a run's artifacts."""
        self._client.log_artifact(run_id, str(path), folder)

    @answering()
    def log_model(self, run_id: str, name: str, model: Any, example: Any, requirements: Sequence[str]) -> str:
        """Log a Keras model and register it under `name`; the number of the new version.

        `example` is an input of the model; its signature follows from the answer. `requirements` are given because
        MLflow would load the model in another process for ten seconds to infer them.
        """
        signature = self._mlflow.models.infer_signature(example, model.predict(example, verbose=0))
        with self._mlflow.start_run(run_id=run_id):
            info = self._mlflow.tensorflow.log_model(
                model,
                name="model",
                signature=signature,
                input_example=example,
                pip_requirements=list(requirements),
                registered_model_name=name,
            )
        return str(info.registered_model_version)

    def download(self, version: ModelVersion, run_folder: str, target: Path) -> tuple[Path, Path]:
        """Fetch a version's model and one folder of its run's artifacts below `target`; where they lie.

        Raises InputError with MLflow's own message.
        """
        fetch = self._mlflow.artifacts.download_artifacts
        model, run = target / "model", target / "run"
        for folder in (model, run):
            folder.mkdir()
        try:
            return (
                Path(fetch(artifact_uri=f"models:/{version.name}/{version.version}", dst_path=str(model))),
                Path(fetch(run_id=version.run_id, artifact_path=run_folder, dst_path=str(run))),
            )
        except (OSError, self._mlflow.exceptions.MlflowException) as error:
            raise InputError(one_line(error)) from None

    def read_file(self, run_id: str, path: str) -> bytes | None:
        """A file among a run's artifacts, None where the run or the file is missing; TrackingError."""
        with tempfile.TemporaryDirectory(prefix="fracture-artifact-") as folder:
            try:
                place = self._client.get_run(run_id).info.artifact_uri
                fetch = self._mlflow.artifacts.download_artifacts
                return Path(fetch(artifact_uri=f"{place}/{path}", dst_path=folder)).read_bytes()
            except OSError:
                return None
            except self._mlflow.exceptions.MlflowException as error:
                found = TrackingError(error)
                if found.missing:
                    return None
                raise found from None

    @answering()
    def _model(self, name: str) -> Any:
        return self._client.get_registered_model(name)

    def _experiment(self) -> str:
        """The id of the project's experiment, made when it is not there yet."""
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        local = tracking_uri().startswith("sqlite:")
        location = (home_root() / ARTIFACTS).as_uri() if local else None
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=location))


@answering()
def connect() -> Registry:
    """The registry on the tracking server; takes seconds, as it imports MLflow. Raises TrackingError."""
    return Registry(_import_mlflow())


def _import_mlflow() -> Any:
    """MLflow, quiet and pointed at the tracking server, whose database is made if it is a file."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    _make_database()
    _follow_the_project()
    mlflow.set_tracking_uri(tracking_uri())
    return mlflow


def _make_database() -> None:
    """Make a SQLite database under another name first: one whose tables are half made can never be opened again."""
    file = database_file()
    if file is None or file.exists():
        return
    with atomic_file(file) as partial:
        store = sqlalchemy_store.SqlAlchemyStore(f"sqlite:///{partial}", (file.parent / ARTIFACTS).as_uri())
        store.engine.dispose()


def _follow_the_project() -> None:
    """Let the project's own database name the artifacts beside it, after both were moved or copied."""
    file = database_file()
    if file is None or file != home_root() / DATABASE:
        return
    try:
        former = moved.bring_up_to_date(file)
    except sqlite3.DatabaseError as error:
        if is_busy(error):
            raise
        return  # MLflow says better what is wrong with it
    if former:
        print(f"{file.name}: the project was in {former}; its artifacts are now looked for here", file=sys.stderr)


def _version(entity: Any) -> ModelVersion:
    return ModelVersion(str(entity.name), str(entity.version), str(entity.run_id or ""), dict(entity.tags))


def _oldest_first(entities: Sequence[Any]) -> list[ModelVersion]:
    return sorted(map(_version, entities), key=lambda version: int(version.version))


def _run(entity: Any) -> Run:
    return Run(str(entity.info.run_id), dict(entity.data.params), dict(entity.data.metrics))


class Mirror:
    """Keeps a run up to date while the server answers; after the first failure it warns once and stops."""

    def __init__(self, run_id: str = "", name: str = "", parent: str = "") -> None:
        self.run_id = run_id
        self._registry: Registry | None = None
        self._broken = False
        self._try(lambda registry: self._start(registry, name, parent))

    def _start(self, registry: Registry, name: str, parent: str) -> None:
        if self.run_id:
            registry.run(self.run_id)
        else:
            self.run_id = registry.start(name, parent).id

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Parameters, once a run."""
        self._try(lambda registry: registry.log_params(self.run_id, values))

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Metrics of one epoch."""
        self._try(lambda registry: registry.log_metrics(self.run_id, values, step))

    def end(self, failed: bool = False) -> None:
        """Mark the run as ended."""
        self._try(lambda registry: registry.end(self.run_id, failed))

    def _try(self, action: Callable[[Registry], None]) -> None:
        if self._broken:
            return
        try:
            self._registry = self._registry or connect()
            action(self._registry)
        except Exception as error:  # noqa: BLE001  whatever MLflow raises, training goes on
            self._broken = True
            found = error if isinstance(error, TrackingError) else TrackingError(error)
            what = f": {found.lacking}" if found.lacking else f" does not answer ({found.gist})"
            print(f"warning: MLflow at {shown_uri()}{what}; going on with files only")


BACKEND_STORE, ARTIFACT_ROOT = "_MLFLOW_SERVER_FILE_STORE", "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""How the server is told of its stores (mlflow.server.constants, which cannot be imported before they are set)."""


def serve_ui(port: int) -> None:
    """Serve the MLflow UI over the project's own database on loopback until this process ends.

    This is what `mlflow server --workers 1` does, in this process: that command takes all imports twice.
    Raises InputError when the database cannot be used.
    """
    uri, artifacts = tracking_uri(), (home_root() / ARTIFACTS).as_uri()
    # Job workers would be a dozen more processes and two gigabytes.
    os.environ.update(_QUIET | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    os.environ.update({BACKEND_STORE: uri, ARTIFACT_ROOT: artifacts})
    serve = uvicorn.run  # loads it before mlflow.server, which guards against other sites when it sees it
    _import_mlflow()
    try:
        handlers.initialize_backend_stores(uri, uri, artifacts)
    except (mlflow.MlflowException, sqlalchemy_errors.SQLAlchemyError) as error:
        raise InputError(f"{shown_uri()}: {BUSY if is_busy(error) else one_line(error)}") from None
    serve("mlflow.server.fastapi_app:app", host="127.0.0.1", port=port, log_level="warning", access_log=False)
