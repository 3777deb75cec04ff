"""The report of `fracture monitor`: what happened in a span of time, for each site, region and model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.monitoring import changes, performance
from pipeline.monitoring.changes import FALSE_DISCOVERIES, Change
from pipeline.monitoring.drift import FEWEST
from pipeline.monitoring.performance import Agreement, Estimate, Performance
from pipeline.monitoring.window import Window
from serving.bundle import Bundle

ALL = "all"
_SHOWN = 12
"""Changes that the text lists of each group; the JSON holds all."""

ASSUMPTIONS = (
    "Images of one patient, where patients or studies are known, count once in what makes a change certain; refusals "
    "count each.",
    "Measures with truth hold for the images that readers or reports came back on; the others may be different.",
    "The estimate without truth holds while the calibration holds. It sees that images became harder or fractures "
    "rarer, not that the same picture now means something else.",
    "Scores are compared with those of the validation set, features and input statistics with the training set's.",
    "Features are compared as 32 random directions; their spread in training is not known, so that of the later "
    "answers stands for it.",
)


@dataclass(frozen=True)
class Group:
    """What is said of all answers, or of those of one site, region or model."""

    name: str
    answers: int
    before: int
    refused: dict[str, int]
    suspicion: dict[str, int]
    changes: Sequence[Change]
    agreement: Agreement
    performance: Performance | None
    estimate: Estimate | None

    @property
    def moved(self) -> list[Change]:
        """The changes that are neither chance nor too small to matter."""
        return [change for change in self.changes if change.moved]


@dataclass(frozen=True)
class MonitorReport:
    """Everything, ready to be written."""

    title: str
    compared: str
    """With what, as a sentence."""
    earlier: str
    """What `before` stands for in a change: the time before, or an earlier scoring."""
    since: str
    until: str
    model: str
    groups: Sequence[Group]
    comparisons: int

    @property
    def outcome(self) -> str:
        """What to say where no change is listed: that all is still, or that too few answers say nothing."""
        if self.comparisons:
            return "Nothing moved."
        return f"Nothing was compared: no group has {FEWEST} answers of this model, or {FEWEST} at both times."

    @property
    def moved(self) -> list[Change]:
        """Of all groups, the largest first."""
        found = [change for group in self.groups for change in group.moved]
        return sorted(found, key=lambda change: -change.size / change.least)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "since": self.since,
            "until": self.until,
            "model": self.model,
            "comparisons": self.comparisons,
            "false_discovery_rate": FALSE_DISCOVERIES,
            "moved": [f"{change.group}: {change.what} against {change.against}" for change in self.moved],
            "groups": [_group(group) for group in self.groups],
            "assumptions": list(ASSUMPTIONS),
        }


def build(now: Window, before: Window, bundle: Bundle, by: Sequence[str]) -> MonitorReport:
    """Compare `now` with the bundle's training and with `before`; for all answers, and for each value of `by`."""
    parts = [(ALL, now, before)]
    for dimension in by:
        parts += [
            (f"{dimension} {value}", now.where(dimension, value), before.where(dimension, value))
            for value in now.values(dimension)
        ]
    found = [
        change
        for name, late, early in parts
        for change in (*changes.against_training(name, late, bundle), *changes.against_before(name, late, early))
    ]
    found = changes.corrected(found)
    model = f"{bundle.manifest.name} version {bundle.manifest.version} ({bundle.sha256[:8]})"
    earlier = "as long a time before" if not now.scoring else before.scoring
    return MonitorReport(
        title=f"Monitoring, {now.scoring or f'{now.since.date()} to {now.until.date()}'}",
        compared=f"Compared with the training of {model}{earlier and f', and with {earlier}'}.",
        earlier=before.scoring or "the time before",
        since=now.since.isoformat(timespec="seconds"),
        until=now.until.isoformat(timespec="seconds"),
        model=model,
        groups=[
            Group(
                name=name,
                answers=len(late.answered),
                before=len(early.answered),
                refused=dict(sorted(late.refused.items())),
                suspicion={
                    level: sum(row.suspicion == level for row in late.answered)
                    for level in ("none", "possible", "high")
                },
                changes=[change for change in found if change.group == name],
                agreement=performance.agreement(late),
                performance=performance.measured(late),
                estimate=performance.estimated(late),
            )
            for name, late, early in parts
        ],
        comparisons=len(found),
    )


def markdown(report: MonitorReport) -> str:
    """The report as Markdown."""
    lines = [
        f"# {report.title}",
        "",
        f"{report.compared} "
        f"{report.comparisons} comparisons; of those called moved about {FALSE_DISCOVERIES:.0%} are chance.",
        "",
    ]
    if report.moved:
        lines += ["**Moved:**", "", *(f"- {_words(change, report.earlier)}" for change in report.moved[:_SHOWN]), ""]
        if len(report.moved) > _SHOWN:
            lines += [f"and {len(report.moved) - _SHOWN} more; the JSON lists all.", ""]
    else:
        lines += [f"**{report.outcome}**", ""]
    rows = [_row(group) for group in report.groups]
    head = ["", "answers", "before", "refused", "high suspicion", "readers agree", "moved", "fractures expected"]
    lines += [_table(head), _table(["---"] * len(head)), *map(_table, rows), ""]
    for group in report.groups:
        if group.performance or group.agreement.conflicts:
            lines += _truth(group)
    return "\n".join([*lines, "## Assumptions", "", *(f"- {text}" for text in ASSUMPTIONS), ""])


def _words(change: Change, earlier: str) -> str:
    against = "training" if change.against == "training" else earlier
    return (
        f"{change.group}: {change.what} against {against}, {change.before:.3g} to {change.after:.3g} "
        f"(size {change.size:.2f}, from {change.least:g} on it matters; adjusted p {_p(change.adjusted)})"
    )


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-6 else "below 1e-6"


def _row(group: Group) -> list[str]:
    refused = sum(group.refused.values())
    total = group.answers + refused
    expected = group.estimate.measures["fractured"] if group.estimate else None
    return [
        group.name,
        str(group.answers),
        str(group.before),
        f"{refused} ({refused / total:.1%})" if total else "0",
        f"{group.suspicion['high'] / group.answers:.1%}" if group.answers else "",
        said(group.agreement.share),
        str(len(group.moved)),
        said(expected) if expected else "",
    ]


def said(measure: dict[str, float | None]) -> str:
    """A measure with its interval, in words; empty where undefined."""
    value, low, high = measure["value"], measure["low"], measure["high"]
    if value is None:
        return ""
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _truth(group: Group) -> list[str]:
    lines = [f"## Truth of {group.name}", ""]
    found = group.performance
    if found:
        lines += [
            f"{found.images} images ({found.of_answers:.1%} of the answers), {found.fractured} of them fractured, "
            f"{found.from_reports} by a final report.",
            "",
            _table(["", "with truth", "estimated without"]),
            _table(["---"] * 3),
        ]
        guessed = group.estimate.measures if group.estimate else {}
        lines += [
            _table([name, said(measure), said(guessed[name]) if name in guessed else ""])
            for name, measure in found.measures.items()
        ]
        lines.append("")
    if group.agreement.conflicts:
        lines += [f"{group.agreement.conflicts} images on which readers contradict each other are left out.", ""]
    return lines


def _table(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "answers": group.answers,
        "answers_before": group.before,
        "refused": group.refused,
        "suspicion": group.suspicion,
        "agreement": asdict(group.agreement),
        "performance": asdict(group.performance) if group.performance else None,
        "estimate": asdict(group.estimate) if group.estimate else None,
        "changes": [
            {
                key: round(value, 6) if isinstance(value, float) and key not in {"p", "adjusted"} else value
                for key, value in asdict(change).items()
                if key != "group"
            }
            | {"moved": change.moved}
            for change in group.changes
        ],
    }
