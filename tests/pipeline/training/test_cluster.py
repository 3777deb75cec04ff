"""Training on a Ray cluster of two nodes on loopback: the numbers of one machine, whatever is stopped or killed."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest

from pipeline.data.prepared import Prepared
from tests.pipeline.archive.clusters import TOOLS, Cluster, cluster
from tests.pipeline.project import ROOT, Project
from tests.pipeline.tuning.conftest import change_params, write_prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
EPOCHS = 6
IMAGES, BATCH = 98, 7
"""50 images to train on: the last batch has one, and so none for the second process."""


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    """Run a cluster."""
    with cluster() as found:
        yield found


def _epoch(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("epoch-"))


@dataclass(frozen=True)
class Trained:
    """A project, and the stage train in it."""

    project: Project

    @property
    def history(self) -> pd.DataFrame:
        """What the training wrote."""
        return pd.read_csv(self.project.root / "reports/history.csv")

    def start(self, workers: int) -> "subprocess.Popen[str]":
        """Begin, or go on, with this many processes."""
        self.project.change("train", workers=workers)
        command = [str(TOOLS / "python"), "-m", "pipeline.train"]
        return subprocess.Popen(
            command, cwd=self.project.root, env=self.project.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def train(self, workers: int) -> str:
        """Train to the end; returns what was said."""
        return self.end(self.start(workers))

    def end(self, process: "subprocess.Popen[str]") -> str:
        """Wait until it has ended well; returns what it said."""
        said, faults = process.communicate()
        assert process.returncode == 0, faults
        return said

    def wait_for(self, epoch: int, process: "subprocess.Popen[str]") -> None:
        """Wait until this or a later epoch has a checkpoint; older ones are removed."""
        while max(map(_epoch, self.project.root.glob("checkpoints/*/epoch-????")), default=0) < epoch:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)

    def processes(self) -> list[psutil.Process]:
        """Processes of the cluster that train in this project, which they make their current folder."""
        named = [one for one in psutil.process_iter(["cmdline"]) if "ray::" in (one.info["cmdline"] or [""])[0]]
        return [one for one in named if one.cwd() == str(self.project.root)]


@pytest.fixture(scope="module")
def begin(
    two_nodes: Cluster, squares: Callable[..., Prepared], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Trained]:
    """Give a function that makes a project whose training meets everything that processes have to agree on."""

    def make() -> Trained:
        root = tmp_path_factory.mktemp("project")
        write_prepared(squares(IMAGES), root / "prepared")
        shutil.copy(ROOT / "dvc.yaml", root)
        for name in ("pipeline", "serving"):
            (root / name).symlink_to(ROOT / name)  # the code that a training's name depends on
        change_params(
            root, ROOT / "params.yaml", epochs=EPOCHS, batch_size=BATCH, dropout=0, early_stopping_patience=0,
            optimizer="sgd", learning_rate=0.02, gradient_norm=0.5, weight_average=0.9, warmup_steps=5,
        )  # fmt: skip
        project = Project(root)
        project.environment |= {name: value for name, value in two_nodes.environment.items() if "RAY_" in name}
        project.environment |= {"RAY_ADDRESS": two_nodes.address, "PYTHONPATH": str(ROOT)}
        return Trained(project)

    return make


@pytest.fixture(scope="module")
def alone(begin: Callable[[], Trained]) -> pd.DataFrame:
    """The history of one process."""
    trained = begin()
    trained.train(1)
    return trained.history


def _assert_equal(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-5)


def test_killed_anywhere_and_gone_on_with_other_numbers_of_processes_it_ends_as_one_process_that_nothing_stopped(
    begin: Callable[[], Trained], alone: pd.DataFrame
) -> None:
    trained = begin()
    for workers, epoch in ((2, 1), (1, 2)):
        driver = trained.start(workers)
        trained.wait_for(epoch, driver)
        driver.kill()
        driver.communicate()
    driver = trained.start(2)
    trained.wait_for(4, driver)
    trained.processes()[-1].kill()
    said = trained.end(driver)  # without a person
    assert said.count("going on after epoch") >= 3  # at its start, after the kill, and to write the network
    assert f"epoch {EPOCHS}/{EPOCHS}" in said
    _assert_equal(trained.history, alone)
    assert (trained.project.root / "build/model/model.keras").is_file()
    assert not list(trained.project.root.glob("checkpoints/*/"))


def test_what_is_wrong_in_a_process_is_said_in_one_line(begin: Callable[[], Trained]) -> None:
    trained = begin()
    trained.project.change("train", architecture="MobileNet", weights="nowhere.weights.h5")
    _, faults = trained.start(2).communicate()
    (said,) = (line for line in faults.splitlines() if line.startswith("error: "))
    assert "nowhere.weights.h5: no such file" in said
    assert "Traceback" not in faults


def test_a_node_that_does_not_see_the_project_is_named(begin: Callable[[], Trained]) -> None:
    """No node of this machine can lack its disk, so the check asks for a place that nobody wrote to."""
    trained = begin()
    script = (
        "from pipeline.training import cluster\n"
        "cluster.write_text = lambda *_: None\n"
        "from pipeline import train\n"
        "from pipeline.errors import exit_with_line\n"
        "exit_with_line(train.main)"
    )
    trained.project.change("train", workers=2)
    done = subprocess.run(
        [str(TOOLS / "python"), "-c", script], cwd=trained.project.root, env=trained.project.environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    where = re.escape(str(trained.project.root / "checkpoints"))
    assert re.search(rf"^error: node 127\.0\.0\.[23]: does not see {where}", done.stderr, re.MULTILINE)
