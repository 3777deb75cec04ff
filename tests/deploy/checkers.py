"""The programs that check deploy/ and .github/, called from an environment of their own (`make cloud-setup`)."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = Path(os.environ.get("CLOUD_TOOLS") or ROOT / ".venv-cloud/bin")


def _missing(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI leaves nothing out")
    pytest.skip(what)


def program(name: str) -> str:
    """Path of a checker; without it the test is left out, and fails where CI=true."""
    path = TOOLS / name
    if not path.is_file():
        _missing(f"{path} is missing: make cloud-setup")
    return str(path)


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a checker in the root of the repository, whatever it answers."""
    return subprocess.run(
        [program(name), *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def kustomize(folder: Path) -> str:
    """Render an overlay as `kubectl apply -k` would; without kubectl the test is left out, and fails where CI=true."""
    if not shutil.which("kubectl"):
        _missing("kubectl is missing; version 1.22 or newer is needed")
    return subprocess.run(
        ["kubectl", "kustomize", folder], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout


@dataclass(frozen=True)
class Policies:
    """What checkov found: how many checks passed, which failed, files not read, the reason of each exception."""

    passed: int
    failed: tuple[str, ...]
    unread: int
    exceptions: dict[str, str]


def checkov(framework: str, files: Sequence[Path]) -> Policies:
    """Check files against checkov's policies, offline."""
    arguments = [argument for file in files for argument in ("--file", str(file))]
    # It asks a server for the texts of its guidelines where it can; nothing may leave the machine.
    answer = run("checkov", "--framework", framework, "--skip-download", "--output", "json", *arguments)
    assert answer.stdout, answer.stderr
    report: dict[str, Any] = json.loads(answer.stdout)
    results = report["results"]
    return Policies(
        passed=report["summary"]["passed"],
        failed=tuple(f"{check['check_id']} {check['resource']}" for check in results["failed_checks"]),
        unread=report["summary"]["parsing_errors"],
        exceptions={
            check["check_id"]: check["check_result"]["suppress_comment"] for check in results["skipped_checks"]
        },
    )
