"""A final report to the answers that it is about, in the gateway's own database, and from there to the store."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, Protocol

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from hospital.database import Answer, Database, Instance, Label, Version, now
from hospital.labels.reports import FinalReport, label_of
from serving.store.records import FeedbackRecord, Opinion

READER = "report"
"""Who says so in the store, for every report."""
_AT_ONCE = 100

Outcome = Literal["labelled", "withdrawn", "no_label", "no_study", "ambiguous_study", "another_patient", "no_answer"]
OUTCOMES: tuple[Outcome, ...] = (
    "labelled",
    "withdrawn",
    "no_label",
    "no_study",
    "ambiguous_study",
    "another_patient",
    "no_answer",
)


class Feedback(Protocol):
    """The store's table of opinions."""

    def add_feedback(self, row: FeedbackRecord) -> int: ...


def take(session: Session, report: FinalReport, codes: Mapping[str, str]) -> Outcome:
    """Note the label of every answer that a report is about, to be sent to the store; what became of the report.

    The label is that of the study, and each of its views gets it. A later report replaces it.
    """
    label = label_of(report, codes)
    if label is None and not report.withdrawn:
        return "no_label"
    studies = _studies(session, report)
    if len(studies) != 1:
        return "ambiguous_study" if studies else "no_study"
    (study_uid,) = studies
    if not _is_of_patient(session, study_uid, report.patient_ids):
        return "another_patient"
    said = None if report.withdrawn else label
    opinions = _opinions(_answers(session, study_uid), said)
    for answer_id, opinion in opinions:
        session.merge(Label(answer_id=answer_id, opinion=opinion, label=said or "", taken_at=now(), stored_at=None))
    if not opinions:
        return "no_answer"
    return "withdrawn" if report.withdrawn else "labelled"


def send(database: Database, store: Feedback, site: str) -> int:
    """Write labels that the store does not have yet; how many. What the store raises ends it, and nothing is lost.

    One that was written, but not noted as written, is written again: the store counts a reader's last word alone.
    """
    with database.reading() as session:
        chosen = select(Label).where(Label.stored_at.is_(None)).order_by(Label.taken_at).limit(_AT_ONCE)
        waiting = session.scalars(chosen).all()
    for row in waiting:
        store.add_feedback(
            FeedbackRecord(
                answer_id=row.answer_id,
                at=datetime.fromtimestamp(row.taken_at, UTC),
                site=site,
                reader=READER,
                source="report",
                opinion=row.opinion,
                label=row.label or None,
            )
        )
        with database.session() as session:
            same = (Label.answer_id == row.answer_id) & (Label.taken_at == row.taken_at)
            session.execute(update(Label).where(same).values(stored_at=now()))
    return len(waiting)


def _studies(session: Session, report: FinalReport) -> set[str]:
    """The studies that a report may mean: the one that it names, else those with its accession number and patient."""
    if report.study_uid:
        known = session.scalar(select(Instance.id).where(Instance.study_uid == report.study_uid).limit(1))
        return {report.study_uid} if known is not None else set()
    if not report.accession_numbers or not report.patient_ids:
        return set()
    number, patient = Version.patient["accession_number"].as_string(), Version.patient["id"].as_string()
    chosen = select(Version.study_uid).where(
        or_(*(number == one for one in sorted(report.accession_numbers))),
        or_(*(patient == one for one in sorted(report.patient_ids))),
    )
    return set(session.scalars(chosen))


def _is_of_patient(session: Session, study_uid: str, patient_ids: frozenset[str]) -> bool:
    """Whether a study is a report's patient's, as far as both say whose they are."""
    newest = session.scalar(
        select(Version).where(Version.study_uid == study_uid).order_by(Version.number.desc()).limit(1)
    )
    known = str(newest.patient.get("id", "")).strip() if newest is not None else ""
    return not known or not patient_ids or known in patient_ids


def _answers(session: Session, study_uid: str) -> Sequence[Answer]:
    """The answers to a study's views that somebody can name."""
    keys = select(Instance.answer_key).where(
        Instance.study_uid == study_uid, Instance.superseded.is_(False), Instance.state == "scored"
    )
    found = session.scalars(select(Answer).where(Answer.key.in_(keys)).order_by(Answer.key)).all()
    return [one for one in found if one.content.get("answer_id")]


def _opinions(answers: Sequence[Answer], label: str | None) -> list[tuple[str, Opinion]]:
    """What a label says of each answer whose model knows it: right, wrong, or nothing any more."""
    found: list[tuple[str, Opinion]] = []
    for one in answers:
        classes = list(one.content["probabilities"])  # the normal one first
        opinion: Opinion
        if label is None:
            opinion = "withdrawn"
        elif label not in classes:
            continue
        else:
            said = one.content["probability"] >= one.content["threshold"]
            opinion = "agree" if said == (label != classes[0]) else "disagree"
        found.append((one.content["answer_id"], opinion))
    return found
