"""The programs that check deploy/ and .github/, called from an environment of their own (`make cloud-setup`)."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass
class Policies:
    """What checkov found in a file: how many checks passed, which failed, the reason of each exception."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    exceptions: dict[str, str] = field(default_factory=dict)


def checkov(frameworks: Sequence[str], files: Sequence[Path]) -> dict[Path, Policies]:
    """Check files against checkov's policies, offline; it has to read each of them."""
    arguments = [argument for file in files for argument in ("--file", str(file))]
    # It asks a server for the texts of its guidelines where it can; nothing may leave the machine.
    answer = run("checkov", "--framework", *frameworks, "--skip-download", "--output", "json", *arguments)
    assert answer.stdout, answer.stderr
    found = {file: Policies() for file in files}
    for report in _as_list(json.loads(answer.stdout)):
        assert report["summary"]["parsing_errors"] == 0, report["results"]["parsing_errors"]
        for kind in ("passed_checks", "failed_checks", "skipped_checks"):
            for check in report["results"][kind]:
                policies = found[Path(check["file_abs_path"])]
                if kind == "passed_checks":
                    policies.passed += 1
                elif kind == "failed_checks":
                    policies.failed.append(f"{check['check_id']} {check['resource']}")
                else:
                    policies.exceptions[check["check_id"]] = check["check_result"]["suppress_comment"]
    return found


def _as_list(report: Any) -> list[dict[str, Any]]:
    """A report for each framework; a single one stands alone."""
    return report if isinstance(report, list) else [report]
