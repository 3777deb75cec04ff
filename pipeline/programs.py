"""Other programs, run to their end: an argument list each, never a shell's line."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import InputError

_LONGEST = 400
_SECONDS = 900.0


def run(
    command: Sequence[str],
    stdin: str = "",
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float | None = _SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a program in `folder`, with nothing to answer its questions but `stdin`; what it printed, as text.

    `environment` is added to that of this process. Raises InputError when the program is not there or takes longer
    than `seconds` (None: it may take any time); a program that fails is for the caller to judge.
    """
    try:
        return subprocess.run(  # noqa: S603  no shell reads the words
            list(command),
            input=stdin,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except FileNotFoundError:
        raise InputError(f"{command[0]}: not found; install it, or put it on the PATH") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{' '.join(command[:3])}: no answer within {seconds:g} s; try again") from None


def last_line(printed: str) -> str:
    """The last line that says something, shortened."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    text = lines[-1] if lines else "no message"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
