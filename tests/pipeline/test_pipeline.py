"""The whole pipeline through DVC on a tiny sample, as a person runs it.

Each test works on a copy of a project that was brought to its first registered model.
"""

import json

import pytest

from pipeline.registry import promotion
from tests.mlflow_client import mlflow_client
from tests.pipeline.project import Project, ran

pytestmark = pytest.mark.timeout(900)


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
    client = mlflow_client()
    version = client.get_model_version("bone-fracture", "1")
    prepared = json.loads((tiny.root / "prepared/prepared.json").read_text())
    assert version.tags["data_hash"] == prepared["data_hash"]
    assert version.tags["split_hash"] == prepared["split_hash"]
    assert version.tags["gates"] == promotion.PASSED
    assert len(version.tags["git_commit"].removesuffix("-dirty")) == 40
    run = client.get_run(version.run_id)
    assert run.data.params["train.architecture"] == "cnn"
    assert "test_auroc" in run.data.metrics
    assert len(client.get_metric_history(version.run_id, "val_loss")) == 3


def test_the_registered_model_answers_as_the_trained_one(tiny: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras
    import mlflow
    import numpy as np

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tiny.root}/mlflow.db")
    mlflow_client()
    loaded = mlflow.tensorflow.load_model("models:/bone-fracture@challenger")
    trained = keras.models.load_model(tiny.root / "build/model/model.keras")
    images = np.load(tiny.root / "prepared/images.npy")[:8, ..., np.newaxis]
    assert np.allclose(loaded.predict(images, verbose=0), trained.predict(images, verbose=0), atol=1e-6)


@pytest.mark.slow
def test_registering_the_same_model_again_makes_no_second_version(tiny: Project) -> None:
    printed = tiny.run("dvc", "repro", "-sf", "register")
    assert "bone-fracture version 1 already registered" in printed


def test_promote_and_doctor_name_the_champion(tiny: Project) -> None:
    assert "version 1 is now the champion" in tiny.run("fracture", "promote", "--reason", "test")
    printed = tiny.run("fracture", "doctor", code=1)  # the lock file is not part of this folder
    assert "bone-fracture version 1" in printed
    assert "sample 1 (normal, fractured), 90 images" in printed


@pytest.mark.slow
def test_an_experiment_in_a_copy_registers_in_the_same_database_and_can_be_taken_over(tiny: Project) -> None:
    """Experiments in place are run by training/test_teachers.py."""
    printed = tiny.run("dvc", "exp", "run", "--temp", "-S", "train.learning_rate=0.0005", "-n", "slower")
    assert ran(printed)[-3:] == ["train", "evaluate", "register"]
    assert "version 2 registered" in printed
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tiny.root}/mlflow.db")
        versions = mlflow_client().search_model_versions("name = 'bone-fracture'")
    assert len(versions) == 2
    shown = tiny.run("dvc", "exp", "show", "--no-pager", "--csv")
    assert "slower" in shown
    assert "test.auroc.value" in shown
    tiny.run("dvc", "exp", "apply", "slower")
    assert "test.auroc.value" in tiny.run("dvc", "metrics", "diff")
    tiny.run("dvc", "plots", "show")
    assert (tiny.root / "dvc_plots/index.html").is_file()
