"""A whole search by Ray Tune, killed on the way: records, runs in MLflow, DVC experiments."""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.tuning.records import TrialRecord
from tests.pipeline.archive.clusters import PATIENCE, TOOLS, cluster
from tests.pipeline.project import Project
from tests.pipeline.tuning.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SPACE = "train.learning_rate: {low: 0.0001, high: 0.01, log: true}\ntrain.batch_size: [8, 16, 32]\n"
TRIALS = 3


@dataclass
class Searched:
    """A project, and the command that searches in it."""

    project: Project

    def command(self, *further: str) -> list[str]:
        space = str(self.project.root / "space.yaml")
        return [str(TOOLS / "fracture"), "tune", "--space", space, "--trials", str(TRIALS), "--folds", "2", *further]

    def start(self, *further: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.command(*further),
            cwd=self.project.root, env=self.project.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def records(self) -> list[TrialRecord]:
        files = sorted(self.project.root.glob("tuning/*/trials/*.json"))
        return [TrialRecord.read(path) for path in files]

    def wait_for(self, pattern: str, process: "subprocess.Popen[bytes]") -> None:
        """Wait until a file of the search is there."""
        while not list(self.project.root.glob(f"tuning/*/{pattern}")):
            assert process.poll() is None
            time.sleep(0.02)


@pytest.fixture
def begun(squares_project: Path) -> Searched:
    """Make the project a repository of Git and DVC, with everything committed."""
    if not (TOOLS / "ray").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("make ray-setup was not run, and CI leaves nothing out")
        pytest.skip("left out: run make ray-setup")
    (squares_project / ".dvc").mkdir()
    for name in (".dvc/config", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, squares_project / name)
    (squares_project / "space.yaml").write_text(SPACE)
    project = Project(squares_project)
    project.environment |= PATIENCE
    project.run("git", "init", "-q", "-b", "main")
    project.commit("start")
    return Searched(project)


def _column(project: Project, query: str, *values: object) -> list[object]:
    with sqlite3.connect(project.root / "mlflow.db") as database:
        return [value for (value,) in database.execute(query, values).fetchall()]


def test_a_search_whose_driver_was_killed_goes_on_to_the_same_end(begun: Searched) -> None:
    driver = begun.start()
    begun.wait_for("checkpoints/*/fold-1/epoch-*", driver)
    driver.kill()
    driver.wait()
    before = {record.number: record.reports for record in begun.records() if record.reports}
    assert before

    project = begun.project
    said = project.run(*begun.command())
    records = begun.records()
    assert [record.number for record in records] == list(range(TRIALS + 1))
    assert {record.state for record in records} <= {"complete", "stopped"}
    assert all(records[number].reports[: len(known)] == known for number, known in before.items())
    assert not list(project.root.glob("tuning/*/checkpoints/*"))
    assert not list(project.root.glob("tuning/*/ray"))
    assert "no trial is better than params.yaml" in said or "+++ b/params.yaml" in said

    (parent,) = _column(project, "select run_uuid from runs where name not like '%-____'")
    children = _column(project, "select run_uuid from tags where key = 'mlflow.parentRunId' and value = ?", parent)
    assert set(children) == {record.run_id for record in records}
    assert set(_column(project, "select status from runs")) == {"FINISHED"}
    for record in records:
        query = "select step from metrics where run_uuid = ? and key = 'tune_auroc' order by step"
        assert _column(project, query, record.run_id) == [report.progress for report in record.reports]

    again = project.run(*begun.command())
    assert again.splitlines()[-1] in said
    assert begun.records() == records

    listed = project.run("dvc", "exp", "list", "--name-only")
    assert all(record.experiment in listed for record in records)
    chosen = records[1]
    # It ends with an error, as nothing was ever trained here; params.yaml is taken over all the same.
    apply = ["dvc", "exp", "apply", chosen.experiment]
    subprocess.run(apply, cwd=project.root, env=project.environment, capture_output=True, check=False)
    text = (project.root / "params.yaml").read_text()
    assert f"learning_rate: {chosen.values['train.learning_rate']}" in text
    assert str(round(chosen.score or 0, 4)) in (project.root / "trial/metrics.json").read_text()


@pytest.fixture
def on_two_nodes(begun: Searched) -> Iterator[tuple[Searched, list[str]]]:
    """Run a cluster of two nodes beside the project."""
    with cluster() as found:
        begun.project.environment |= {
            name: value for name, value in found.environment.items() if name.startswith("RAY_")
        }
        yield begun, ["--address", found.address]


def _trial_processes(project: Project) -> list[psutil.Process]:
    """Processes that train in this project, which they make their current folder."""
    named = [one for one in psutil.process_iter(["cmdline"]) if "ray::" in (one.info["cmdline"] or [""])[0]]
    return [one for one in named if one.cwd() == str(project.root)]


def test_a_trial_whose_process_is_killed_goes_on_without_a_person(
    on_two_nodes: tuple[Searched, list[str]],
) -> None:
    begun, address = on_two_nodes
    driver = begun.start(*address)
    begun.wait_for("checkpoints/*/fold-0/epoch-*", driver)
    _trial_processes(begun.project)[0].kill()
    assert driver.wait() == 0
    assert {record.state for record in begun.records()} <= {"complete", "stopped"}
