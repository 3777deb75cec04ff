"""Which answered images have a truth: what readers and reports say of each, and where they contradict each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from serving.store.database import Database
from serving.store.errors import StoreError
from serving.store.records import AnswerRecord, FeedbackRecord

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class ConfirmedImage:
    """An image and its truth. `answers` are the answers that it got, the oldest first, `provenance` who says so."""

    answers: tuple[AnswerRecord, ...]
    label: str
    boxes: tuple[Corners, ...]
    provenance: str

    @property
    def first(self) -> AnswerRecord:
        """Its oldest answer, whose id becomes the image's."""
        return self.answers[0]

    @property
    def unit(self) -> tuple[str, str]:
        """Site and patient, or study or image where no patient is known: who is held back together."""
        row = self.first
        return row.site, row.patient or row.study or row.image_sha256 or row.answer_id


@dataclass(frozen=True)
class Conflict:
    """An image on which reports or, without a report, readers contradict each other; `votes` by who says so."""

    answer_id: str
    site: str
    votes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Confirmed:
    """All images of a store that somebody said something of; `undecided` have no truth and no conflict."""

    images: tuple[ConfirmedImage, ...]
    conflicts: tuple[Conflict, ...]
    undecided: int


def read(url: str, classes: Sequence[str]) -> Confirmed:
    """The confirmed images of a store; `classes` are those of data/, the normal one first. InputError."""
    try:
        database = Database(url)
        try:
            database.check()
            return confirm(database.answers_with_feedback(), database.opinions(), classes)
        finally:
            database.close()
    except StoreError as error:
        raise InputError(str(error)) from None


def confirm(answers: Sequence[AnswerRecord], opinions: Sequence[FeedbackRecord], classes: Sequence[str]) -> Confirmed:
    """The truth of each image, whatever the number of its answers; `answers` are sorted by time.

    A report counts before readers, and among equals all have to say the same. InputError for a label that is no class.
    """
    said: dict[str, list[FeedbackRecord]] = {}
    for opinion in opinions:
        said.setdefault(opinion.answer_id, []).append(opinion)
    by_image: dict[str, list[AnswerRecord]] = {}
    for row in answers:
        by_image.setdefault(row.image_sha256 or row.answer_id, []).append(row)
    images, conflicts, undecided = [], [], 0
    for rows in by_image.values():
        votes = [
            (vote, one)
            for row in rows
            for one in said.get(row.answer_id, ())
            if (vote := label_of(row, one, classes)) is not None
        ]
        reports = [(vote, one) for vote, one in votes if one.source == "report"]
        votes = reports or votes
        labels = {vote for vote, _ in votes}
        if len(labels) > 1:
            named = tuple((one.reader, vote) for vote, one in votes)
            conflicts.append(Conflict(rows[0].answer_id, rows[0].site, named))
        elif not labels:
            undecided += 1
        else:
            images.append(_confirmed(rows, labels.pop(), [one for _, one in votes], classes))
    return Confirmed(tuple(images), tuple(conflicts), undecided)


def label_of(row: AnswerRecord, said: FeedbackRecord, classes: Sequence[str]) -> str | None:
    """The class that an opinion names, else the one that agreeing or disagreeing means; None where it says none.

    Disagreeing with "normal" names no class where there are several kinds of fracture.
    """
    if said.label is not None:
        if said.label not in classes:
            raise InputError(
                f"answer {said.answer_id}: was labelled {said.label!r}, which is none of the classes of data/ "
                f"({', '.join(classes)})"
            )
        return said.label
    if said.opinion not in {"agree", "disagree"} or row.probability is None or row.threshold is None:
        return None
    fractured = (row.probability >= row.threshold) == (said.opinion == "agree")
    if not fractured:
        return classes[0]
    return classes[1] if len(classes) == 2 else None


def _confirmed(
    rows: Sequence[AnswerRecord], label: str, said: Sequence[FeedbackRecord], classes: Sequence[str]
) -> ConfirmedImage:
    drawn = [one.boxes for one in said if one.boxes] if label != classes[0] else []
    boxes = tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in drawn[-1]) if drawn else ()
    if said[0].source == "report":
        provenance = "report"
    else:
        provenance = "readers" if len({one.reader for one in said}) > 1 else "reader"
    return ConfirmedImage(tuple(rows), label, boxes, provenance)
