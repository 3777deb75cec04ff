"""Pseudonyms under a key."""

import uuid

import pytest

from serving.errors import SettingsError
from serving.imaging.dicom.deidentify.pseudonyms import VARIABLE, Key

ONE, OTHER = Key(b"1" * 32), Key(b"2" * 32)


def test_the_same_key_gives_the_same_uid() -> None:
    assert ONE.uid("1.2.3") == Key(b"1" * 32).uid("1.2.3")


def test_another_key_gives_another_uid() -> None:
    assert ONE.uid("1.2.3") != OTHER.uid("1.2.3")


def test_a_uid_is_a_uuid_below_2_25_of_at_most_64_characters() -> None:
    found = ONE.uid("1.2.3")
    assert len(found) <= 64
    assert uuid.UUID(int=int(found.removeprefix("2.25."))).version == 4


def test_kinds_do_not_share_pseudonyms() -> None:
    assert len({ONE.patient("x")[1:], ONE.study("x")[1:], ONE.image("x")}) == 3


def test_the_days_between_two_dates_of_a_patient_stay() -> None:
    assert int(ONE.shifted("20240131", "p")) < 20240131
    first, second = (ONE.shifted(day, "p") for day in ("20240228", "20240301"))
    from datetime import date

    assert (date.fromisoformat(second) - date.fromisoformat(first)).days == 2


def test_patients_dates_move_by_different_days() -> None:
    assert len({ONE.days(f"p{number}") for number in range(50)}) > 40


def test_every_date_moves() -> None:
    assert all(1 <= ONE.days(f"p{number}") <= 3652 for number in range(500))


@pytest.mark.parametrize(
    "day",
    ["", "2024", "20241301", "2024-01-01", "\u0662" * 8, "00010101", "Doe^Jane"],
)
def test_what_is_no_date_becomes_empty(day: str) -> None:
    assert ONE.shifted(day, "p") == ""


def test_a_key_does_not_show_its_secret() -> None:
    assert "1111" not in repr(ONE)


@pytest.mark.parametrize("given", ["", "short"])
def test_a_missing_or_short_key_has_one_line_that_says_how_to_make_one(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(SettingsError, match="openssl rand -hex 32") as caught:
        Key.from_environment()
    assert "\n" not in str(caught.value)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1" * 32)
    assert Key.from_environment() == ONE
