"""Whether a release stays within the change plan (docs/change-plan.md), whose limits stand in params.yaml."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluation.records import Metrics, Robustness
from pipeline.params import ChangePlanParams
from serving import bundle
from serving.bundle import Manifest
from serving.errors import BundleError
from serving.imaging.canvas import Preprocessing
from serving.scope import Terms

POINT = "at_high_sensitivity"
"""The operating point that readers work with, whose figures are limited."""


@dataclass(frozen=True)
class Assessed:
    """The release that was assessed, which the plan allows changes of."""

    name: str
    manifest: Manifest
    measured: Metrics
    changes: Robustness


@dataclass(frozen=True)
class Candidate:
    """What a new release would say of itself."""

    facts: Mapping[str, Any]
    """As `packaging.bundle.manifest_facts` gives them."""
    measured: Metrics
    changes: Robustness
    terms: Terms


@dataclass(frozen=True)
class Verdict:
    """Within the plan, or why not; `assessed` and `digest` name the release it was compared with, empty for none."""

    reasons: tuple[str, ...]
    assessed: str = ""
    digest: str = ""

    @property
    def within(self) -> bool:
        """Whether no new assessment is needed."""
        return not self.reasons

    def record(self) -> dict[str, Any]:
        """What the bundle says of it, among its quality."""
        return {
            "verdict": "within" if self.within else "outside",
            "reasons": list(self.reasons),
            "assessed": self.assessed,
            "assessed_digest": self.digest,
        }


def judge(candidate: Candidate, releases: Path, plan: ChangePlanParams) -> Verdict:
    """Compare a release in the making with the one that params.yaml names as assessed, in the folder `releases`."""
    if not plan.assessed:
        return Verdict(("params.yaml names no release as assessed (change_plan.assessed)",))
    folder = releases / plan.assessed
    try:
        opened = bundle.read(folder, unsigned=True)
        manifest = opened.manifest
        assessed = Assessed(
            plan.assessed, manifest, Metrics.read(folder / "metrics.json"), Robustness.read(folder / "robustness.json")
        )
    except (BundleError, InputError) as error:
        return Verdict((f"the assessed release {plan.assessed} cannot be read: {error}",))
    scope = ("scope.json: lists other terms of a header",) if candidate.terms != opened.scope.terms else ()
    reasons = (*_kept(candidate.facts, manifest), *scope, *_figures(candidate, assessed, plan))
    return Verdict(tuple(reasons), assessed.name, manifest.digest)


def _kept(facts: Mapping[str, Any], before: Manifest) -> Iterator[str]:
    """What the plan does not let change at all."""
    for name, new, old in (
        ("architecture", facts["architecture"], before.architecture),
        ("classes", list(facts["classes"]), list(before.classes)),
        ("preprocessing", _complete(facts["preprocessing"]), _complete(before.preprocessing)),
    ):
        if new != old:
            yield f"{name}: {_shown(new)} instead of {_shown(old)}"
    intended = facts["intended"]
    for name, shown in (("regions", before.intended.regions), ("views", before.intended.views)):
        new_ones, gone = sorted(set(intended[name]) - set(shown)), sorted(set(shown) - set(intended[name]))
        if new_ones:
            yield f"intended {name}: also {', '.join(new_ones)}"
        if gone:
            yield f"intended {name}: no longer {', '.join(gone)}"
    if intended["use"] != before.intended.use:
        yield "intended use: its words changed"
    if facts["trained_on"]["synthetic"]:
        yield "it was trained on synthetic data"
    if forced := facts["origin"]["forced"]:
        yield f"its gates were passed over by {forced['by']}: {forced['reason']}"


def _figures(candidate: Candidate, assessed: Assessed, plan: ChangePlanParams) -> Iterator[str]:
    """Limits on what was measured; losses count on the same test set only, and without one there is no comparison."""
    new, old = candidate.measured, assessed.measured
    if new.hashes.test != old.hashes.test:
        yield f"test set: another one than {assessed.name} was assessed on"
        return
    yield from _loss("AUROC", new.test.auroc.value, old.test.auroc.value, plan.max_auroc_loss, "max_auroc_loss")
    now, before = new.test.point(POINT), old.test.point(POINT)
    yield from _loss(
        "sensitivity at high sensitivity",
        now.sensitivity.value,
        before.sensitivity.value,
        plan.max_sensitivity_loss,
        "max_sensitivity_loss",
    )
    yield from _loss(
        "specificity at high sensitivity",
        now.specificity.value,
        before.specificity.value,
        plan.max_specificity_loss,
        "max_specificity_loss",
    )
    error = new.test.estimate("expected_calibration_error").value
    if error is None or error > plan.max_calibration_error:
        yield f"calibration error: {error}, above change_plan.max_calibration_error {plan.max_calibration_error}"
    weak = set(candidate.facts["quality"]["weak_regions"]) - set(assessed.manifest.weak_regions)
    if weak:
        yield f"no longer shown to be good for: {', '.join(sorted(weak))}"
    yield from _robustness(candidate.changes, assessed.changes, plan)


def _robustness(new: Robustness, old: Robustness, plan: ChangePlanParams) -> Iterator[str]:
    """Losses under each change of the benchmark that was asked of both."""
    before = {each.change: each for each in old.changes}
    for each in new.changes:
        if each.change not in before:
            continue
        known = before[each.change]
        yield from _loss(
            f"AUROC under `{each.change}`", each.auroc, known.auroc, plan.max_robustness_loss, "max_robustness_loss"
        )
        if each.refused - known.refused > plan.max_more_refused:
            yield (
                f"refused under `{each.change}`: {each.refused:.3f} instead of {known.refused:.3f}, more than "
                f"change_plan.max_more_refused {plan.max_more_refused}"
            )
    gone = set(before) - {each.change for each in new.changes}
    if gone:
        yield f"robustness: not measured under {', '.join(sorted(gone))}"


def _loss(what: str, new: float | None, old: float | None, most: float, key: str) -> Iterator[str]:
    if old is None:
        return
    if new is None:
        yield f"{what}: cannot be computed, was {old:.3f}"
    elif round(old - new, 6) > most:
        yield f"{what}: {new:.3f} instead of {old:.3f}, a loss above change_plan.{key} {most}"


def _complete(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """With the steps that bundles of schema 1 do not name."""
    return Preprocessing.from_dict(dict(preprocessing)).to_dict()


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
