"""Trials as DVC experiments, without a change of the working tree."""

import subprocess
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.tuning.experiments import Experiments


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository with parameters, code and the metrics of another model."""
    _git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "reports").mkdir()
    for name in ("params.yaml", "code.py", "reports/metrics.json"):
        (tmp_path / name).write_text("a: 1\n")
    _git(tmp_path, "add", "-A")
    _git(tmp_path, "commit", "-qm", "start")
    return tmp_path


def _saved(repository: Path, name: str = "tune-1") -> str:
    Experiments(repository).save(name, "a: 2\n", {"tune_auroc": 0.9})
    commit = _git(repository, "rev-parse", "HEAD")
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"  # where DVC looks for it


def test_an_experiment_is_a_commit_beside_the_history(repository: Path) -> None:
    reference = _saved(repository)
    assert _git(repository, "rev-parse", f"{reference}^") == _git(repository, "rev-parse", "HEAD")
    assert _git(repository, "show", f"{reference}:params.yaml") == "a: 2"
    assert _git(repository, "log", "--oneline", "main").count("\n") == 0


def test_the_test_metrics_of_another_model_are_not_in_it(repository: Path) -> None:
    names = _git(repository, "ls-tree", "-r", "--name-only", _saved(repository)).splitlines()
    assert names == ["code.py", "params.yaml", "trial/dvc.yaml", "trial/metrics.json"]


def test_what_is_not_committed_is_in_it_and_stays_as_it_was(repository: Path) -> None:
    (repository / "code.py").write_text("a: 3\n")
    before = _git(repository, "status", "--porcelain")
    reference = _saved(repository)
    assert _git(repository, "show", f"{reference}:code.py") == "a: 3"
    assert _git(repository, "status", "--porcelain") == before
    assert (repository / "params.yaml").read_text() == "a: 1\n"


def test_saving_a_name_again_replaces_it(repository: Path) -> None:
    reference = _saved(repository)
    Experiments(repository).save("tune-1", "a: 5\n", {})
    _saved(repository, "tune-2")
    assert _git(repository, "show", f"{reference}:params.yaml") == "a: 5"
    assert _git(repository, "for-each-ref", "refs/exps", "--format=%(refname:lstrip=-1)").split() == [
        "tune-1",
        "tune-2",
    ]


def test_without_a_commit_it_is_said_why_there_are_no_experiments(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no Git repository with a commit, so trials are no DVC experiments"):
        Experiments(tmp_path)
