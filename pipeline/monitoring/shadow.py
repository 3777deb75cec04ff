"""The report of `fracture monitor --shadow`: the served model and one in its shadow, on the same images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.evaluation import comparison, metrics
from pipeline.evaluation.comparison import Answers, Comparison, Measured, Pair, paired, said, share
from pipeline.monitoring.window import UNKNOWN, Window, patient_of, window_of
from serving.store.database import Database
from serving.store.errors import StoreError
from serving.store.records import AnswerRecord, ShadowRecord

ALL = "all"
FEWEST_TRUTHS = 20
"""Images with a truth below which nothing is measured."""
ASSUMPTIONS = (
    "Only images that the shadow had time for are compared; both models saw the same ones.",
    "Intervals are paired: images of a patient are drawn together, for both models at once (1000 resamples).",
    "A truth from a reader who had seen the served model's answer leans towards it; `blind` counts those who had not.",
)


@dataclass(frozen=True)
class Shadowed:
    """One group of images that both models met; `refused` are those without an answer from one of them."""

    group: str
    images: int
    agree: Measured
    """Share of images that both answer alike, with Wilson's interval."""
    refused: dict[str, int]
    answers: dict[str, Pair]
    """Share answered as a fracture, and mean probability."""
    truth: Comparison | None
    blind: int


@dataclass(frozen=True)
class ShadowReport:
    """One served model and one in its shadow, from `since` until before `until`."""

    since: str
    until: str
    champion: str
    challenger: str
    seconds: float | None
    """Median time that an answer took the shadow."""
    groups: Sequence[Shadowed]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "groups": [asdict(group) for group in self.groups], "assumptions": list(ASSUMPTIONS)}


def read(url: str, since: datetime, until: datetime, normal: str) -> list[ShadowReport]:
    """One report for each pair of models that answered the same images of a time, the most images first.

    `normal` is the class of normal images. InputError for a store that fails.
    """
    try:
        database = Database(url)
        try:
            database.check()
            rows, shadows = database.answers(since, until), database.shadows(since, until)
            opinions = database.opinions() if shadows else []
        finally:
            database.close()
    except StoreError as error:
        raise InputError(str(error)) from None
    return build(window_of(rows, opinions, since, until, normal), shadows)


def build(window: Window, shadows: Sequence[ShadowRecord]) -> list[ShadowReport]:
    """The reports of the pairs of models in a window's answers and the shadows of these."""
    served = {row.answer_id: row for row in window.rows}
    pairs: dict[tuple[str, str], list[tuple[AnswerRecord, ShadowRecord]]] = {}
    for shadow in shadows:
        row = served.get(shadow.answer_id)
        if row is not None and row.model_sha256 != shadow.model_sha256:
            pairs.setdefault((_name(row), _name(shadow)), []).append((row, shadow))
    reports = [
        ShadowReport(
            since=window.since.isoformat(timespec="seconds"),
            until=window.until.isoformat(timespec="seconds"),
            champion=champion,
            challenger=challenger,
            seconds=metrics.number(np.median([shadow.seconds or 0 for _, shadow in both])),
            groups=[_group(ALL, both, window), *_by_site(both, window)],
        )
        for (champion, challenger), both in pairs.items()
    ]
    return sorted(reports, key=lambda report: -report.groups[0].images)


def _name(row: AnswerRecord | ShadowRecord) -> str:
    return f"{row.model_name} version {row.model_version} ({row.model_sha256[:8]})"


def _by_site(both: Sequence[tuple[AnswerRecord, ShadowRecord]], window: Window) -> list[Shadowed]:
    sites = sorted({row.site for row, _ in both})
    if len(sites) < 2:
        return []
    return [
        _group(f"site {site or UNKNOWN}", [pair for pair in both if pair[0].site == site], window) for site in sites
    ]


def _group(name: str, both: Sequence[tuple[AnswerRecord, ShadowRecord]], window: Window) -> Shadowed:
    answered = [(row, shadow) for row, shadow in both if row.refused is None and shadow.refused is None]
    champion, challenger = _answers([row for row, _ in answered]), _answers([shadow for _, shadow in answered])
    groups = np.array([patient_of(row) for row, _ in answered])
    answers: dict[str, Pair] = {}
    if answered:
        weights = metrics.bootstrap_weights(groups, comparison.RESAMPLES, 0)

        def mean(first: Any, second: Any) -> Pair:
            return paired(lambda w: share(w * first, w), lambda w: share(w * second, w), weights)

        answers = {
            "answered as a fracture": mean(champion.positive, challenger.positive),
            "mean probability": mean(champion.probabilities, challenger.probabilities),
        }
    true = [number for number, (row, _) in enumerate(answered) if row.answer_id in window.truths]
    truths = [window.truths[answered[number][0].answer_id] for number in true]
    y = np.array([truth.fractured for truth in truths], np.int64)
    return Shadowed(
        group=name,
        images=len(answered),
        agree=metrics.wilson(int((champion.positive == challenger.positive).sum()), len(answered)),
        refused={
            "by the served model only": sum(row.refused is not None and one.refused is None for row, one in both),
            "by the shadow only": sum(row.refused is None and one.refused is not None for row, one in both),
            "by both": sum(row.refused is not None and one.refused is not None for row, one in both),
        },
        answers=answers,
        truth=comparison.compare(y, _some(champion, true), _some(challenger, true), groups[true])
        if len(true) >= FEWEST_TRUTHS
        else None,
        blind=sum(_is_blind(answered[number][0].answer_id, window) for number in true),
    )


def _answers(rows: Sequence[AnswerRecord] | Sequence[ShadowRecord]) -> Answers:
    probabilities = np.array([row.probability for row in rows], np.float64)
    return Answers(probabilities, probabilities >= np.array([row.threshold for row in rows], np.float64))


def _some(answers: Answers, chosen: Sequence[int]) -> Answers:
    return Answers(answers.probabilities[list(chosen)], answers.positive[list(chosen)])


def _is_blind(answer_id: str, window: Window) -> bool:
    """Whether somebody judged the image, and nobody after the answer was seen, as far as is known."""
    return all(one.source == "report" or one.saw_answer is False for one in window.opinions[answer_id])


def markdown(reports: Sequence[ShadowReport]) -> str:
    """The reports as Markdown."""
    lines: list[str] = []
    for report in reports:
        lines += [
            f"# In the shadow, {report.since[:10]} to {report.until[:10]}",
            "",
            f"Champion (served): {report.champion}. Challenger (in its shadow): {report.challenger}, "
            f"{1000 * (report.seconds or 0):.0f} ms an image (median).",
            "",
        ]
        for group in report.groups:
            refused = ", ".join(f"{count} {who}" for who, count in group.refused.items())
            lines += [
                f"## {group.group.capitalize()}: {group.images} images",
                "",
                f"Answered alike: {said(group.agree)}. Refused: {refused}.",
                "",
                *comparison.rows(group.answers),
                "",
            ]
            if group.truth:
                truth = f"{group.truth.images} images, {group.truth.fractured} of them fractured"
                lines += [
                    f"With a truth: {truth}; {group.blind} judged without the answer.",
                    "",
                    *comparison.rows(group.truth.measures),
                    "",
                ]
    return "\n".join([*lines, "## Assumptions", "", *(f"- {text}" for text in ASSUMPTIONS), ""])
