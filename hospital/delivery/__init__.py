"""Results to their destinations, each with a thread of its own (worker.py).

dimse.py: C-STORE with storage commitment; stow.py: STOW-RS; fhir.py: a FHIR transaction, fhir_file.py the same
without a server; hl7.py: HL7 v2 over MLLP; ups.py: a work item for a study to be read first; settings.py: their tables.

A destination has taken a result only by the standard's own sign; a sender returns or raises, and never guesses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Outgoing:
    """A result's file with the UIDs that say what it is."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Package:
    """What is sent of a version: what it says of the study, and its objects.

    `patient` and `model` are those of `hospital.summary`; `made_at` is in seconds since 1970, UTC.
    """

    study_uid: str
    number: int
    made_at: float
    suspicion: str
    probability: float | None
    statement: str
    views: Sequence[Mapping[str, Any]]
    patient: Mapping[str, str]
    model: Mapping[str, str]
    objects: Sequence[Outgoing]

    @property
    def identity(self) -> str:
        """Names the version wherever it is sent: its first object's UID, else that of the study with its number."""
        return self.objects[0].sop_instance_uid if self.objects else f"{self.study_uid}.{self.number}"


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

    def send(self, package: Package, announce: Announce, /) -> Promise:
        """Send a version; TryAgainError or DeadLetterError where that fails."""

    def echo(self) -> None:
        """Ask whether the destination answers; TryAgainError or DeadLetterError where it does not."""
