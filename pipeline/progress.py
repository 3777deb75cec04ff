"""Progress on the terminal for anything that takes more than a moment."""

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

T = TypeVar("T")


class Advance(Protocol):
    """Called with the number of further steps done."""

    def __call__(self, steps: float = 1, /) -> None: ...


@contextmanager
def progress_bar(description: str, total: float | None) -> Iterator[Advance]:
    """Show a bar on stderr while the block runs and yield the function that moves it on.

    `total` is the number of steps, None when unknown. Away from a terminal only the end state is printed.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total)

        def advance(steps: float = 1, /) -> None:
            bar.advance(task, steps)

        yield advance


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` with a bar; `total` is taken from their length when they have one."""
    count = len(items) if total is None and isinstance(items, Sized) else total
    with progress_bar(description, count) as advance:
        for item in items:
            yield item
            advance()
