"""What evaluate measures, chooses and writes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline import train
from pipeline.artifacts import Artifacts, TrainingRecord
from pipeline.data.prepared import Prepared
from pipeline.evaluation import metrics, report
from pipeline.evaluation.metrics import LogisticCalibration
from pipeline.evaluation.report import Outputs, evaluate
from pipeline.params import EvaluateParams
from pipeline.training import architectures
from pipeline.training.checkpoints import CheckpointStore
from pipeline.training.params import TrainParams
from serving.decision import Decision

OPTIONS = EvaluateParams(bootstrap=100, gallery=4)
Squares = Callable[..., Prepared]


def _outputs(scores: np.ndarray, rows: np.ndarray | None = None) -> Outputs:
    count = len(scores)
    chosen = np.arange(count) if rows is None else rows
    nothing = np.zeros((count, 4))
    maps = np.zeros((count, 8, 8), np.float32)
    return Outputs(chosen, scores.reshape(count, -1), nothing, nothing.astype(np.float32), maps, nothing)


def _decision(**changes: float) -> Decision:
    points = {"threshold": 0.5, "high_sensitivity": 0.3, "high_specificity": 0.7, "best_accuracy": 0.5, **changes}
    return Decision(calibration=LogisticCalibration(1.0, 0.0), **points)


def test_nothing_is_chosen_on_the_test_set() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 2, 100)
    validation = _outputs(np.clip(rng.normal(0.3 + 0.4 * classes, 0.2), 0.01, 0.99))
    decision = metrics.decide(validation.scores, classes, OPTIONS)
    p = decision.fracture_probability(validation.scores)
    assert (p[classes == 1] >= decision.high_sensitivity).mean() >= 0.95
    assert (p[classes == 0] < decision.high_specificity).mean() >= 0.95


def test_every_measure_has_an_interval_that_holds_its_value() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 200)
    p = np.clip(rng.normal(0.35 + 0.3 * y, 0.2), 0.01, 0.99)
    found = report.measure(y, p, np.arange(200), _decision(), OPTIONS)
    for name in ("auroc", "average_precision", "brier", "calibration_slope", "calibration_intercept"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"], name
    for name in ("accuracy", "precision", "recall", "specificity", "f1"):
        assert found["at_threshold"][name]["low"] <= found["at_threshold"][name]["value"], name


def test_larger_groups_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    y = np.repeat(rng.integers(0, 2, 50), 4)
    p = np.repeat(np.clip(rng.normal(0.35 + 0.3 * y[::4], 0.2), 0.01, 0.99), 4)
    widths = []
    for groups in (np.arange(200), np.repeat(np.arange(50), 4)):
        auroc = report.measure(y, p, groups, _decision(), OPTIONS)["auroc"]
        widths.append(auroc["high"] - auroc["low"])
    assert widths[1] > 1.5 * widths[0]


def test_a_cell_with_several_values_counts_for_each_of_them() -> None:
    table = pd.DataFrame({
        "image_id": range(40), "group": range(40), "region": ["hand"] * 15 + ["leg"] * 15 + ["hand;leg"] * 10,
    })  # fmt: skip
    y = np.arange(40) % 2
    found = report.slice_table(table, y, np.linspace(0, 1, 40), _decision(), OPTIONS)
    images = dict(zip(found["value"], found["images"], strict=True))
    assert images == {"hand": 25, "leg": 25}


def test_the_answer_is_a_fracture_from_the_threshold_on_and_then_the_likeliest_type() -> None:
    p = np.array([[0.6, 0.3, 0.1], [0.4, 0.1, 0.5], [0.5, 0.5, 0.0]])
    found = report.confusion(("normal", "a", "b"), np.array([0, 2, 0]), p, 0.5)
    assert found.loc["normal", "normal"] == 1
    assert found.loc["b", "b"] == 1
    assert found.loc["normal", "a"] == 1


def test_a_peak_inside_its_box_is_a_hit_and_images_without_boxes_do_not_count(squares: Squares) -> None:
    data = squares()
    rows = data.rows("test")
    maps = np.zeros((len(rows), 32, 32), np.float32)
    maps[:, 12:15, 12:15] = 1.0  # inside the square of class 1
    outputs = replace(_outputs(np.zeros(len(rows)), rows), maps=maps)
    fractured = int((data.labels(rows) == 1).sum())
    assert report.peak_hits(data, outputs, np.ones(len(rows), bool)) == (fractured, fractured)
    maps[:] = 0
    maps[:, 28:, 28:] = 1.0
    assert report.peak_hits(data, outputs, np.ones(len(rows), bool)) == (0, fractured)


def test_worst_errors_name_missed_fractures_and_false_alarms(squares: Squares) -> None:
    data = squares()
    test = _outputs(np.zeros(len(data.rows("test"))), data.rows("test"))
    y = data.labels(test.rows)
    p = np.where(y == 1, 0.1, 0.9)
    entries = report.worst_errors(data, test, y, p, threshold=0.5, count=4)
    assert len(entries) == 4
    assert sum("missed fracture" in entry[4] for entry in entries) == 2


@pytest.mark.parametrize("classes", [("normal", "fractured"), ("normal", "transverse", "spiral")])
def test_the_stage_writes_every_file_with_numbers_in_it(
    squares: Squares, tmp_path: Path, classes: tuple[str, ...]
) -> None:
    class Silent:
        run_id = ""

        def log_metrics(self, *_: Any) -> None: ...

    data = squares(90, classes=classes)
    options = TrainParams(epochs=2, batch_size=16)
    model, state = train.fit(data, options, CheckpointStore(tmp_path / "k"), lambda run_id: Silent())
    paths = Artifacts(tmp_path)
    paths.model.mkdir(parents=True)
    train.write_model(model, state, data, options, paths.model)
    found = evaluate(data, model, TrainingRecord.read(paths.training), OPTIONS)
    assert not paths.metrics.exists()
    assert "test AUROC" in found.summary
    found.write(paths)
    figures = json.loads((tmp_path / "reports/metrics.json").read_text())
    assert 0 <= figures["test"]["auroc"]["value"] <= 1
    assert figures["images"]["test"] == len(data.rows("test"))
    names = {path.name for path in (tmp_path / "reports/plots").iterdir()}
    assert {"roc.csv", "roc.png", "precision_recall.png", "reliability.png", "histogram.png", "confusion.csv"} <= names
    predictions = pd.read_csv(tmp_path / "reports/predictions.csv")
    assert set(predictions["part"]) == {"validation", "test"}
    assert (tmp_path / "reports/gallery/index.html").is_file()
    assert paths.decision.is_file()
    assert paths.reference.is_file()


def test_the_same_weights_have_the_same_hash_and_others_another() -> None:
    one, same = architectures.build(TrainParams(), 32, 2), architectures.build(TrainParams(), 32, 2)
    assert architectures.weights_hash(one) == architectures.weights_hash(same)
    assert architectures.weights_hash(architectures.build(TrainParams(seed=8), 32, 2)) != architectures.weights_hash(
        one
    )
