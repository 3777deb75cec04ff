"""`fracture hospital` starts the gateway and gets out of its way."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = "from pipeline.cli import main; main()"
    command = [sys.executable, "-c", script, "hospital", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("words", [("check",), ("queue", "pause"), ()])
def test_without_a_configuration_one_line_says_where_an_example_is(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == 1
    assert done.stderr == "error: hospital.toml: not found; copy deploy/hospital/hospital.toml and adapt it\n"


def test_options_behind_two_dashes_reach_the_gateway(tmp_path: Path) -> None:
    done = run(tmp_path, "--", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: fracture hospital")
