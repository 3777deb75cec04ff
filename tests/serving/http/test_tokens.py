"""Tokens that allow feedback."""

import pytest

from serving.http.tokens import TokenError, TokenSigner

OLD, NEW = "o" * 32, "n" * 32
ANSWER = "a" * 32


def _signer(keys: str = NEW, now: float = 1000.0) -> TokenSigner:
    return TokenSigner(keys, clock=lambda: now)


def test_a_token_allows_feedback_on_its_answer_until_it_expires() -> None:
    token = _signer().sign(ANSWER, "north", 2000)
    _signer(now=1999).check(token, ANSWER, "north")
    with pytest.raises(TokenError, match="expired"):
        _signer(now=2001).check(token, ANSWER, "north")


@pytest.mark.parametrize(("answer", "site"), [("b" * 32, "north"), (ANSWER, "south")])
def test_a_token_is_worth_nothing_for_another_answer_or_site(answer: str, site: str) -> None:
    with pytest.raises(TokenError, match="not the one that came with this answer"):
        _signer().check(_signer().sign(ANSWER, "north", 2000), answer, site)


@pytest.mark.parametrize("token", ["", "x", "2000.", "9" * 5000, "²000.x", "2000.ä", "-1.x"])
def test_anything_else_is_none(token: str) -> None:
    with pytest.raises(TokenError):
        _signer().check(token, ANSWER, "north")


def test_a_later_date_cannot_be_written_into_a_token() -> None:
    token = _signer().sign(ANSWER, "north", 500)
    with pytest.raises(TokenError, match="not the one"):
        _signer().check(token.replace("500.", "5000."), ANSWER, "north")


def test_a_token_of_before_a_change_of_keys_is_still_taken() -> None:
    token = _signer(OLD).sign(ANSWER, "north", 2000)
    _signer(f"{NEW}, {OLD}").check(token, ANSWER, "north")
    with pytest.raises(TokenError):
        _signer(NEW).check(token, ANSWER, "north")
