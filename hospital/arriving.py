"""The file of an object whose bytes come in: a fault of the disk waits until it is closed.

pynetdicom writes in the thread that reads the connection. A full disk that raised there would end it: the sender
would get no answer, and what was written so far would stay on the full disk until the next start.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from pynetdicom import dimse_messages

_LOOK_BYTES = 4 << 20
"""Bytes after which the space that is left is looked at again."""


class ArrivingFile:
    """Takes the place of the temporary file that pynetdicom writes to, with what it uses of one."""

    def __init__(self, folder: Path, has_room: Callable[[], bool]) -> None:
        self._path = folder / f"{os.urandom(12).hex()}.dcm"
        self._has_room = has_room
        self._unseen = 0
        self._fault: OSError | None = None
        try:
            self._held: Any = self._path.open("xb")
        except OSError as error:
            self._held, self._fault = None, error

    @property
    def name(self) -> str:
        """Where it lies."""
        return str(self._path)

    @property
    def file(self) -> "ArrivingFile":
        """What pynetdicom flushes."""
        return self

    def write(self, content: bytes) -> int:
        """Write, or drop what comes after a fault."""
        if self._fault is None:
            self._unseen += len(content)
            try:
                self._held.write(content)
                if self._unseen >= _LOOK_BYTES:
                    self._look()
            except OSError as error:
                self._drop(error)
        return len(content)

    def flush(self) -> None:
        """Hand over to the operating system what is buffered."""
        if self._fault is None:
            try:
                self._held.flush()
            except OSError as error:
                self._drop(error)

    def close(self) -> None:
        """End the file; raises the fault of the disk, once."""
        held, self._held = self._held, None
        if held is not None:
            try:
                held.close()
            except OSError as error:
                self._fault = self._fault or error
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def _look(self) -> None:
        self._unseen = 0
        if not self._has_room():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _drop(self, fault: OSError) -> None:
        """Give the space back at once: others need it."""
        self._fault = fault
        self._path.unlink(missing_ok=True)


def receive_into(folder: Path, has_room: Callable[[], bool]) -> None:
    """Let pynetdicom write all objects that this process receives into `folder`, until `has_room` denies it."""

    def made(**_: Any) -> ArrivingFile:
        return ArrivingFile(folder, has_room)

    cast(Any, dimse_messages).NamedTemporaryFile = made
