"""Bundles of the folds: none of them knows anything of the images that it is asked about."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.robustness import fold_bundles, folds
from pipeline.data import prepared
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.params import EvaluateParams, Params

Squares = Callable[..., Prepared]


@pytest.fixture
def data(squares: Squares) -> Prepared:
    """Images in three folds."""
    made = squares()
    return replace(made, table=made.table.assign(fold=(made.table["index"] // 2 % 3).astype(str)))


def scores(data: Prepared) -> pd.DataFrame:
    """Out-of-fold scores of the images that are not test."""
    table = data.table[data.table["part"] != "test"]
    return table.assign(logit=np.random.default_rng(0).normal(table["class"], 1))


def test_a_bundle_is_made_of_the_other_folds_and_no_test_image(data: Prepared) -> None:
    known = fold_bundles.of_fold(data, "1", "2")
    seen = np.concatenate([known.rows("train"), known.rows("validation")])
    assert set(data.table["fold"].iloc[known.rows("train")]) == {"0"}
    assert set(data.table["fold"].iloc[known.rows("validation")]) == {"2"}
    assert "test" not in set(data.table["part"].iloc[seen])


def test_a_fold_is_calibrated_without_its_own_scores(data: Prepared) -> None:
    table, options = scores(data), EvaluateParams()
    before = fold_bundles.decide(table, "1", "normal", options)
    table.loc[table["fold"] == "1", "logit"] = 9.0
    assert fold_bundles.decide(table, "1", "normal", options) == before
    assert fold_bundles.decide(table, "0", "normal", options) != before


def test_scores_of_a_test_image_are_refused(data: Prepared) -> None:
    table = scores(data)
    fold_bundles.require_same(table, data, Path("out_of_fold.csv"))
    more = pd.concat([table, data.table[data.table["part"] == "test"].head(1).assign(logit=0.0)])
    with pytest.raises(InputError, match=r"out_of_fold\.csv: names other images or folds than prepared/"):
        fold_bundles.require_same(more, data, Path("out_of_fold.csv"))


def test_two_folds_are_too_few(data: Prepared) -> None:
    table = scores(data)
    with pytest.raises(InputError, match="has fewer than three folds"):
        fold_bundles.require_same(table[table["fold"] != "2"], data, Path("out_of_fold.csv"))


@pytest.mark.slow
def test_each_network_gets_a_bundle_and_a_second_run_makes_none_again(
    trained_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = prepared.load(trained_folder / "prepared")
    data = replace(found, table=found.table.assign(fold=(found.table["index"] // 2 % 3).astype(str)))
    for fold in range(3):
        (tmp_path / f"teachers/fold-{fold}").mkdir(parents=True)
        shutil.copy(trained_folder / "build/model/model.keras", tmp_path / f"teachers/fold-{fold}")
    scores(data).to_csv(tmp_path / "teachers/out_of_fold.csv", index=False)
    for _ in range(2):
        fold_bundles.make(tmp_path / "teachers", data, Params(), tmp_path / "folds")
    assert capsys.readouterr().out.count("is of this network already") == 3
    made = folds.read(tmp_path / "folds")
    assert list(made.bundles) == ["0", "1", "2"]
    assert len({bundle.decision for bundle in made.bundles.values()}) == 3
