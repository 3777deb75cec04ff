"""The whole pipeline through DVC on a tiny sample, as a person runs it.

One project is brought to its first registered model; each test works on a copy of it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from pipeline import registry, tracking

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)
PARTS = {"pipeline", "serving", ".dvc", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml"}

TINY: dict[str, dict[str, object]] = {
    "validate": {"min_per_class": 5},
    "preprocess": {"image_size": 48},
    "train": {"epochs": 3, "batch_size": 16, "early_stopping_patience": 0},
    "evaluate": {"bootstrap": 100, "gallery": 4},
    "register": {"min_auroc": 0.0, "min_sensitivity": 0.0, "champion_margin": 1.0},
}


class Project:
    """A checkout of the working tree in a temporary folder, with small parameters and a small sample."""

    def __init__(self, root: Path) -> None:
        self.root = root
        bin_folder = Path(sys.executable).parent
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))},
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org",
        }

    def run(self, *command: str, code: int = 0, timeout: float = 600) -> str:
        """Run a command in the project; returns stdout and stderr together and checks the exit code."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == code, printed
        return printed

    def change(self, section: str, **values: object) -> None:
        """Change keys of params.yaml."""
        yaml = YAML()
        path = self.root / "params.yaml"
        content = yaml.load(path.read_text())
        content[section].update(values)
        with path.open("w") as file:
            yaml.dump(content, file)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


@pytest.fixture(scope="module")
def first_repro(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project in which `dvc repro` ran once and everything is committed, and what it printed."""
    root = tmp_path_factory.mktemp("checkout") / "project"
    listing = ["git", "ls-files", "-co", "--exclude-standard"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in tracked:
        if name.split("/")[0] in PARTS and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    project = Project(root)
    for section, values in TINY.items():
        project.change(section, **values)
    project.run("git", "init", "-q", "-b", "main")
    project.run("fracture", "data", "sample", "--count", "90", "--seed", "3")
    project.commit("start")
    printed = project.run("dvc", "repro")
    project.commit("first")
    return project, printed


@pytest.fixture
def tiny(first_repro: tuple[Project, str], tmp_path: Path) -> Project:
    """A copy of the project, with its DVC cache and MLflow database."""
    shutil.copytree(first_repro[0].root, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def _ran(printed: str) -> list[str]:
    return [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]


def test_one_repro_gives_a_registered_model(first_repro: tuple[Project, str]) -> None:
    project, printed = first_repro
    assert "bone-fracture version 1 registered; gates passed" in printed
    for name in ("validation.json", "metrics.json", "registration.json", "history.csv", "plots/roc.png"):
        assert (project.root / "reports" / name).is_file(), name


def test_what_is_generated_is_ignored_by_git(tiny: Project) -> None:
    listed = tiny.run("git", "ls-files").split()
    committed_pictures = {name for name in listed if name.startswith("serving/web/")}
    assert {name for name in listed if name.endswith((".npy", ".keras", ".png", ".db"))} <= committed_pictures
    assert "data.dvc" in listed
    assert "dvc.lock" in listed
    assert tiny.run("git", "status", "--porcelain") == ""


def test_repro_again_does_nothing(tiny: Project) -> None:
    printed = tiny.run("dvc", "repro")
    assert "Running stage" not in printed
    assert "up to date" in printed


def test_the_version_carries_what_an_auditor_asks_for(tiny: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tiny.root}/mlflow.db")
    client = tracking.connect().MlflowClient()
    version = client.get_model_version("bone-fracture", "1")
    prepared = json.loads((tiny.root / "prepared/prepared.json").read_text())
    assert version.tags["data_hash"] == prepared["data_hash"]
    assert version.tags["split_hash"] == prepared["split_hash"]
    assert version.tags["gates"] == registry.PASSED
    assert len(version.tags["git_commit"].removesuffix("-dirty")) == 40
    run = client.get_run(version.run_id)
    assert run.data.params["train.architecture"] == "cnn"
    assert "test_auroc" in run.data.metrics
    assert len(client.get_metric_history(version.run_id, "val_loss")) == 3


def test_the_registered_model_answers_as_the_trained_one(tiny: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras
    import numpy as np

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tiny.root}/mlflow.db")
    mlflow = tracking.connect()
    loaded = mlflow.tensorflow.load_model("models:/bone-fracture@challenger")
    trained = keras.models.load_model(tiny.root / "build/model/model.keras")
    images = np.load(tiny.root / "prepared/images.npy")[:8, ..., np.newaxis]
    assert np.allclose(loaded.predict(images, verbose=0), trained.predict(images, verbose=0), atol=1e-6)


def test_registering_the_same_model_again_makes_no_second_version(tiny: Project) -> None:
    printed = tiny.run("dvc", "repro", "-sf", "register")
    assert "bone-fracture version 1 already registered" in printed


def test_promote_and_doctor_name_the_champion(tiny: Project) -> None:
    assert "version 1 is now the champion" in tiny.run("fracture", "promote", "--reason", "test")
    printed = tiny.run("fracture", "doctor", code=1)  # the lock file is not part of this folder
    assert "bone-fracture version 1" in printed
    assert "sample 1 (normal, fractured), 90 images" in printed


def test_another_learning_rate_repeats_train_and_what_follows_only(tiny: Project) -> None:
    tiny.change("train", learning_rate=0.002)
    printed = tiny.run("dvc", "repro")
    assert _ran(printed) == ["train", "evaluate", "register"]
    assert "version 2 registered" in printed
    assert "test.auroc.value" in tiny.run("dvc", "metrics", "diff")
    tiny.run("dvc", "plots", "show")
    assert (tiny.root / "dvc_plots/index.html").is_file()


def test_experiments_run_in_place_and_in_a_copy_and_register_in_the_same_database(tiny: Project) -> None:
    tiny.run("dvc", "exp", "run", "-S", "train.learning_rate=0.0005", "-n", "slower")
    tiny.run("dvc", "exp", "run", "--temp", "-S", "train.learning_rate=0.0007", "-n", "elsewhere")
    shown = tiny.run("dvc", "exp", "show", "--no-pager", "--csv")
    assert "slower" in shown
    assert "elsewhere" in shown
    assert "test.auroc.value" in shown
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tiny.root}/mlflow.db")
        versions = tracking.connect().MlflowClient().search_model_versions("name = 'bone-fracture'")
    assert len(versions) == 3


def test_a_wrong_parameter_stops_before_anything_is_lost(tiny: Project) -> None:
    before = (tiny.root / "build/model/training.json").read_bytes()
    tiny.change("train", epochs=-1)
    printed = tiny.run("dvc", "repro", code=255)
    assert "params.yaml: train.epochs" in printed
    assert "Traceback" not in printed
    tiny.run("git", "checkout", "params.yaml")
    assert _ran(tiny.run("dvc", "repro")) == []
    assert (tiny.root / "build/model/training.json").read_bytes() == before


def test_training_goes_on_without_the_tracking_server_and_register_is_repeated_alone(tiny: Project) -> None:
    tiny.environment["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    tiny.change("train", seed=11)
    printed = tiny.run("dvc", "repro", code=255)
    assert "going on with files only" in printed
    assert "start the server or set MLFLOW_TRACKING_URI" in printed
    assert "failed to reproduce 'register'" in printed
    del tiny.environment["MLFLOW_TRACKING_URI"]
    assert _ran(tiny.run("dvc", "repro")) == ["register"]


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def _trainers(root: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "pipeline.train" in (process.info["cmdline"] or []):
            try:
                if process.cwd() == str(root):
                    found.append(process)
            except psutil.Error:
                continue
    return found


@pytest.mark.parametrize("victim", ["trainer", "dvc"])
def test_a_killed_training_leaves_no_trainer_and_goes_on_where_it_was(tiny: Project, victim: str) -> None:
    tiny.change("train", epochs=40, learning_rate={"trainer": 0.00031, "dvc": 0.00032}[victim])
    command = [str(Path(sys.executable).parent / "dvc"), "repro", "train"]
    log = tiny.root / "killed.log"
    with log.open("w") as file:
        running = subprocess.Popen(command, cwd=tiny.root, env=tiny.environment, stdout=file, stderr=file)
        checkpoints = tiny.root / "checkpoints"
        assert _wait(lambda: len(list(checkpoints.glob("*/epoch-*"))) >= 2, 120), log.read_text()
        target = running.pid if victim == "dvc" else _trainers(tiny.root)[0].pid
        os.kill(target, signal.SIGKILL)
        running.wait(timeout=60)
    assert _wait(lambda: not _trainers(tiny.root), 20), "a trainer lives on"
    printed = tiny.run("dvc", "repro", "train")
    assert "going on after epoch" in printed
    assert len((tiny.root / "reports/history.csv").read_text().splitlines()) == 41
