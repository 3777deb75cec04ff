"""What happened in a run, a line of JSON each, so that a run that was cut off goes on where it ended."""

import json
import threading
from pathlib import Path
from typing import Any


class Journal:
    """Lines are added by many threads, and read when a run begins again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._end_whole()
        self._file = path.open("a", encoding="utf-8")

    def add(self, kind: str, **facts: Any) -> None:
        """Write a line; it is there if this process is killed afterwards."""
        line = json.dumps({"kind": kind, **facts})
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All lines of a kind, the oldest first."""
        with self._path.open(encoding="utf-8") as file:
            return [found for found in map(json.loads, file) if found["kind"] == kind]

    def close(self) -> None:
        """Write nothing more."""
        self._file.close()

    def _end_whole(self) -> None:
        """Cut off half a line, which a run that was killed may have left."""
        if self._path.exists():
            content = self._path.read_bytes()
            self._path.write_bytes(content[: content.rfind(b"\n") + 1])
