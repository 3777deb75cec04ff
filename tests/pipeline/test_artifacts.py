"""Records between the stages: what is written is read again, and what is wrong is one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Artifacts, TrainingRecord
from pipeline.errors import InputError
from pipeline.evaluation import operating_points
from pipeline.evaluation.records import Estimate, Metrics, MetricSet
from pipeline.files import write_json
from serving.decision import Decision, LogisticCalibration

RELEASE = Path(__file__).parents[2] / "models"
TRAINING: dict[str, Any] = {
    "architecture": "cnn", "classes": ["normal", "fractured"], "image_size": 32, "preprocessing": {"image_size": 32},
    "model_sha256": "m", "weights_sha256": "w", "best_epoch": 1, "data_hash": "d", "split_hash": "s", "test_hash": "t",
    "dataset": {"name": "shapes", "version": "1"}, "regions": [], "views": [], "run_id": "",
}  # fmt: skip


def test_a_record_is_written_as_it_was_read(tmp_path: Path) -> None:
    write_json(tmp_path / "before.json", TRAINING)
    TrainingRecord.read(tmp_path / "before.json").write(tmp_path / "after.json")
    assert (tmp_path / "after.json").read_bytes() == (tmp_path / "before.json").read_bytes()


@pytest.mark.parametrize("release", sorted(RELEASE.glob("*/metrics.json")), ids=lambda path: path.parent.name)
def test_the_metrics_of_a_release_are_written_as_they_were_read(release: Path, tmp_path: Path) -> None:
    Metrics.read(release).write(tmp_path / "metrics.json")
    assert (tmp_path / "metrics.json").read_bytes() == release.read_bytes()


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("weights_sha256", None, "weights_sha256: is missing"),
        ("image_size", "large", "image_size: input should be a valid integer"),
        ("classes", "normal", "classes: input should be a valid tuple"),
    ],
)
def test_a_damaged_record_names_file_field_and_stage(tmp_path: Path, field: str, value: Any, fault: str) -> None:
    path = tmp_path / "training.json"
    content = {**TRAINING, field: value}
    write_json(path, {name: item for name, item in content.items() if item is not None})
    with pytest.raises(InputError) as raised:
        TrainingRecord.read(path)
    line = str(raised.value)
    assert line.startswith(f"{path}: {fault}")
    assert line.endswith("make it again with `dvc repro -f train`")
    assert "\n" not in line


@pytest.mark.parametrize("text", ["", "[]", "{", '"text"'])
def test_a_file_that_is_no_record_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(InputError, match=r"training\.json: .*dvc repro") as raised:
        TrainingRecord.read(tmp_path / "training.json")
    assert "\n" not in str(raised.value)


def test_metrics_that_are_undefined_are_not_logged() -> None:
    undefined = Estimate(value=None, low=None, high=None)
    known = Estimate(value=0.9, low=0.8, high=1.0)
    found = Metrics.model_construct(test=MetricSet({"auroc": known, "brier": undefined}), validation=MetricSet({}))
    assert found.flat() == {"test_auroc": 0.9, "test_auroc_low": 0.8, "test_auroc_high": 1.0}


def test_a_decision_is_read_as_it_was_written(tmp_path: Path) -> None:
    decision = Decision(LogisticCalibration(1.5, -0.25), 0.5, 0.1, 0.7, 0.6)
    operating_points.write(tmp_path / "decision.json", decision)
    assert operating_points.read(tmp_path / "decision.json") == decision


@pytest.mark.parametrize(
    ("key", "fault"), [("threshold", "threshold: is missing"), ("calibration", "calibration: is missing")]
)
def test_a_damaged_decision_names_file_field_and_stage(tmp_path: Path, key: str, fault: str) -> None:
    path = tmp_path / "decision.json"
    operating_points.write(path, Decision(LogisticCalibration(1.5, -0.25), 0.5, 0.1, 0.7, 0.6))
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as raised:
        operating_points.read(path)
    assert str(raised.value) == f"{path}: {fault}; make it again with `dvc repro -f evaluate`"


def test_every_path_lies_below_the_root() -> None:
    names = [name for name, value in vars(Artifacts).items() if isinstance(value, property)]
    assert len(names) > 15
    for name in names:
        assert getattr(Artifacts(Path("project")), name).is_relative_to("project"), name
