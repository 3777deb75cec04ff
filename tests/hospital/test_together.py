"""Changes of several threads in one transaction."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Connection

from hospital.parts import Parts
from hospital.together import Together

SIDE_BY_SIDE = 6


def setting(name: str, value: str = "") -> str:
    return f"INSERT INTO settings VALUES ('{name}', '{value}')"  # noqa: S608  words of this module


def names(parts: Parts) -> set[str]:
    with parts.database.looking() as connection:
        return set(connection.scalars(text("SELECT name FROM settings WHERE name <> 'schema'")))


def asked_side_by_side(parts: Parts, *statements: str) -> list[BaseException | None]:
    """Ask for changes while a first one is under way; what each of them raised."""
    together = Together(parts.database)
    under_way, go_on = threading.Event(), threading.Event()

    def first(_: Connection) -> None:
        under_way.set()
        go_on.wait(30)

    with ThreadPoolExecutor(len(statements) + 1) as pool:
        holding = pool.submit(together.do, first)
        under_way.wait(30)
        asked = [pool.submit(together.do, lambda to, one=one: to.execute(text(one))) for one in statements]
        while len(together._wishes) < len(statements):
            pass
        go_on.set()
        holding.result(30)
        return [one.exception(30) for one in asked]


def test_changes_that_wait_for_a_commit_share_the_next_one(parts: Parts) -> None:
    commits: list[object] = []
    event.listen(parts.database.engine, "commit", commits.append)
    assert asked_side_by_side(parts, *(setting(str(number)) for number in range(SIDE_BY_SIDE))) == [None] * SIDE_BY_SIDE
    assert names(parts) == {str(number) for number in range(SIDE_BY_SIDE)}
    assert len(commits) == 2


def test_change_that_fails_takes_none_of_the_others_with_it(parts: Parts) -> None:
    raised = asked_side_by_side(parts, setting("a"), "INSERT INTO nowhere VALUES (1)", setting("b"))
    assert [one is None for one in raised] == [True, False, True]
    assert names(parts) == {"a", "b"}


def test_change_is_committed_when_it_returns(parts: Parts) -> None:
    Together(parts.database).do(lambda connection: connection.execute(text(setting("a"))))
    assert names(parts) == {"a"}


def test_failure_is_raised_where_the_change_was_asked_for(parts: Parts) -> None:
    with pytest.raises(ZeroDivisionError):
        Together(parts.database).do(lambda _: 1 // 0)
