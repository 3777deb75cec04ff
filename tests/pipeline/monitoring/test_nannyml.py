"""The estimate of performance without truth against NannyML's CBPE, on scores whose truth is known."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.monitoring.performance import estimated
from pipeline.monitoring.window import window_of
from tests.conftest import ROOT
from tests.serving.store.rows import NOON, answer

PYTHON = Path(os.environ.get("NANNYML_TOOLS") or ROOT / ".venv-nannyml/bin") / "python"
ESTIMATE = """
import json, sys
import nannyml
import pandas

given = json.load(sys.stdin)
frames = {name: pandas.DataFrame(rows) for name, rows in given.items()}
for frame in frames.values():
    frame["answer"] = (frame["score"] >= 0.5).astype(int)
reference = frames.pop("reference")
cbpe = nannyml.CBPE(
    problem_type="classification_binary", y_pred_proba="score", y_pred="answer", y_true="truth",
    metrics=["recall", "specificity", "accuracy"], chunk_number=1,
)
cbpe.fit(reference)
found = {}
for name, frame in frames.items():
    table = cbpe.estimate(frame.drop(columns="truth")).filter(period="analysis").to_df()
    found[name] = {metric: float(table[metric, "value"].iloc[0]) for metric in ("recall", "specificity", "accuracy")}
print(json.dumps(found))
"""
NAMES = {"sensitivity": "recall", "specificity": "specificity", "accuracy": "accuracy"}
COUNT, REFERENCE = 4000, 40_000
"""NannyML calibrates the scores anew on its reference: of 4,000 images that alone moves the sensitivity by 0.02."""

Scores = npt.NDArray[np.float64]


def _drawn(
    low: float, high: float, seed: int, calibration: float = 1.0, count: int = COUNT
) -> tuple[Scores, npt.NDArray[np.int64]]:
    """Scores of a beta distribution and the truth; its odds are the scores' to the power of `calibration`."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(low, high, count)
    odds = (scores / (1 - scores)) ** calibration
    return scores, (rng.random(count) < odds / (1 + odds)).astype(np.int64)


PARTS = {
    "reference": _drawn(0.6, 1.8, 0, count=REFERENCE),
    "same": _drawn(0.6, 1.8, 1),
    "harder": _drawn(2.0, 3.0, 2),
    "more_fractures": _drawn(1.2, 1.2, 3),
    "overconfident": _drawn(0.6, 1.8, 4, calibration=0.4),
}
CALIBRATED = ("same", "harder", "more_fractures")


@pytest.fixture(scope="module")
def of_nannyml() -> dict[str, dict[str, float]]:
    """What NannyML estimates for each part, calibrated on the reference; it runs where `make nannyml-setup` put it."""
    if not PYTHON.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("make nannyml-setup was not run, and CI leaves nothing out")
        pytest.skip("left out: run make nannyml-setup")
    given = {name: {"score": p.tolist(), "truth": y.tolist()} for name, (p, y) in PARTS.items()}
    done = subprocess.run(
        [str(PYTHON), "-c", ESTIMATE],
        input=json.dumps(given),
        env={**os.environ, "NML_DISABLE_USAGE_LOGGING": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _ours(part: str) -> dict[str, Any]:
    rows = [answer(number, probability=float(p)) for number, p in enumerate(PARTS[part][0])]
    found = estimated(window_of(rows, [], NOON, NOON, "normal"))
    assert found is not None
    return {name: found.measures[name]["value"] for name in NAMES}


def _true(part: str) -> dict[str, float]:
    scores, truth = PARTS[part]
    said = scores >= 0.5
    return {
        "sensitivity": float(said[truth == 1].mean()),
        "specificity": float(1 - said[truth == 0].mean()),
        "accuracy": float((said == truth).mean()),
    }


@pytest.mark.slow
@pytest.mark.parametrize("part", [name for name in PARTS if name != "reference"])
def test_nannyml_estimates_the_same(part: str, of_nannyml: dict[str, dict[str, float]]) -> None:
    ours, theirs = _ours(part), of_nannyml[part]
    differences = {name: abs(ours[name] - theirs[other]) for name, other in NAMES.items()}
    assert max(differences.values()) < 0.01


@pytest.mark.parametrize("part", CALIBRATED)
def test_while_the_calibration_holds_the_estimate_is_the_truth(part: str) -> None:
    ours, true = _ours(part), _true(part)
    assert max(abs(ours[name] - true[name]) for name in NAMES) < 0.03


def test_when_the_calibration_is_lost_the_estimate_is_too_good() -> None:
    ours, true = _ours("overconfident"), _true("overconfident")
    assert ours["sensitivity"] > true["sensitivity"] + 0.1
    assert ours["specificity"] > true["specificity"] + 0.03
