"""Password hashes, the users who hold them, and the lock-out of those who guess."""

import os
from pathlib import Path

import pytest

from hospital.errors import HospitalError
from hospital.worklist import accounts
from hospital.worklist.accounts import Accounts, Lockout, PasswordHash
from tests.hospital.worklist.rows import PASSWORD, USERS


def test_hash_is_read_again_and_is_of_its_password_alone() -> None:
    made = PasswordHash.parse(str(PasswordHash.of(PASSWORD)))
    assert (made.is_of(PASSWORD), made.is_of(PASSWORD + "x")) == (True, False)


def test_same_password_has_another_hash_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "_LOG_N", 14)
    assert str(PasswordHash.of(PASSWORD)) != str(PasswordHash.of(PASSWORD))


@pytest.mark.parametrize(
    "text",
    [
        "plain", "$2b$12$abc", "$scrypt$ln=30,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg",
        "$scrypt$ln=1,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEy", "$scrypt$ln=15,r=8,p=3$MDEy$MDEy",
    ],
)  # fmt: skip
def test_what_is_no_hash_or_costs_too_much_or_too_little_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="scrypt"):
        PasswordHash.parse(text)


def test_user_logs_in_with_the_password_and_nobody_else_does() -> None:
    users = Accounts(None, USERS)
    assert [users.holds(*pair) for pair in (("reader", PASSWORD), ("reader", ""), ("nobody", PASSWORD))] == [
        True, False, False,
    ]  # fmt: skip


def test_unknown_name_costs_a_hash_like_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[PasswordHash] = []

    def note(self: PasswordHash, _: str) -> bool:
        asked.append(self)
        return False

    monkeypatch.setattr(PasswordHash, "is_of", note)
    users = Accounts(None, USERS)
    users.holds("nobody", "x")
    users.holds("reader", "x")
    assert [(one.log_n, one.r, one.p) for one in asked] == 2 * [(14, 8, 1)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "HOSPITAL_WORKLIST_USERS: the worklist needs a user"),
        ("reader", "entry 1 is no $scrypt$ hash"),
        (f"{USERS} {USERS}", "entry 2 has no name, or one that was given before"),
        ("a b:c", "entry 1"),
    ],
)
def test_unusable_users_have_one_line_that_repeats_no_hash(text: str, told: str) -> None:
    with pytest.raises(HospitalError) as raised:
        Accounts(None, text)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "MDEyMzQ1" not in str(raised.value)


def test_file_of_users_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(USERS)
    users = Accounts(path, "")
    path.write_text(USERS.replace("reader:", "second:"))
    os.utime(path, (1, 1))
    assert (users.is_known("reader"), users.is_known("second")) == (False, True)


def test_file_that_became_unusable_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(USERS)
    users = Accounts(path, "")
    path.write_text("garbage")
    os.utime(path, (1, 1))
    assert users.is_known("reader")


def test_missing_file_says_which_key_names_it(tmp_path: Path) -> None:
    with pytest.raises(HospitalError, match=r"worklist\.users: .*cannot be read"):
        Accounts(tmp_path / "none", "")


@pytest.mark.parametrize(("name", "password"), [("a:b", PASSWORD), ("reader", "short"), ("reader", "x" * 300)])
def test_new_user_needs_a_plain_name_and_a_long_password(name: str, password: str) -> None:
    with pytest.raises(HospitalError):
        accounts.check_new(name, password)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_name_is_locked_after_its_failures_and_free_again_later() -> None:
    clock = Clock()
    lockout = Lockout(3, 60, clock)
    assert [lockout.begin("a", f"10.0.0.{number}") for number in range(4)] == [0, 0, 0, 60]
    clock.now = 61
    assert lockout.begin("a", "10.0.0.1") == 0


def test_other_spelling_of_a_name_is_the_same_name() -> None:
    lockout = Lockout(1, 60)
    lockout.begin("reader", "10.0.0.1")
    assert lockout.begin("READER", "10.0.0.2") > 0


def test_address_is_locked_when_it_tries_many_names() -> None:
    lockout = Lockout(2, 60)
    waits = [lockout.begin(f"user{number}", "10.0.0.1") for number in range(9)]
    assert [bool(wait) for wait in waits] == [False] * 8 + [True]
    assert lockout.begin("user0", "10.0.0.2") == 0


def test_success_forgets_the_failures_of_a_name() -> None:
    lockout = Lockout(2, 60)
    for _ in range(5):
        assert lockout.begin("a", "10.0.0.1") == 0
        lockout.succeeded("a", "10.0.0.1")


def test_attempts_at_the_same_time_count_before_any_has_ended() -> None:
    lockout = Lockout(2, 60)
    assert [bool(lockout.begin("a", "10.0.0.1")) for _ in range(3)] == [False, False, True]


def test_names_without_end_take_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "_REMEMBERED", 10)
    lockout = Lockout(2, 60)
    for number in range(100):
        lockout.begin(f"user{number}", f"address{number}")
    assert len(lockout._failed) <= 10
