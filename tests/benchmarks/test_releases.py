"""Two bundles on the same images: the difference is paired, and refused images are in neither column."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.releases import answers, compare
from pipeline.errors import InputError
from pipeline.evaluation import metrics
from pipeline.params import EvaluateParams
from serving import bundle
from serving.decision import Decision
from serving.predictor import Predictor


@pytest.fixture
def decision() -> Decision:
    scores = np.linspace(0.05, 0.95, 40)[:, None]
    return metrics.decide(scores, (scores[:, 0] > 0.5).astype(np.int64), EvaluateParams())


def _rows(first: list[float], second: list[float]) -> pd.DataFrame:
    labels = [0, 0, 0, 1, 1, 1]
    return pd.DataFrame({"label": labels, "group": list("abcdef"), "first": first, "second": second})


def test_the_same_probabilities_differ_by_nothing(decision: Decision) -> None:
    same = [0.1, 0.6, 0.2, 0.4, 0.8, 0.9]
    assert all(
        line.endswith("+0.000 (+0.000 to +0.000) |") for line in compare(_rows(same, same), decision, decision)[2:]
    )


def test_a_better_order_is_a_higher_auroc(decision: Decision) -> None:
    table = compare(_rows([0.9, 0.1, 0.2, 0.8, 0.3, 0.4], [0.1, 0.1, 0.2, 0.8, 0.7, 0.9]), decision, decision)
    assert table[2].startswith("| AUROC | 0.667 | 1.000 | +0.333 ")


def test_images_of_one_label_are_refused_in_one_line(decision: Decision) -> None:
    rows = _rows([0.1] * 6, [0.2] * 6).assign(label=1)
    with pytest.raises(InputError, match="all of one label"):
        compare(rows, decision, decision)


def test_a_refused_file_has_no_probability(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    assert answers(Predictor(bundle.read(bundle_folder)), [tmp_path / "note.txt"], "images") == [None]
