"""Poll and STOW-RS with Orthanc's DICOMweb as the other side."""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.hospital.peers import ROOT

pytestmark = pytest.mark.orthanc


def scene(name: str) -> dict[str, Any]:
    """What `tests.hospital.dicomweb.orthanc` saw in a network namespace of its own."""
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program, "Orthanc is not installed (tests/system-packages.txt)"
    flags = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    command = ["unshare", *flags, sys.executable, "-m", "tests.hospital.dicomweb.orthanc", name, program]
    keys = {"HOSPITAL_AUTHORIZATION_ORTHANC": "Basic ZGVtbzpvcnRoYW5j"}  # demo:orthanc
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600, env=os.environ | keys
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_study_is_taken_out_of_orthanc_once() -> None:
    found = scene("polled")
    assert found["all"]
    assert found["fetched"] == 3
    assert 'hospital_polls_total{outcome="done",source="orthanc"} 2.0' in found["metrics"]


def test_orthanc_sends_every_study_by_stow() -> None:
    found = scene("pushed")
    assert found["all"]
    assert 'hospital_web_requests_total{status="200"}' in found["metrics"]


@pytest.mark.slow
def test_study_that_was_polled_comes_back_with_its_results_which_are_not_taken_for_new_images() -> None:
    found = scene("whole")
    assert found["suspicion"] in {"high", "possible", "none"}
    assert found["received"] == 1
    assert found["instances"] >= 3
    assert "poll orthanc: answers" in found["check"]
