"""What is to be drawn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.data.sources.synthetic.plan import draw_plans


@pytest.mark.parametrize("what", ["finger", "hand", "thigh", "frontal", "lateral", "hardware", "left"])
def test_nothing_in_the_labels_predicts_the_fracture(what: str) -> None:
    plans = draw_plans(400, 7, "binary")
    traits = [{plan.region, plan.view, "hardware" * plan.hardware, "left" * (plan.laterality == "L")} for plan in plans]
    fractured = np.array([plan.fracture is not None for plan in plans])
    assert 0.4 <= roc_auc_score(fractured, [what in trait for trait in traits]) <= 0.6
