"""Results to their destinations: dimse.py (C-STORE, storage commitment), stow.py (STOW-RS), worker.py (one thread
each).

A destination has taken a result only by the standard's own sign; a sender returns or raises, and never guesses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Outgoing:
    """A result's file with the UIDs that say what it is."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Promise:
    """What is known once everything was sent: `kept` tells that the destination has confirmed it.

    Without it the destination will report on `transaction_uid`.
    """

    kept: bool
    transaction_uid: str = ""


Announce = Callable[[str], None]
"""Told the UID of a transaction before the destination can report on it."""


class Sender(Protocol):
    """Sends to one destination."""

    def send(self, objects: Sequence[Outgoing], announce: Announce) -> Promise:
        """Send the objects of a version; TryAgainError or DeadLetterError where that fails."""

    def echo(self) -> None:
        """Ask whether the destination answers; TryAgainError or DeadLetterError where it does not."""
