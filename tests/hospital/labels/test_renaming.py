"""Pseudonyms on their way to the answers in the store."""

import pytest

from hospital.database import Renaming
from hospital.labels import renaming
from hospital.parts import Parts
from serving.store.errors import StoreError


class Store:
    """Holds the answers that it is given, by id."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.is_away = False

    def rename_patient(self, answer_id: str, patient: str) -> bool:
        if self.is_away:
            raise StoreError("away")
        if answer_id not in self.answers:
            return False
        self.answers[answer_id] = patient
        return True


@pytest.fixture
def noted(parts: Parts) -> Parts:
    """Note that the answers a and b are those of the patient new."""
    with parts.database.session() as session:
        renaming.note(session, {"a": "new", "b": "new"})
    return parts


def put_back(parts: Parts, seconds: float) -> None:
    """Let everything that waits be as much older."""
    with parts.database.session() as session:
        for row in session.query(Renaming):
            row.told_at, row.due_at = row.told_at - seconds, row.due_at - seconds


def test_answers_are_renamed_once(noted: Parts) -> None:
    store = Store(a="old", b="old", c="old")
    assert renaming.send(noted.database, store) == 2
    assert store.answers == {"a": "new", "b": "new", "c": "old"}
    assert renaming.send(noted.database, store) == 0


def test_last_pseudonym_counts(noted: Parts) -> None:
    with noted.database.session() as session:
        renaming.note(session, {"a": "newer"})
    store = Store(a="old", b="old")
    renaming.send(noted.database, store)
    assert store.answers == {"a": "newer", "b": "new"}


def test_store_that_is_away_is_asked_again(noted: Parts) -> None:
    store = Store(a="old", b="old")
    store.is_away = True
    with pytest.raises(StoreError):
        renaming.send(noted.database, store)
    store.is_away = False
    assert renaming.send(noted.database, store) == 2


def test_answer_that_is_still_on_its_way_is_renamed_later(noted: Parts) -> None:
    store = Store(a="old")
    assert renaming.send(noted.database, store) == 1
    store.answers["b"] = "old"
    assert renaming.send(noted.database, store) == 0
    put_back(noted, 61)
    assert renaming.send(noted.database, store) == 1
    assert store.answers["b"] == "new"


def test_answer_that_the_store_never_got_is_forgotten_after_a_day(noted: Parts) -> None:
    put_back(noted, 86401)
    assert renaming.send(noted.database, Store()) == 0
    with noted.database.reading() as session:
        assert session.query(Renaming).count() == 0
