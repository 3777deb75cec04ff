"""Final reports to the answers that they are about, and the labels on their way to the store."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from hospital import retention
from hospital.database import Answer, Instance, Label, Version
from hospital.labels import matching
from hospital.labels.reports import FinalReport
from hospital.parts import Parts
from serving.store.errors import StoreError
from serving.store.records import FeedbackRecord

CODES = {"NEG": "normal", "POS": "fractured"}
NEGATIVE = FinalReport(study_uid="1.2.3", codes=frozenset({"NEG", "55110-1"}))


def studied(parts: Parts, uid: str = "1.2.3", probabilities: Sequence[float] = (0.9,), **patient: str) -> None:
    """Put in a study whose views have answers; patient and accession number may be others."""
    with parts.database.session() as session:
        for number, probability in enumerate(probabilities):
            key = f"{uid}-{number}"
            content: dict[str, Any] = {
                "answer_id": f"answer of {key}",
                "probability": probability,
                "threshold": 0.5,
                "probabilities": {"normal": 1 - probability, "fractured": probability},
            }
            session.add(Answer(key=key, content=content, made_at=1))
            session.add(
                Instance(
                    sop_instance_uid=key, sop_class_uid="c", digest=key, study_uid=uid, path="p", size=1,
                    calling_ae_title="a", gateway="gateway", received_at=1, state="scored", answer_key=key,
                )
            )  # fmt: skip
        session.add(
            Version(
                study_uid=uid, number=1, sources="s", made_at=1, first_received_at=1, last_received_at=1, summary={},
                patient={"id": "4711", "accession_number": "A1", **patient}, probability=None, delivered_at=None,
            )
        )  # fmt: skip


def take(parts: Parts, report: FinalReport) -> str:
    with parts.database.session() as session:
        return matching.take(session, report, CODES)


class Store:
    """The store's opinions in a list; it fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.rows: list[FeedbackRecord] = []
        self._failures = failures

    def add_feedback(self, row: FeedbackRecord) -> int:
        if self._failures:
            self._failures -= 1
            raise StoreError("the store is away")
        self.rows.append(row)
        return 1


def send(parts: Parts, store: Store) -> list[tuple[str, str, str | None]]:
    """What reaches the store."""
    matching.send(parts.database, store, "north")
    return [(row.answer_id, row.opinion, row.label) for row in store.rows]


def test_every_view_of_the_study_gets_the_label_and_an_opinion_of_its_answer(parts: Parts) -> None:
    studied(parts, probabilities=(0.9, 0.1))
    assert take(parts, NEGATIVE) == "labelled"
    assert send(parts, Store()) == [
        ("answer of 1.2.3-0", "disagree", "normal"),
        ("answer of 1.2.3-1", "agree", "normal"),
    ]


def test_nothing_but_label_and_answer_reaches_the_store(parts: Parts) -> None:
    studied(parts)
    take(parts, FinalReport("1.2.3", frozenset({"A1"}), frozenset({"4711"}), frozenset({"POS"})))
    store = Store()
    send(parts, store)
    (row,) = store.rows
    assert row == FeedbackRecord(
        answer_id="answer of 1.2.3-0", at=row.at, site="north", reader="report", source="report", opinion="agree",
        label="fractured",
    )  # fmt: skip
    assert abs((row.at - datetime.now(UTC)).total_seconds()) < 60


@pytest.mark.parametrize(
    ("report", "outcome"),
    [
        (FinalReport("", frozenset({"A1"}), frozenset({"4711"}), frozenset({"NEG"})), "labelled"),
        (FinalReport("", frozenset({"A1"}), frozenset({"4712"}), frozenset({"NEG"})), "no_study"),
        (FinalReport("", frozenset({"A1"}), frozenset(), frozenset({"NEG"})), "no_study"),
        (FinalReport("1.2.4", frozenset({"A1"}), frozenset({"4711"}), frozenset({"NEG"})), "no_study"),
        (FinalReport("1.2.3", frozenset(), frozenset({"4712"}), frozenset({"NEG"})), "another_patient"),
        (FinalReport("1.2.3", codes=frozenset({"NEG", "POS"})), "no_label"),
        (FinalReport("1.2.3", codes=frozenset({"OTHER"})), "no_label"),
    ],
)
def test_a_report_counts_only_where_study_and_patient_and_label_are_certain(
    parts: Parts, report: FinalReport, outcome: str
) -> None:
    studied(parts)
    assert take(parts, report) == outcome
    assert bool(send(parts, Store())) == (outcome == "labelled")


def test_two_studies_with_one_accession_number_are_told_apart_by_no_guess(parts: Parts) -> None:
    studied(parts)
    studied(parts, uid="1.2.4")
    report = FinalReport("", frozenset({"A1"}), frozenset({"4711"}), frozenset({"NEG"}))
    assert take(parts, report) == "ambiguous_study"


def test_a_corrected_report_replaces_the_label_and_a_withdrawn_one_takes_it_back(parts: Parts) -> None:
    studied(parts)
    store = Store()
    take(parts, NEGATIVE)
    send(parts, store)
    take(parts, FinalReport("1.2.3", codes=frozenset({"POS"})))
    send(parts, store)
    assert take(parts, FinalReport("1.2.3", withdrawn=True)) == "withdrawn"
    assert [(opinion, label) for _, opinion, label in send(parts, store)] == [
        ("disagree", "normal"),
        ("agree", "fractured"),
        ("withdrawn", None),
    ]


def test_labels_wait_for_a_store_that_is_away_and_are_sent_once(parts: Parts) -> None:
    studied(parts, probabilities=(0.9, 0.1))
    take(parts, NEGATIVE)
    store = Store(failures=1)
    with pytest.raises(StoreError):
        send(parts, store)
    assert len(send(parts, store)) == 2
    assert len(send(parts, store)) == 2


def test_a_purged_study_has_no_answers_left_and_its_labels_still_go_out(parts: Parts) -> None:
    studied(parts)
    take(parts, NEGATIVE)
    retention.purge(parts, 0)
    assert take(parts, NEGATIVE) == "no_answer"
    assert len(send(parts, Store())) == 1
    with parts.database.session() as session:
        (row,) = session.scalars(select(Label))
    assert row.stored_at is not None
