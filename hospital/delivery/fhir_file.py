"""FHIR transactions where no server is: a file for each version, or a line of the standard output."""

import json
import os
import sys
import threading
from pathlib import Path

from hospital.delivery import Announce, Package, Promise
from hospital.delivery.fhir import transaction
from hospital.delivery.settings import FhirFile
from hospital.errors import TryAgainError

_output = threading.Lock()
"""Held while a line is written: several destinations may share the standard output."""


class FhirFileSender:
    """Writes what `FhirSender` sends; taken is what is on the disk, or what the standard output has taken."""

    def __init__(self, destination: FhirFile) -> None:
        self._destination = destination

    def echo(self) -> None:
        """Whether the folder can be written to."""
        folder = self._destination.folder
        if folder is not None:
            try:
                _prepared(folder)
                _written(folder / ".check", b"")
                (folder / ".check").unlink()
            except OSError as error:
                raise self._trouble(error) from None

    def send(self, package: Package, _announce: Announce) -> Promise:
        """Write a version; a repetition writes the same file again, and a further line."""
        document = json.dumps(transaction(package, self._destination), ensure_ascii=False) + "\n"
        folder = self._destination.folder
        try:
            if folder is None:
                _told(document.encode())
            else:
                _prepared(folder)
                _written(folder / f"{package.identity}.json", document.encode())
        except OSError as error:
            raise self._trouble(error) from None
        return Promise(kept=True)

    def _trouble(self, error: OSError) -> TryAgainError:
        place = self._destination.folder or "the standard output"
        return TryAgainError("disk", f"{self._destination.name}: {place} cannot be written to ({error.strerror})")


def _prepared(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, mode=0o700)


def _written(path: Path, content: bytes) -> None:
    """Write beside the place, make the bytes durable, and rename; the file names a patient, so its mode is 0600."""
    partial = path.with_name(f".{path.name}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _told(content: bytes) -> None:
    """Write a line, whole: nothing is kept in a buffer that a later failure would lose."""
    with _output:
        sys.stdout.flush()
        left = memoryview(content)
        while left:
            left = left[os.write(sys.stdout.fileno(), left) :]
