"""Answers in the store under the pseudonym of the patient whom a correction or a merge made theirs.

One person under two pseudonyms would be two patients to monitoring, and might be trained on and tested with.
"""

from collections.abc import Mapping
from typing import Protocol

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from hospital.database import Database, Renaming, now

_AT_ONCE = 100
_AGAIN_SECONDS = 60.0
"""Until a store that lacks an answer is asked again: it may still be on its way."""
_LONGEST_SECONDS = 86400.0
"""Then the answer is one that the store never got."""


class Answers(Protocol):
    """The store's table of answers."""

    def rename_patient(self, answer_id: str, patient: str) -> bool: ...


def note(session: Session, patients: Mapping[str, str]) -> None:
    """Let answers, by their id, bear patients' pseudonyms; in the transaction of the version that says so."""
    moment = now()
    for answer_id, patient in patients.items():
        session.merge(Renaming(answer_id=answer_id, patient=patient, told_at=moment, due_at=moment))


def send(database: Database, store: Answers) -> int:
    """Rename what is due in the store; how many answers. What the store raises ends it, and nothing is lost."""
    with database.reading() as session:
        chosen = select(Renaming).where(Renaming.due_at <= now()).order_by(Renaming.due_at).limit(_AT_ONCE)
        due = session.scalars(chosen).all()
    count = 0
    for row in due:
        renamed = store.rename_patient(row.answer_id, row.patient)
        count += renamed
        same = (Renaming.answer_id == row.answer_id) & (Renaming.patient == row.patient)
        settled = renamed or row.told_at <= now() - _LONGEST_SECONDS
        with database.session() as session:
            if settled:
                session.execute(delete(Renaming).where(same))
            else:
                session.execute(update(Renaming).where(same).values(due_at=now() + _AGAIN_SECONDS))
    return count
