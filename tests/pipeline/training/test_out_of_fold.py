"""Out-of-fold scores: calibrated, and believed where they contradict a label."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.training import out_of_fold
from pipeline.training.params import TrainParams

Squares = Callable[..., Prepared]


def options(path: Path, weight: float = 0.25) -> TrainParams:
    return TrainParams(contradicted_weight=weight, contradicted_below=0.2, out_of_fold=str(path))


@pytest.fixture
def scored(squares: Squares, tmp_path: Path) -> tuple[Prepared, Path]:
    """Images whose scores agree with their labels, but for the third of the training set; none is of the test set."""
    data = squares()
    path = tmp_path / "out_of_fold.csv"
    table = data.table[data.table["part"] != "test"].assign(fold="0")
    logits = np.random.default_rng(0).normal(np.where(table["class"] > 0, 2, -2), 1)
    third = int(np.flatnonzero(table["part"] == "train")[2])
    logits[third] *= -2
    table.assign(logit=logits, place=logits / 2)[[*out_of_fold.COLUMNS, "place"]].to_csv(path, index=False)
    return data, path


def test_the_sum_of_logit_and_cell_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(4000) % 4 // 3
    logits = (rng.standard_normal(4000) + 2 * labels).astype(np.float32)
    cells = (rng.standard_normal(4000) * 3 + 6 * labels).astype(np.float16)
    soft = out_of_fold.calibrated(logits, cells, labels)
    assert soft.mean() == pytest.approx(0.25, abs=1e-3)
    confident = soft > 0.9
    assert labels[confident].mean() == pytest.approx(soft[confident].mean(), abs=0.03)


def test_an_image_whose_label_its_score_contradicts_counts_less(scored: tuple[Prepared, Path]) -> None:
    data, path = scored
    weights = out_of_fold.trust(data, data.rows("train"), options(path))
    assert weights[2] == 0.25
    assert np.delete(weights, 2).min() == 1


def test_a_weight_of_one_reads_no_scores(squares: Squares, tmp_path: Path) -> None:
    data = squares()
    missing = options(tmp_path / "missing.csv", weight=1)
    assert (out_of_fold.trust(data, data.rows("train"), missing) == 1).all()
    assert out_of_fold.fingerprint(missing) == ""


def test_a_training_image_with_another_label_than_the_table_is_refused(scored: tuple[Prepared, Path]) -> None:
    data, path = scored
    table = pd.read_csv(path)
    table.loc[table["image_id"] == data.table["image_id"].iloc[data.rows("train")[0]], "label"] = "fractured"
    table.to_csv(path, index=False)
    with pytest.raises(InputError, match=r"out_of_fold\.csv: 1 of \d+ training images are not in it"):
        out_of_fold.trust(data, data.rows("train"), options(path))


def test_a_missing_table_is_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.out_of_fold: .*missing\.csv: not found"):
        out_of_fold.fingerprint(options(tmp_path / "missing.csv"))


@pytest.mark.parametrize("content", ["", "image_id,label\ni0,normal\n", "image_id,logit\ni0,much\n"])
def test_a_file_that_is_no_such_table_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "out_of_fold.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=r"out_of_fold\.csv: (is no table|lacks the column)"):
        out_of_fold.read(path)
