"""Fixtures of the tests of the whole pipeline."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.project import Project, reproduce


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
