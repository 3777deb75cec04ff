"""The one module that knows MLflow, on a real server in a temporary SQLite file."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.registry.mlflow import Mirror, Registry, connect
from tests.pipeline.registry.conftest import Model

ROOT = Path(__file__).parents[3]
MODULE = ROOT / "pipeline/registry/mlflow.py"
OTHERS = [
    path
    for folder in ("pipeline", "serving", "hospital", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path != MODULE
] + [ROOT / "service.py"]


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "late":
            yield from (str(word.value) for word in node.args if isinstance(word, ast.Constant))


def test_no_other_module_imports_mlflow() -> None:
    assert "mlflow" in set(_imported(ast.parse(MODULE.read_text())))
    for path in OTHERS:
        assert not [name for name in _imported(ast.parse(path.read_text())) if name.split(".")[0] == "mlflow"], path


def test_no_other_module_is_handed_mlflow_or_calls_its_client() -> None:
    from mlflow import MlflowClient

    foreign = {name for name in dir(MlflowClient) if "_" in name.strip("_")} - {*dir(Registry), *dir(Mirror)}
    assert "set_model_version_tag" in foreign
    for path in OTHERS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.arg | ast.Name):
                assert (node.arg if isinstance(node, ast.arg) else node.id) != "mlflow", path
            elif isinstance(node, ast.Attribute):
                assert node.attr not in {*foreign, "MlflowClient"} - {"tracking_uri"}, f"{path}:{node.lineno}"


def test_the_newest_version_of_the_same_content_is_found_by_its_tag(model: Model) -> None:
    for number in ("1", "2"):
        model.registry.set_version_tags(model.name, number, {"content_hash": "abc"})
    found = model.registry.version_with_tag(model.name, "content_hash", "abc")
    assert found is not None
    assert found.version == "2"
    assert model.registry.version_with_tag(model.name, "content_hash", "xyz") is None


def test_versions_come_the_oldest_first(model: Model) -> None:
    assert [version.version for version in model.registry.versions(model.name)] == ["1", "2", "3"]


def test_an_alias_that_nobody_set_names_no_version(model: Model) -> None:
    assert model.registry.version_by_alias(model.name, "nobody") is None


def test_a_run_that_does_not_exist_is_none(registry: Registry) -> None:
    assert registry.find_run("0" * 32) is None
    assert registry.find_run("") is None


def test_what_is_logged_is_read_again(registry: Registry) -> None:
    run = registry.start("cnn")
    registry.log_params(run.id, {"epochs": 3})
    for step in (1, 2):
        registry.log_metrics(run.id, {"loss": 1 / step}, step)
    found = registry.run(run.id)
    assert (found.params, found.metrics) == ({"epochs": "3"}, {"loss": 0.5})
    assert registry.steps(run.id, "loss") == [1, 2]


def test_files_that_are_gone_are_one_line(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        model.registry.download(model.registry.version(model.name, "1"), "package/x", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_tracking_server_that_is_away_costs_seconds_and_one_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    mirror = Mirror(name="cnn")
    mirror.log_metrics({"loss": 1.0}, 1)
    mirror.log_metrics({"loss": 0.9}, 2)
    printed = capsys.readouterr().out
    assert printed.count("warning: MLflow at http://***@127.0.0.1:9 does not answer") == 1
    assert "secret" not in printed
    assert mirror.run_id == ""


def test_a_mirror_goes_on_with_the_run_it_is_given(registry: Registry) -> None:
    run = registry.start("cnn")
    Mirror(run.id).log_metrics({"loss": 1.0}, 1)
    assert registry.steps(run.id, "loss") == [1]


def test_a_database_that_could_not_be_made_whole_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    import mlflow.store.tracking.sqlalchemy_store as store

    def full_disk(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(store, "SqlAlchemyStore", full_disk)
    with pytest.raises(OSError, match="No space left"):
        connect()
    assert list(tmp_path.iterdir()) == []


def test_a_run_below_another_one_names_it_and_ends(model: Model) -> None:
    parent = model.registry.start("search").id
    trials = [Mirror("", f"trial {number}", parent) for number in range(2)]
    trials[0].end()
    trials[1].end(failed=True)
    found = [model.client.get_run(trial.run_id) for trial in trials]
    assert [run.data.tags["mlflow.parentRunId"] for run in found] == [parent, parent]
    assert [run.info.status for run in found] == ["FINISHED", "FAILED"]
