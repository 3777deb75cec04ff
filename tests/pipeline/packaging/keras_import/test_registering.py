"""A model of another origin is measured and registered like one trained here."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pipeline.packaging.bundle import fetched
from pipeline.packaging.keras_import import registering
from pipeline.registry import promotion
from tests.mlflow_client import mlflow_client
from tests.pipeline.project import ROOT, Project


@pytest.fixture(scope="module")
def checkout(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with prepared/ of the small sample, and nothing in build/ but a file of the user's."""
    root = tmp_path_factory.mktemp("import")
    for path in ROOT.glob("*.yaml"):
        (root / path.name).write_bytes(path.read_bytes())
    Project(root).change("evaluate", bootstrap=100, gallery=2, guard_images=0)
    (root / "prepared").symlink_to(trained_folder / "prepared")
    (root / "build").mkdir()
    (root / "build/decision.json").write_text("the user's")
    return root


@pytest.fixture(scope="module")
def imported(checkout: Path, trained_folder: Path) -> dict[str, Any]:
    """What became of importing the small sample's own model, as if it had come from elsewhere: lines and client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{checkout}/mlflow.db")
        patch.chdir(checkout)
        file = trained_folder / "build/model/model.keras"
        lines = [registering.import_model(file, checkout, None, None) for _ in range(2)]
        client = mlflow_client()
        versions = client.search_model_versions("name = 'bone-fracture'")
        with fetched("models:/bone-fracture/1") as found:
            images = np.load(trained_folder / "prepared/images.npy")[:4, ..., np.newaxis]
            answers = found.model.predict_on_batch(images)
        wanted = keras.models.load_model(file).predict_on_batch(images)
        run = client.get_run(versions[0].run_id)
        aliases = dict(client.get_registered_model("bone-fracture").aliases)
        return {
            "lines": lines, "versions": versions, "training": found.training, "answers": answers, "wanted": wanted,
            "run": run, "aliases": aliases,
        }  # fmt: skip


def test_an_imported_model_is_measured_and_registered_like_a_trained_one(imported: dict[str, Any]) -> None:
    tags = imported["versions"][0].tags
    assert {"content_hash", "test_hash", "test_auroc", "gates", "dataset", "git_commit", "classes"} <= set(tags)
    assert "test_auroc" in imported["run"].data.metrics


def test_its_version_says_which_file_it_came_from(imported: dict[str, Any], trained_folder: Path) -> None:
    import hashlib

    content = (trained_folder / "build/model/model.keras").read_bytes()
    tag = imported["versions"][0].tags["imported_from"]
    assert tag == f"model.keras (sha256 {hashlib.sha256(content).hexdigest()})"


def test_it_is_not_promoted_by_itself(imported: dict[str, Any]) -> None:
    assert promotion.CHAMPION not in imported["aliases"]


def test_it_carries_no_parameters_of_a_training_here(imported: dict[str, Any]) -> None:
    assert not [name for name in imported["run"].data.params if name.startswith("train.")]


def test_the_same_file_makes_no_second_version(imported: dict[str, Any]) -> None:
    assert len(imported["versions"]) == 1
    assert "already registered" in imported["lines"][1][-2]


def test_packaging_finds_it_and_it_answers_the_same(imported: dict[str, Any]) -> None:
    assert np.allclose(imported["answers"], imported["wanted"], atol=1e-5)


def test_nothing_is_said_of_data_it_was_trained_on(imported: dict[str, Any]) -> None:
    assert imported["training"].dataset.name == "unknown (imported)"


def test_files_of_the_user_stay_as_they_were(imported: dict[str, Any], checkout: Path) -> None:
    assert [path.name for path in (checkout / "build").iterdir()] == ["decision.json"]
    assert (checkout / "build/decision.json").read_text() == "the user's"
    assert not (checkout / "reports").exists()
