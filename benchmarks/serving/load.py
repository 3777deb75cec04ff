"""Load from wrk on loopback, with every answer checked."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError

_SCRIPT = Path(__file__).with_name("load.lua")
BAD = "(bad)"
"""Stands for the label of an input that must be refused."""


@dataclass(frozen=True)
class Load:
    """What one run of wrk met; milliseconds, and counts of answers by kind."""

    seconds: float
    p50: float
    p99: float
    errors: int
    right: int
    wrong: int
    busy: int
    bad: int
    other: int

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return self.right / self.seconds

    @property
    def clean(self) -> bool:
        """Whether every answer was the right one."""
        return not (self.wrong or self.other or self.errors)


def write_inputs(folder: Path, images: Mapping[str, bytes], expected: Mapping[str, str]) -> None:
    """Lay out what load.lua reads: the files, and expected.txt with a name and a label a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in images.items():
        (folder / name).write_bytes(content)
    lines = [f"{name}\t{expected[name]}" for name in images]
    (folder / "expected.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(url: str, inputs: Path, clients: int, seconds: float) -> Load:
    """Send the inputs from `clients` connections on one thread of wrk for some seconds."""
    if shutil.which("wrk") is None:
        raise InputError("wrk is not installed; sudo apt-get install wrk")
    command = [
        "wrk", "--threads", "1", "--connections", str(clients), "--duration", f"{seconds:g}s", "--timeout", "60s",
        "--script", str(_SCRIPT), url, "--", str(inputs),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    found = re.search(r"^RESULT (\{.*\})$", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise InputError(f"wrk failed: {' '.join((done.stderr or done.stdout).split())[:300]}")
    return Load(**json.loads(found[1]))
