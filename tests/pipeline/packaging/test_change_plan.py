"""The change plan, by the release that stands in models/: each limit, and what no release may change."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import params
from pipeline.evaluation.records import Metrics, Robustness
from pipeline.packaging import change_plan
from pipeline.packaging.change_plan import Candidate
from pipeline.params import ChangePlanParams
from serving import bundle
from serving.scope import Terms
from tests.conftest import ROOT

RELEASES = ROOT / "models"
PLAN = params.load(ROOT / "params.yaml").change_plan
FOLDER = RELEASES / PLAN.assessed
MANIFEST = bundle.read_manifest(FOLDER / "bundle")


def _candidate(facts: Mapping[str, Any] = {}, metrics: Mapping[str, Any] = {}, **robustness: Any) -> Candidate:
    """The assessed release once more, with changes: `metrics` by a path of keys joined by dots."""
    raw = Metrics.read(FOLDER / "metrics.json").model_dump(mode="json")
    for path, value in metrics.items():
        *parents, last = path.split(".")
        place = raw
        for key in parents:
            place = place[key]
        place[last] = value
    changes = Robustness.read(FOLDER / "robustness.json")
    first, *others = changes.changes
    changed = changes.model_copy(update={"changes": (first.model_copy(update=robustness), *others)})
    return Candidate({**MANIFEST.model_dump(mode="json"), **facts}, Metrics(**raw), changed, Terms.for_regions())


def _reasons(candidate: Candidate, plan: ChangePlanParams = PLAN, releases: Path = RELEASES) -> tuple[str, ...]:
    return change_plan.judge(candidate, releases, plan).reasons


def test_the_release_that_was_assessed_is_within_its_own_plan() -> None:
    verdict = change_plan.judge(_candidate(), RELEASES, PLAN)
    assert verdict.within
    assert verdict.record() == {
        "verdict": "within", "reasons": [], "assessed": PLAN.assessed, "assessed_digest": MANIFEST.digest
    }  # fmt: skip


_INTENDED = MANIFEST.intended.model_dump(mode="json")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"architecture": "MobileNet"}, "architecture: MobileNet instead of EfficientNetLite2"),
        ({"classes": ["normal", "simple", "comminuted"]}, "classes: normal, simple, comminuted instead of"),
        ({"preprocessing": {**MANIFEST.preprocessing, "image_size": 320}}, "preprocessing: "),
        ({"intended": {**_INTENDED, "regions": [*_INTENDED["regions"], "skull"]}}, "intended regions: also skull"),
        ({"intended": {**_INTENDED, "regions": ["hand"]}}, "intended regions: no longer hip"),
        ({"intended": {**_INTENDED, "views": ["frontal"]}}, "intended views: no longer lateral"),
        ({"intended": {**_INTENDED, "use": "Diagnosis."}}, "intended use: its words changed"),
        ({"trained_on": {**MANIFEST.trained_on.model_dump(), "synthetic": True}}, "synthetic data"),
        (
            {"origin": {"forced": {"by": "somebody", "at": "", "reason": "in a hurry"}}},
            "its gates were passed over by somebody: in a hurry",
        ),
        (
            {"quality": {"weak_regions": {**MANIFEST.weak_regions, "leg": "1 of 2"}}},
            "longer shown to be good for: leg",
        ),
    ],
)
def test_what_the_plan_does_not_name_may_not_change(facts: dict[str, Any], said: str) -> None:
    (reason,) = _reasons(_candidate(facts))
    assert said in reason


_MEASURED = Metrics.read(FOLDER / "metrics.json")


def _less(value: float | None, by: float) -> float:
    assert value is not None
    return round(value - by, 6)


@pytest.mark.parametrize(
    ("path", "value", "limit", "key"),
    [
        ("test.auroc.value", _MEASURED.test.auroc.value, PLAN.max_auroc_loss, "max_auroc_loss"),
        (
            "test.at_high_sensitivity.sensitivity.value",
            _MEASURED.test.point("at_high_sensitivity").sensitivity.value,
            PLAN.max_sensitivity_loss,
            "max_sensitivity_loss",
        ),
        (
            "test.at_high_sensitivity.specificity.value",
            _MEASURED.test.point("at_high_sensitivity").specificity.value,
            PLAN.max_specificity_loss,
            "max_specificity_loss",
        ),
    ],
)
def test_a_loss_counts_beyond_its_limit(path: str, value: float | None, limit: float, key: str) -> None:
    assert not _reasons(_candidate(metrics={path: _less(value, limit)}))
    (reason,) = _reasons(_candidate(metrics={path: _less(value, limit + 0.001)}))
    assert reason.endswith(f"a loss above change_plan.{key} {limit}")


def test_calibration_counts_by_itself() -> None:
    (reason,) = _reasons(_candidate(metrics={"test.expected_calibration_error.value": 0.2}))
    assert reason.startswith("calibration error: 0.2, above change_plan.max_calibration_error")


def test_another_test_set_compares_nothing() -> None:
    (reason,) = _reasons(_candidate(metrics={"hashes.test": "f" * 64, "test.auroc.value": 0.1}))
    assert reason == f"test set: another one than {PLAN.assessed} was assessed on"


def test_a_figure_that_cannot_be_computed_is_a_loss() -> None:
    (reason,) = _reasons(_candidate(metrics={"test.auroc.value": None}))
    assert reason.startswith("AUROC: cannot be computed")


def test_robustness_counts_under_each_change() -> None:
    first = Robustness.read(FOLDER / "robustness.json").changes[0]
    (lost,) = _reasons(_candidate(auroc=_less(first.auroc, PLAN.max_robustness_loss + 0.001)))
    assert lost.startswith(f"AUROC under `{first.change}`")
    (refused,) = _reasons(_candidate(refused=first.refused + PLAN.max_more_refused + 0.001))
    assert refused.startswith(f"refused under `{first.change}`")


def test_a_change_that_was_left_out_of_the_benchmark_is_named() -> None:
    candidate = _candidate()
    shorter = candidate.changes.model_copy(update={"changes": candidate.changes.changes[1:]})
    (reason,) = _reasons(replace(candidate, changes=shorter))
    assert reason == f"robustness: not measured under {candidate.changes.changes[0].change}"


def test_another_list_of_what_a_header_may_name_is_outside() -> None:
    (reason,) = _reasons(replace(_candidate(), terms=Terms.for_regions(("hand",))))
    assert reason == "scope.json: lists other terms of a header"


def test_without_an_assessed_release_everything_is_outside(tmp_path: Path) -> None:
    (unnamed,) = _reasons(_candidate(), PLAN.model_copy(update={"assessed": ""}))
    assert "names no release as assessed" in unnamed
    (gone,) = _reasons(_candidate(), releases=tmp_path)
    assert gone.startswith(f"the assessed release {PLAN.assessed} cannot be read: ")
    assert "\n" not in gone
