"""The answers of a span of time, and what became of them, from the store of a service."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from pipeline.errors import InputError
from serving.store.database import Database
from serving.store.errors import StoreError
from serving.store.features import SUMMARY, unpacked
from serving.store.records import AnswerRecord, FeedbackRecord

Array = npt.NDArray[np.float64]

UNKNOWN = "(unknown)"


@dataclass(frozen=True)
class Truth:
    """Whether an answered image shows a fracture, as readers or a report say; `from_report` tells which."""

    fractured: bool
    from_report: bool


@dataclass(frozen=True)
class Window:
    """Answers from `since` until before `until`, with the opinions on them by answer_id.

    `scoring` names what `fracture score` wrote, whose answers have no time, and is empty for those of a store.
    """

    since: datetime
    until: datetime
    rows: Sequence[AnswerRecord]
    opinions: Mapping[str, Sequence[FeedbackRecord]]
    truths: Mapping[str, Truth] = field(default_factory=dict)
    conflicts: Sequence[str] = ()
    scoring: str = ""

    @property
    def answered(self) -> list[AnswerRecord]:
        """Rows that are no refusals."""
        return [row for row in self.rows if row.refused is None]

    @property
    def refused(self) -> Counter[str]:
        """Refusals by code."""
        return Counter(row.refused for row in self.rows if row.refused is not None)

    def where(self, dimension: str, value: str) -> "Window":
        """The part of one site, region or model. Refusals have no region."""
        chosen = [row for row in self.rows if value_of(row, dimension) == value]
        ids = {row.answer_id for row in chosen}
        return Window(
            self.since,
            self.until,
            chosen,
            {key: said for key, said in self.opinions.items() if key in ids},
            {key: truth for key, truth in self.truths.items() if key in ids},
            [key for key in self.conflicts if key in ids],
            self.scoring,
        )

    def values(self, dimension: str) -> list[str]:
        """The sites, regions or models that occur, in order."""
        return sorted({value_of(row, dimension) for row in self.rows})

    def patients(self) -> int:
        """How many patients the answers are of; those of whom nothing is known count one an image."""
        return len({patient_of(row) for row in self.answered})

    def probabilities(self) -> Array:
        """Of the answers, float64 (n,)."""
        return np.array([row.probability for row in self.answered], np.float64)

    def statistic(self, name: str) -> Array:
        """One of the input statistics of the answers that have it, float64 (n,)."""
        found = [(row.statistics or {}).get(name) for row in self.answered]
        return np.array([value for value in found if value is not None], np.float64)

    def features(self) -> Array:
        """Summaries of the features, float64 (n, SUMMARY), of the answers that have one of this program's form."""
        found = []
        for row in self.answered:
            try:
                found.append(unpacked(row.features or b""))
            except ValueError:
                continue
        return np.array(found, np.float64).reshape(-1, SUMMARY)


def patient_of(row: AnswerRecord) -> str:
    """What images of one patient have in common: pseudonym, else study, else content."""
    return row.patient or row.study or row.image_sha256 or row.answer_id


def value_of(row: AnswerRecord, dimension: str) -> str:
    """Site, region, or version and hash of the model."""
    if dimension == "model":
        return f"{row.model_version} ({row.model_sha256[:8]})"
    return (row.site if dimension == "site" else row.region) or UNKNOWN


def read_windows(url: str, until: datetime, length: timedelta, classes: Sequence[str]) -> tuple[Window, Window]:
    """The answers of the time up to `until`, and those of as long before; InputError for a store that fails."""
    try:
        database = Database(url)
        try:
            database.check()
            rows = database.answers(until - 2 * length, until)
            opinions = database.opinions()
        finally:
            database.close()
    except StoreError as error:
        raise InputError(str(error)) from None
    middle = until - length
    now, before = ([row for row in rows if (row.at >= middle) == late] for late in (True, False))
    return (
        window_of(now, opinions, middle, until, classes[0]),
        window_of(before, opinions, middle - length, middle, classes[0]),
    )


def window_of(
    rows: Sequence[AnswerRecord], opinions: Iterable[FeedbackRecord], since: datetime, until: datetime, normal: str
) -> Window:
    """A window with the truths that follow from the opinions; `normal` is the model's class of normal images."""
    known = {row.answer_id: row for row in rows if row.refused is None}
    by_answer: dict[str, list[FeedbackRecord]] = {}
    for opinion in opinions:
        if opinion.answer_id in known:
            by_answer.setdefault(opinion.answer_id, []).append(opinion)
    truths, conflicts = {}, []
    for answer_id, said in by_answer.items():
        found = _truth(known[answer_id], said, normal)
        if found == "conflict":
            conflicts.append(answer_id)
        elif isinstance(found, Truth):
            truths[answer_id] = found
    return Window(since, until, rows, by_answer, truths, conflicts)


def _truth(row: AnswerRecord, said: Sequence[FeedbackRecord], normal: str) -> Truth | str | None:
    """A report counts before readers; among equals, all have to say the same, else it is a conflict."""
    reported = [one for one in said if one.source == "report"]
    votes = {vote for one in (reported or said) if (vote := _vote(row, one, normal)) is not None}
    if len(votes) > 1:
        return "conflict"
    return Truth(votes.pop(), bool(reported)) if votes else None


def _vote(row: AnswerRecord, said: FeedbackRecord, normal: str) -> bool | None:
    """Whether somebody says that there is a fracture: by the final label, else by what agreeing to the answer means."""
    if said.label is not None:
        return said.label != normal
    if said.opinion == "unsure" or row.probability is None or row.threshold is None:
        return None
    return (row.probability >= row.threshold) == (said.opinion == "agree")
