"""`python -m benchmarks.hospital PART [--result FILE]`: what the gateway does under faults and load.

PART is one of those below. FILE gets what is printed, line by line, after the command, the time and the machine.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from benchmarks.hospital import lost, memory, throughput
from benchmarks.measure import machine

_PARTS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "lost": (lost.main, "kills, a destination that is away half of the time, a disk that fills up: is anything lost?"),
    "throughput": (throughput.main, "rate of C-STORE beside a bare loop, and seconds to the confirmed delivery"),
    "memory": (memory.main, "resident memory over thousands of objects"),
}


class _Both:
    """Writes to the screen and to a file, which holds each line as soon as it is written."""

    def __init__(self, screen: TextIO, file: TextIO) -> None:
        self._streams = (screen, file)

    def write(self, text: str) -> int:
        """Write text to both."""
        for stream in self._streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand over to both what is buffered."""
        for stream in self._streams:
            stream.flush()


@contextmanager
def _kept(path: Path | None, command: list[str]) -> Iterator[None]:
    """Write what is printed to a file as well, if one is named; OSError where it cannot be written."""
    if path is None:
        yield
        return
    with path.open("w", encoding="utf-8", buffering=1) as file:
        file.write(f"python -m benchmarks.hospital {shlex.join(command)}\n{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n")
        file.write(machine(["pynetdicom", "pydicom", "SQLAlchemy"]) + "\n\n")
        with redirect_stdout(_Both(sys.stdout, file)):
            yield


def main() -> int:
    """Run a part; its exit code."""
    part, *options = sys.argv[1:] or [""]
    if part in _PARTS:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--result", type=Path)
        given, rest = parser.parse_known_args(options)
        try:
            with _kept(given.result, [part, *rest]):
                return _PARTS[part][0](rest)
        except OSError as error:
            if given.result is None or error.filename != str(given.result):
                raise
            print(f"error: --result {given.result}: {error.strerror}", file=sys.stderr)
            return 2
    print(
        "usage: python -m benchmarks.hospital PART [--result FILE] [options]; --help behind a part tells its options",
        file=sys.stderr,
    )
    for name, (_, text) in _PARTS.items():
        print(f"  {name:<11} {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
