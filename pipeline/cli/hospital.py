"""`fracture hospital`: starts the gateway of a hospital, a process of its own (`hospital.__main__`)."""

import importlib.util
import os
import sys
from typing import Annotated

import typer

from pipeline.errors import InputError

_NEEDED = ("highdicom", "httpx", "pynetdicom", "sqlalchemy", "uvicorn")


def hospital(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[run|check|queue|export] ...", help="Without one: run. `fracture hospital -- --help` lists all."
        ),
    ] = None,
) -> None:
    """Receive radiographs over DICOM, score them, and deliver the results (docs/hospital.md)."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{missing[0]} is not installed; install the extra `hospital` (docs/hospital.md)")
    command = [sys.executable, "-m", "hospital", *(words or ())]
    os.execv(sys.executable, command)  # noqa: S606  the gateway takes this process's place, and so its signals
