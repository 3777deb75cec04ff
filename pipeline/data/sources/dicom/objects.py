"""What a source gives: DICOM objects one by one, so that one at a time is in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import InputError

MAX_OBJECT_BYTES = 512 << 20
TOO_LARGE = f"is larger than {MAX_OBJECT_BYTES >> 20} MiB"


class UnreadableError(Exception):
    """An object that cannot be read; the message are words that follow its name, and name nobody."""


@dataclass(frozen=True)
class Offered:
    """An object that a source holds.

    `original` is where it lies and never leaves the private folder. The UIDs are known before it is read from a server
    only. `read` raises UnreadableError for an object that cannot be had, and InputError where no other can, either.
    """

    original: str
    read: Callable[[], bytes]
    sop_instance_uid: str = ""
    study_instance_uid: str = ""


class ObjectSource(Protocol):
    """A folder, an archive or a server; `others` counts what is no DICOM object, once all objects were given."""

    name: str
    others: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Offered]: ...


def refuse(place: object, problem: str) -> InputError:
    """The error for a source that cannot be used at all."""
    return InputError(f"{place}: {problem}")
