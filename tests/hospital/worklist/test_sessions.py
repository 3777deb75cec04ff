"""How long a login lasts, and which form belongs to it."""

import pytest

from hospital.worklist import sessions
from hospital.worklist.sessions import Sessions


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_session_ends_when_it_was_not_used() -> None:
    clock = Clock()
    kept = Sessions(60, 600, clock)
    token = kept.open("reader")
    clock.now = 61
    assert kept.find(token) is None


def test_use_puts_the_end_off_but_not_for_ever() -> None:
    clock = Clock()
    kept = Sessions(60, 100, clock)
    token = kept.open("reader")
    clock.now = 50
    assert kept.find(token) is not None
    clock.now = 99
    assert kept.find(token) is not None
    clock.now = 101
    assert kept.find(token) is None


def test_refresh_is_no_use() -> None:
    clock = Clock()
    kept = Sessions(60, 600, clock)
    token = kept.open("reader")
    clock.now = 50
    kept.find(token, uses=False)
    clock.now = 61
    assert kept.find(token) is None


def test_ended_session_is_gone() -> None:
    kept = Sessions(60, 600)
    token = kept.open("reader")
    kept.end(token)
    assert kept.find(token) is None


def test_memory_holds_digests_of_tokens_alone() -> None:
    kept = Sessions(60, 600)
    token = kept.open("reader")
    assert token.encode() not in b"".join(kept._open)


def test_oldest_session_gives_way_to_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_MOST", 2)
    kept = Sessions(60, 600)
    tokens = [kept.open("reader") for _ in range(3)]
    assert [kept.find(token) is not None for token in tokens] == [False, True, True]


@pytest.mark.parametrize("given", ["", "0" * 64, "ü"])
def test_form_of_nobody_is_refused(given: str) -> None:
    kept = Sessions(60, 600)
    assert not kept.is_form_token("cookie", given)


def test_form_belongs_to_its_cookie() -> None:
    kept = Sessions(60, 600)
    assert kept.is_form_token("cookie", kept.form_token("cookie"))
    assert not kept.is_form_token("other", kept.form_token("cookie"))
    assert not kept.is_form_token("", kept.form_token(""))
