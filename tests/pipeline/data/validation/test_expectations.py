"""Great Expectations over the tables."""

from typing import Any

import pandas as pd
import pytest

from pipeline.data.validation import expectations, tables
from pipeline.data.validation.expectations import Judge
from pipeline.params import Offenders, ValidateParams


def table_warnings(judge: Judge, counts: pd.DataFrame, features: pd.DataFrame, **limits: Any) -> list[tuple[str, list]]:
    found = expectations.judge_rest(judge, counts, features, ValidateParams(min_per_class=2, **limits))
    return [(finding.check, finding.rows) for finding in found if finding.rows]


def test_a_check_that_cannot_be_made_blames_no_image(judge: Judge) -> None:
    without_columns = pd.DataFrame({"file": ["images/a.png"]})
    with pytest.raises(RuntimeError, match="raised"):
        expectations.judge_images(judge, without_columns, ("normal", "fractured"), Offenders())


def test_an_imbalance_of_classes_is_found(judge: Judge) -> None:
    counts = tables.class_table(pd.DataFrame({"label": ["normal"] * 9 + ["fractured"] * 2}), ("normal", "fractured"))
    assert counts["times_smaller"].to_list() == [1, 4.5]
    none = pd.DataFrame({"feature": [], "auroc": []})
    assert table_warnings(judge, counts, none, imbalance_ratio=4) == [("class_imbalance", [1])]


def test_a_feature_at_the_limit_is_not_told(judge: Judge) -> None:
    counts = tables.class_table(pd.DataFrame({"label": ["normal", "fractured"] * 2}), ("normal", "fractured"))
    table = pd.DataFrame({"feature": ["view", "region"], "auroc": [0.65, 0.66]})
    assert table_warnings(judge, counts, table, shortcut_auroc=0.65) == [("shortcut", [1])]
