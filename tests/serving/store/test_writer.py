"""The thread that writes answers: bounded, and never in an answer's way."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from serving.store.errors import StoreError
from serving.store.records import AnswerRecord
from serving.store.writer import AnswerWriter
from tests.serving.store.rows import answer


class Meter:
    def __init__(self) -> None:
        self.written = 0
        self.lost: list[str] = []
        self.age = 0.0
        self.lines: list[str] = []

    def stored(self, rows: int) -> None:
        self.written += rows

    def not_stored(self, rows: int, reason: str) -> None:
        self.lost += [reason] * rows

    def waiting(self, rows: int, oldest_seconds: float) -> None:
        self.age = oldest_seconds

    def trouble(self, message: str) -> None:
        self.lines.append(message)


class Switched:
    """A database of memory that can be away, or dislike a row."""

    def __init__(self, away: bool = False, dislikes: str = "") -> None:
        self.away = away
        self.dislikes = dislikes
        self.rows: list[AnswerRecord] = []
        self.slow = 0.0

    def check(self) -> None:
        if self.away:
            raise StoreError("away")

    def add_answers(self, rows: Sequence[AnswerRecord]) -> None:
        time.sleep(self.slow)
        self.check()
        if any(row.site == self.dislikes for row in rows):
            raise ValueError("too long")
        self.rows += rows


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def _writer(database: Any, meter: Meter, most: int = 1000) -> AnswerWriter:
    return AnswerWriter(database, most, meter)


def test_what_is_added_is_written_in_order() -> None:
    database, meter = Switched(), Meter()
    writer = _writer(database, meter)
    rows = [answer(number) for number in range(500)]
    for row in rows:
        assert writer.add(row)
    writer.close()
    assert (database.rows, meter.written, meter.lost) == (rows, 500, [])


def test_adding_waits_for_nobody() -> None:
    database, meter = Switched(), Meter()
    database.slow = 0.5
    writer = _writer(database, meter)
    begin = time.perf_counter()
    for number in range(100):
        writer.add(answer(number))
    assert time.perf_counter() - begin < 0.4
    writer.close()


def test_what_finds_no_room_is_dropped_and_counted() -> None:
    database, meter = Switched(away=True), Meter()
    writer = _writer(database, meter, most=10)
    assert [writer.add(answer(number)) for number in range(12)] == [True] * 10 + [False] * 2
    assert meter.lost == ["full", "full"]
    writer.close()


def test_a_database_that_comes_back_gets_everything_that_waited() -> None:
    database, meter = Switched(away=True), Meter()
    writer = _writer(database, meter)
    for number in range(20):
        writer.add(answer(number))
    _wait(lambda: bool(meter.lines) and meter.age > 0)
    database.away = False
    _wait(lambda: meter.written == 20)
    assert [row.answer_id for row in database.rows] == [answer(number).answer_id for number in range(20)]
    assert meter.lost == []
    writer.close()


def test_a_long_absence_is_one_line_in_the_log() -> None:
    database, meter = Switched(away=True), Meter()
    writer = _writer(database, meter)
    for number in range(3):
        writer.add(answer(number))
        time.sleep(0.6)
    assert meter.lines == ["away"]
    writer.close()


def test_a_row_that_will_never_fit_takes_no_other_with_it() -> None:
    database, meter = Switched(dislikes="odd"), Meter()
    writer = _writer(database, meter)
    for number in range(6):
        writer.add(answer(number, site="odd" if number == 3 else "north"))
    writer.close()
    assert ([row.answer_id[-1] for row in database.rows], meter.lost) == (["0", "1", "2", "4", "5"], ["unfit"])


def test_what_is_left_at_the_end_is_counted() -> None:
    database, meter = Switched(away=True), Meter()
    writer = _writer(database, meter)
    for number in range(5):
        writer.add(answer(number))
    writer.close()
    assert meter.lost == ["closing"] * 5


@pytest.mark.parametrize("rows", [0, 1])
def test_closing_an_idle_writer_takes_no_time(rows: int) -> None:
    database, meter = Switched(), Meter()
    writer = _writer(database, meter)
    for number in range(rows):
        writer.add(answer(number))
    begin = time.perf_counter()
    writer.close()
    assert time.perf_counter() - begin < 2
    assert meter.written == rows
