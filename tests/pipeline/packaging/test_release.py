"""A registered model as a folder of models/: whole, explained, and ready to train on."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifacts import Artifacts, TrainingRecord
from pipeline.errors import InputError
from pipeline.evaluation.records import ChangeMetrics, Robustness
from pipeline.packaging import release
from serving import bundle
from tests.pipeline.project import Project

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def measured(packaged_folder: Path) -> Robustness:
    """What the benchmark of robustness would say of the sample's model."""
    figures = dict.fromkeys(
        set(ChangeMetrics.model_fields) - {"change", "never_trained", "images", "refused", "warned"}
    )
    plain = ChangeMetrics(change="none", never_trained=False, images=4, refused=0, warned=0, **figures)
    weights = TrainingRecord.read(packaged_folder / "build/model/training.json").weights_sha256
    return Robustness(weights_sha256=weights, part="test", images=4, complete=True, changes=(plain,))


@pytest.fixture(scope="module")
def released(packaged_folder: Path, measured: Robustness, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the sample's model as a release."""
    root = tmp_path_factory.mktemp("release") / "project"
    shutil.copytree(packaged_folder, root, symlinks=True)
    measured.write(root / "reports/robustness.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        manifest = release.release(root, root / "models/sample-cnn-1")
    assert (manifest.name, manifest.version) == ("bone-fracture", "1")
    return root / "models/sample-cnn-1"


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"weights_sha256": "another"}, "robustness.json: belongs to another model"),
        ({"complete": False}, "robustness.json: some changes were left out"),
        (None, "robustness.json: not found"),
    ],
)
def test_a_model_whose_robustness_was_not_measured_is_not_released(
    packaged: Path, measured: Robustness, changed: dict[str, Any] | None, line: str
) -> None:
    if changed is not None:
        measured.model_copy(update=changed).write(Artifacts(packaged).robustness)
    with pytest.raises(InputError, match=line):
        release.release(packaged, packaged / "models/sample-cnn-1")
    assert not (packaged / "models").exists()


def test_a_release_holds_what_serves_trains_on_and_explains_it(released: Path) -> None:
    assert {path.name for path in released.iterdir()} == {
        "bundle", "model.keras", "training.json", "params.yaml", "metrics.json", "slices.csv", "history.csv",
        "split.csv", "MODEL_CARD.md", "robustness.json", "sha256sums",
    }  # fmt: skip
    done = subprocess.run(["sha256sum", "--check", "--quiet", "sha256sums"], cwd=released, check=False)
    assert done.returncode == 0
    assert bundle.read(released / "bundle").manifest.origin.registry_version == "1"
    assert bundle.find_default(released.parents[1]).parent in {released, released.parents[1] / "build/bundle"}


def test_the_card_has_every_section_and_the_figures_of_the_test_set(released: Path) -> None:
    card = (released / "MODEL_CARD.md").read_text()
    assert "Not shown to be good for" in card
    assert re.search(r"The guard (answers every image|takes \d+ test images)", card)
    assert "No patient is in two parts, nor is any near duplicate that the validation found." in card
    for section in ("For", "Not for", "Data", "Figures", "Shortcuts", "Known failures", "Make it again"):
        assert f"## {section}\n" in card, section
    figures = json.loads((released / "metrics.json").read_text())["test"]
    assert f"| auroc | {figures['auroc']['value']:.3f} (" in card
    assert f"| this model | {figures['auroc']['value']:.3f} |" in card
    assert "nan" not in card
    assert "- body parts: abdomen, breast, chest" in card
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert f" value: {figures['auroc']['value']}\n" in card
    split = (released / "split.csv").read_text()
    missed = re.search(r"^- missed: (\S+) \(", card, re.MULTILINE)
    assert missed is not None
    assert f"\n{missed[1]},fractured,test," in split


def test_card_and_bundle_say_that_the_sample_is_outside_the_change_plan(released: Path) -> None:
    plan = bundle.read(released).manifest.quality["change_plan"]
    assert plan["verdict"] == "outside"
    (reason,) = plan["reasons"]
    assert reason.startswith("the assessed release fracatlas-efficientnetlite2-2 cannot be read")
    card = (released / "MODEL_CARD.md").read_text()
    section = card.partition("## Change plan\n")[2].partition("\n## ")[0]
    assert section.startswith("**Outside** the [change plan]")
    assert f"- {reason}\n" in section


@pytest.mark.slow
def test_a_release_is_compared_with_the_one_that_was_assessed(
    packaged: Path, measured: Robustness, released: Path
) -> None:
    shutil.copytree(released, packaged / "models/sample-cnn-1")
    measured.write(Artifacts(packaged).robustness)
    Project(packaged).change("change_plan", assessed="sample-cnn-1", max_calibration_error=1)
    plan = release.release(packaged, packaged / "models/sample-cnn-2").quality["change_plan"]
    assert plan["reasons"] == ["it was trained on synthetic data"]
    assert plan["assessed_digest"] == bundle.read_manifest(released / "bundle").digest


def test_training_can_begin_from_a_release(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.training import architectures
    from pipeline.training.params import TrainParams

    monkeypatch.chdir(released.parents[1])
    theirs, _ = architectures.load_trained(released)
    ours = architectures.build(TrainParams(weights="release", seed=99), 96, 2)
    for name in ("convolution_1", "convolution_2", "features", "logits"):
        for mine, his in zip(ours.get_layer(name).get_weights(), theirs.get_layer(name).get_weights(), strict=True):
            assert np.array_equal(mine, his)
    more = architectures.build(TrainParams(weights="release"), 96, 3)
    assert np.array_equal(*(model.get_layer("features").get_weights()[0] for model in (more, theirs)))
    assert more.get_layer("logits").get_weights()[0].shape[1] == 3
    with pytest.raises(InputError, match="sample-cnn-1 is built otherwise"):
        architectures.build(TrainParams(weights="release"), 128, 2)


def test_a_training_from_a_release_is_not_judged_by_what_the_release_has_seen(
    released: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipeline.data import prepared
    from pipeline.training import leakage, trained

    own = prepared.load(released.parents[1] / "prepared")
    with pytest.raises(InputError, match=r"of the validation set were used to make sample-cnn-1, so .* too good"):
        leakage.require(own, released)
    strangers = replace(own, images=255 - own.images[:])
    leakage.require(strangers, released)
    broken = tmp_path / "models/sample-cnn-1"
    shutil.copytree(released, broken)
    (broken / "model.keras").write_bytes((broken / "model.keras").read_bytes()[:-100])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"model.keras: is not the file that was released; restore it: git checkout"):
        trained.newest_release(tmp_path)
