"""Where the tracking server is, and the one line that its errors become."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.registry.mlflow import Registry, connect
from pipeline.registry.tracking import TrackingError, tracking_uri


def test_what_needs_the_server_fails_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"start the server or set MLFLOW_TRACKING_URI"):
        connect().versions("m")


def test_a_defect_of_ours_is_not_taken_for_a_server_that_is_away(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(registry._client, "get_run", broken)
    with pytest.raises(ZeroDivisionError):
        registry.run("x")


def test_the_database_of_a_temporary_experiment_is_the_one_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "x"
    for folder in (tmp_path, copy):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "params.yaml").touch()
        (folder / "dvc.yaml").touch()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(copy)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_damaged_database_is_said_to_be_moved_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"garbage" * 1000)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(InputError, match=r"move mlflow\.db away and repeat: `dvc repro -sf register`"):
        connect().versions("m")
