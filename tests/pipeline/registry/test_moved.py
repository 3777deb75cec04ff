"""A project that was moved or copied finds its artifacts again, and writes new ones beside itself."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.registry import moved
from pipeline.registry.mlflow import connect
from pipeline.registry.tracking import TrackingError
from tests.mlflow_client import mlflow_client

Locations = Callable[[Path], set[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run that holds a file, as it was made in its first place."""
    root = tmp_path_factory.mktemp("first place") / "project"
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml", "note.txt"):
        (root / name).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(root)
        registry = connect()
        registry.log_file(registry.start("cnn").id, root / "note.txt", "notes")
    return root


@pytest.fixture
def copied(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, in which commands run; the first one is still there."""
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def locations(root: Path) -> set[str]:
    """Every artifact location that the database of a project holds, without what follows the folder."""
    with sqlite3.connect(root / "mlflow.db") as connection:
        rows = [
            *connection.execute("SELECT artifact_location FROM experiments"),
            *connection.execute("SELECT artifact_uri FROM runs"),
        ]
    return {text.split("/mlartifacts")[0] for (text,) in rows}


def test_a_project_in_its_place_is_left_alone(made: Path) -> None:
    assert moved.former_folder(made / "mlflow.db") is None
    assert moved.bring_up_to_date(made / "mlflow.db") is None
    assert locations(made) == {made.as_uri()}


def test_a_copy_is_told_by_where_its_artifacts_are_said_to_lie(copied: Path, made: Path) -> None:
    assert moved.former_folder(copied / "mlflow.db") == made


def test_a_copy_names_its_own_artifacts_after_the_next_command(
    copied: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connect()
    assert locations(copied) == {copied.as_uri()}
    assert f"mlflow.db: the project was in {made}; its artifacts are now looked for here" in capsys.readouterr().err
    assert locations(made) == {made.as_uri()}


def test_a_copy_writes_new_artifacts_beside_itself(copied: Path, made: Path) -> None:
    before = sorted((made / "mlartifacts").rglob("*"))
    registry = connect()
    registry.log_file(registry.start("cnn").id, copied / "note.txt", "new")
    assert sorted((made / "mlartifacts").rglob("*")) == before
    assert len(list((copied / "mlartifacts").rglob("new/note.txt"))) == 1


def test_a_copy_reads_what_was_logged_before(copied: Path, made: Path, tmp_path: Path) -> None:
    made.rename(tmp_path / "away")
    try:
        connect()
        client = mlflow_client()
        (run,) = client.search_runs([client.get_experiment_by_name("bone-fracture").experiment_id])
        assert Path(client.download_artifacts(run.info.run_id, "notes/note.txt", str(tmp_path))).is_file()
    finally:
        (tmp_path / "away").rename(made)


def test_artifacts_that_were_not_copied_stay_where_they_are(copied: Path, made: Path) -> None:
    shutil.rmtree(copied / "mlartifacts")
    moved.bring_up_to_date(copied / "mlflow.db")
    assert locations(copied) == {copied.as_uri(), made.as_uri()}


def test_a_database_elsewhere_is_left_alone(copied: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copied / "mlflow.db").rename(copied / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copied / 'other.db'}")
    connect()
    (copied / "other.db").rename(copied / "mlflow.db")
    assert locations(copied) == {made.as_uri()}


def test_a_locked_database_is_busy_and_not_damaged(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved, "_WAIT_S", 0.1)
    with sqlite3.connect(copied / "mlflow.db") as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match="its database is busy, as another process is writing to it") as caught:
            connect()
        holder.rollback()
    assert "damaged" not in str(caught.value)


def test_what_is_no_database_is_said_by_its_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        moved.former_folder(tmp_path / "mlflow.db")
