"""Changes that several threads ask for at the same time, in one transaction: one commit is durable for all of them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy.engine import Connection

from hospital.database import Database

T = TypeVar("T")


@dataclass
class _Wish(Generic[T]):
    change: Callable[[Connection], T]
    done: bool = field(default=False, init=False)
    value: T | None = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)


class Together:
    """Makes changes in the order in which they were asked for; those that wait for a commit share the next one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn, self._listing = threading.Lock(), threading.Lock()
        self._wishes: list[_Wish] = []

    def do(self, change: Callable[[Connection], T]) -> T:
        """Make a change and give what it gives, once it is committed; what it raises is raised here alone.

        `change` is called again, in a transaction of its own, where another one that shared its transaction failed.
        """
        mine = _Wish(change)
        with self._listing:
            self._wishes.append(mine)
        with self._turn:
            if not mine.done:
                with self._listing:
                    wishes, self._wishes = self._wishes, []
                self._grant(wishes)
        if mine.error is not None:
            raise mine.error
        return mine.value  # type: ignore[return-value]  # set together with `done`

    def _grant(self, wishes: list[_Wish]) -> None:
        try:
            with self._database.writing() as connection:
                values = [wish.change(connection) for wish in wishes]
        except Exception as error:  # noqa: BLE001  it is raised in the thread that asked for the change
            if len(wishes) > 1:
                for wish in wishes:
                    self._grant([wish])
                return
            wishes[0].error = error
        else:
            for wish, value in zip(wishes, values, strict=True):
                wish.value = value
        for wish in wishes:
            wish.done = True
