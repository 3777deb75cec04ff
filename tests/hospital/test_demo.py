"""`make demo-hospital`: the gateway with Orthanc as its PACS."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from hospital import demo
from tests.hospital.objects import BUNDLE
from tests.hospital.peers import ROOT


class Demonstration:
    """The demonstration while it serves the worklist; `told` is what it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.told = ""
        assert process.stdout
        while "end it with" not in self.told:
            line = process.stdout.readline()
            assert line, self.told
            self.told += line

    def end(self) -> int:
        """End the command alone, as a script or a service manager does; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)


@pytest.fixture(scope="module")
def demonstration() -> Iterator[Demonstration]:
    """Run the demonstration once, and end it."""
    command = [sys.executable, "-m", "hospital.demo", "--serve", "--bundle", str(BUNDLE)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    running = Demonstration(process)
    yield running
    assert running.end() == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.slow
@pytest.mark.orthanc
def test_three_studies_come_back_into_orthanc_by_c_store_and_stow(demonstration: Demonstration) -> None:
    told = demonstration.told
    assert told.count("0x0000") == 3
    assert re.search(r"^(high|possible|none) +\d+%  Synthetic\^2", told, re.MULTILINE)
    assert "of 3 studies" in told
    # Start, three receptions, three deliveries to each of two destinations.
    assert "the audit trail holds 10 messages" in told


@pytest.mark.slow
@pytest.mark.orthanc
def test_worklist_is_reached_from_outside_of_its_namespace(demonstration: Demonstration) -> None:
    found = re.search(r"worklist: (\S+)   name (\S+)   password (\S+)", demonstration.told)
    assert found
    address, name, password = found.groups()
    with httpx.Client(base_url=address, follow_redirects=True) as client:
        token = re.search(r'name="token" value="([0-9a-f]+)"', client.get("/").text)
        assert token
        page = client.post("/login", data={"name": name, "password": password, "token": token[1]}).text
    assert [f"Synthetic, {number}" in page for number in (1, 2, 3)] == [True, True, True]


def test_studies_of_the_demo_name_invented_patients_alone() -> None:
    assert [str(one.PatientID) for one in demo.studies(BUNDLE)] == ["DEMO-1", "DEMO-2", "DEMO-3"]


def test_demo_without_orthanc_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["demo"])
    assert demo.main() == 1
    assert capsys.readouterr().err == "error: Orthanc is not installed: apt-get install orthanc orthanc-dicomweb\n"
