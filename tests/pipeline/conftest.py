"""Fixtures of the tests of the whole pipeline."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline import cli, register
from pipeline.registry.mlflow import connect
from tests.pipeline.project import ROOT, Project, reproduce


@pytest.fixture(scope="session")
def first_repro(once: Callable[[str, Callable[[Path], None]], Path]) -> tuple[Project, str]:
    """A project in which `dvc repro` ran once and everything is committed, and what it printed; not to be changed."""
    folder = once("reproduced", reproduce)
    return Project(folder / "project"), (folder / "printed.txt").read_text()


@pytest.fixture
def tiny(first_repro: tuple[Project, str], tmp_path: Path) -> Project:
    """A copy of the project, with its DVC cache and MLflow database."""
    shutil.copytree(first_repro[0].root, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def _package(trained: Path, folder: Path) -> None:
    """Register the sample's model as version 1, which passes its gates, promote and package it."""
    root = folder / "project"
    shutil.copytree(trained, root)
    for name in ("dvc.yaml", "params.yaml", "service.py", "bentofile.yaml"):
        shutil.copy(ROOT / name, root)
    for name in ("serving", "locks"):
        (root / name).symlink_to(ROOT / name)
    (root / "reports/validation.json").write_text("{}")
    (root / "reports/history.csv").write_text("epoch,loss\n1,0.5\n")
    Project(root).change("register", min_auroc=0.0, min_sensitivity=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        register.register(connect(), register.Candidate.read(root))
        for command in ("promote", "package"):
            done = CliRunner().invoke(cli.assemble([command]), [command])
            assert done.exit_code == 0, done.exception
            (root / f"{command}.log").write_text(done.output)


@pytest.fixture(scope="session")
def packaged_folder(once: Callable[[str, Callable[[Path], None]], Path], trained_folder: Path) -> Path:
    """A project whose model is registered, champion and packaged; copy it before changing anything in it."""
    return once("packaged", functools.partial(_package, trained_folder)) / "project"


@pytest.fixture
def packaged(packaged_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that project, as the current folder and with a registry of its own."""
    root = tmp_path / "project"
    shutil.copytree(packaged_folder, root, symlinks=True)
    monkeypatch.chdir(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
    return root
