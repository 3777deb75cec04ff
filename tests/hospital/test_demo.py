"""`make demo-hospital`: the gateway with Orthanc as its PACS."""

import re
import subprocess
import sys

import pytest

from hospital import demo
from tests.hospital.objects import BUNDLE
from tests.hospital.peers import ROOT


@pytest.mark.slow
@pytest.mark.orthanc
def test_three_studies_come_back_into_orthanc_by_c_store_and_stow() -> None:
    command = [sys.executable, "-m", "hospital.demo", "--bundle", str(BUNDLE)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("0x0000") == 3
    assert re.search(r"^(high|possible|none) +\d+%  Synthetic\^2", told.stdout, re.MULTILINE)
    assert "of 3 studies" in told.stdout
    # Start, three receptions, three deliveries to each of two destinations.
    assert "the audit trail holds 10 messages" in told.stdout


def test_studies_of_the_demo_name_invented_patients_alone() -> None:
    assert [str(one.PatientID) for one in demo.studies(BUNDLE)] == ["DEMO-1", "DEMO-2", "DEMO-3"]


def test_demo_without_orthanc_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["demo"])
    assert demo.main() == 1
    assert capsys.readouterr().err == "error: Orthanc is not installed: apt-get install orthanc orthanc-dicomweb\n"
