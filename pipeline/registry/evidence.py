"""What speaks for a challenger beside the champion, and the gates of params.yaml on it: records and pure rules."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.evaluation.comparison import Comparison, rows, said
from pipeline.monitoring.shadow import Shadowed, ShadowReport
from pipeline.params import PromoteParams


@dataclass(frozen=True)
class Evidence:
    """Champion and challenger on the same images; text where a comparison was not possible says why."""

    champion: str
    challenger: str
    test: Comparison | str
    held_back: Mapping[str, Comparison] | str
    """By site."""
    shadow: ShadowReport | str


def faults(evidence: Evidence, options: PromoteParams) -> list[str]:
    """Every gate that the challenger fails, in words; empty when it passes."""
    parts = {"test": evidence.test, "held_back": evidence.held_back, "shadow": evidence.shadow}
    found = [
        f"{name} is required (promote.required) and was not compared: {why}"
        for name in options.required
        if isinstance(why := parts[name], str)
    ]
    if not isinstance(evidence.test, str):
        found += _worse(evidence.test, options.test_margin, "the test set", "test_margin")
    if not isinstance(evidence.held_back, str):
        for site, compared in evidence.held_back.items():
            if min(compared.fractured, compared.images - compared.fractured) >= options.held_back_fewest:
                where = f"the held-back images of {site or '(no site)'}"
                found += _worse(compared, options.held_back_margin, where, "held_back_margin")
    if not isinstance(evidence.shadow, str):
        found += _disagrees(evidence.shadow.groups[0], options)
    return found


def _worse(compared: Comparison, margin: float, where: str, key: str) -> list[str]:
    difference = compared.measures["auroc"].difference
    low = difference["low"]
    if low is None or low >= -margin:
        return []
    return [f"AUROC on {where} may be {-low:.3f} lower ({said(difference, signed=True)}); promote.{key} is {margin}"]


def _disagrees(shadow: Shadowed, options: PromoteParams) -> list[str]:
    high = shadow.agree["high"]
    if shadow.images < options.shadow_fewest or high is None or high >= options.shadow_agreement:
        return []
    return [
        f"in the shadow {said(shadow.agree)} of the images are answered alike; promote.shadow_agreement is "
        f"{options.shadow_agreement}"
    ]


def line(evidence: Evidence, found: list[str]) -> str:
    """The evidence in one line, which the promoted version keeps."""
    test = evidence.test
    told = test if isinstance(test, str) else f"AUROC {said(test.measures['auroc'].difference, signed=True)}"
    verdict = "passed" if not found else "failed: " + "; ".join(found)
    return f"against {evidence.champion} on the test set: {told}; {verdict}"


def markdown(evidence: Evidence, found: list[str]) -> str:
    """Everything that was compared, for the one who decides."""
    lines = [f"# {evidence.challenger} against the champion, {evidence.champion}", "", "## Test set", ""]
    lines += _table(evidence.test)
    lines += ["## Held-back confirmed images", ""]
    if isinstance(evidence.held_back, str):
        lines += [f"Not compared: {evidence.held_back}.", ""]
    else:
        for site, compared in evidence.held_back.items():
            lines += [f"### {site or '(no site)'}", "", *_table(compared)]
    lines += ["## In the shadow", ""]
    if isinstance(evidence.shadow, str):
        lines += [f"Not compared: {evidence.shadow}.", ""]
    else:
        for group in evidence.shadow.groups:
            lines += [f"### {group.group}: {group.images} images, answered alike {said(group.agree)}", ""]
            lines += [*rows(group.answers), ""]
            lines += _table(group.truth) if group.truth else []
    lines += ["## Gates", "", *(f"- {fault}" for fault in found or ["passed"]), ""]
    return "\n".join(lines)


def _table(compared: Comparison | str) -> list[str]:
    if isinstance(compared, str):
        return [f"Not compared: {compared}.", ""]
    counts = f"{compared.images} images, {compared.fractured} of them fractured, in {compared.groups} groups."
    return [counts, "", *rows(compared.measures), ""]
