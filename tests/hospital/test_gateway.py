"""The whole way: an object in over the wire, its results out over the wire, through faults of either side."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hospital.queue import INTERRUPTED, MOST_INTERRUPTIONS
from tests.hospital.adt.messages import update
from tests.hospital.deadly import DEADLY
from tests.hospital.objects import PATIENT, radiograph
from tests.hospital.peers import ROOT, Pacs, RunningGateway, dicom_destination, eventually, send, send_hl7

Site = tuple[RunningGateway, Pacs, Pacs]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run a gateway that delivers to two PACS: one reports commitment where it was asked, one on a call of its own."""
    with ExitStack() as stack:
        first = stack.enter_context(Pacs("FIRST"))
        second = stack.enter_context(Pacs("SECOND", commitment="another"))
        destinations = [dicom_destination(one) for one in (first, second)]
        gateway = RunningGateway(tmp_path_factory.mktemp("site"), None, *destinations)
        second.report_to = gateway.port
        yield stack.enter_context(gateway), first, second


def delivery(gateway: RunningGateway, study: str) -> dict[str, str]:
    found: dict[str, str] = gateway.study(study)["delivery"]
    return found


def stored(pacs: Pacs, study: str) -> list[str]:
    return sorted(one.Modality for one in pacs.stored.values() if one.StudyInstanceUID == study)


def test_radiograph_comes_back_as_report_capture_and_presentation(site: Site) -> None:
    gateway, *destinations = site
    sent = radiograph()
    assert send(gateway.port, sent) == [0x0000]
    assert gateway.study(sent.StudyInstanceUID)["suspicion"] == "high"
    done = {"first": "done", "second": "done"}
    eventually(lambda: delivery(gateway, sent.StudyInstanceUID) == done)
    assert [stored(one, sent.StudyInstanceUID) for one in destinations] == [["OT", "PR", "SR"]] * 2


def test_corrected_patient_comes_back_in_a_new_report(site: Site) -> None:
    gateway, first, _ = site
    sent = radiograph(PatientID="9001")
    assert send(gateway.port, sent) == [0x0000]
    gateway.study(sent.StudyInstanceUID)
    assert "MSA|AA" in send_hl7(gateway.adt_port, update("9001", "Korrigiert^Name"))
    assert gateway.study(sent.StudyInstanceUID, version=2)["patient"]["name"] == "Korrigiert^Name"
    eventually(lambda: "Korrigiert^Name" in [str(one.PatientName) for one in first.of("SR")])


def test_only_the_destination_that_failed_is_tried_again(site: Site) -> None:
    gateway, first, second = site
    second.close()
    sent = radiograph()
    assert send(gateway.port, sent) == [0x0000]
    gateway.study(sent.StudyInstanceUID)
    eventually(lambda: delivery(gateway, sent.StudyInstanceUID)["first"] == "done")
    received = len(first.received)
    second.open()
    eventually(lambda: delivery(gateway, sent.StudyInstanceUID)["second"] == "done")
    assert len(first.received) == received
    assert stored(second, sent.StudyInstanceUID) == ["OT", "PR", "SR"]


def test_out_of_resources_is_never_taken_for_delivered(site: Site) -> None:
    gateway, first, _ = site
    first.status = 0xA700
    sent = radiograph()
    send(gateway.port, sent)
    gateway.study(sent.StudyInstanceUID)
    eventually(lambda: "status_a700" in gateway.command("queue").stdout, 60)
    assert delivery(gateway, sent.StudyInstanceUID)["first"] != "done"
    first.status = 0x0000
    eventually(lambda: delivery(gateway, sent.StudyInstanceUID)["first"] == "done")


def test_killed_gateway_delivers_what_it_acknowledged(site: Site) -> None:
    gateway, first, _ = site
    sent = [radiograph() for _ in range(3)]
    assert send(gateway.port, *sent) == [0x0000] * 3
    gateway.kill()
    gateway.start()
    for one in sent:
        gateway.study(one.StudyInstanceUID)
        eventually(lambda study=one.StudyInstanceUID: delivery(gateway, study)["first"] == "done")  # type: ignore[misc]
        assert stored(first, one.StudyInstanceUID) == ["OT", "PR", "SR"]


def test_metrics_tell_what_went_through(site: Site) -> None:
    gateway, *_ = site
    sent = radiograph()
    send(gateway.port, sent)
    gateway.study(sent.StudyInstanceUID)
    eventually(lambda: delivery(gateway, sent.StudyInstanceUID)["first"] == "done")
    told = gateway.get("/metrics").decode()
    for name in ("hospital_received_total", "hospital_scored_total", "hospital_delivery_seconds_bucket",
                 "hospital_jobs", "hospital_oldest_job_seconds"):  # fmt: skip
        assert name in told


def test_no_log_names_a_patient(site: Site) -> None:
    gateway, *_ = site
    lines = gateway.lines()
    for line in lines.splitlines():
        json.loads(line)
    for secret in (*PATIENT.split("^"), "4711", "19700101"):
        assert secret not in lines


def test_unknown_page_of_the_operation_is_not_found(site: Site) -> None:
    gateway, *_ = site
    with pytest.raises(urllib.error.HTTPError, match="404"):
        gateway.get("/patients")


class DeadlyGateway(RunningGateway):
    """One that some images end."""

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "tests.hospital.deadly", *super()._command(*words)[3:]]

    def run_until_killed(self) -> int:
        """Run until it ends; the exit code."""
        return subprocess.run(self._command("run"), cwd=ROOT, capture_output=True, check=False, timeout=120).returncode


@pytest.mark.slow
def test_image_that_ends_the_gateway_each_time_is_put_aside_and_the_others_go_on(tmp_path: Path) -> None:
    gateway = DeadlyGateway(tmp_path)
    gateway.start()
    study = radiograph(StudyDescription=DEADLY)
    assert send(gateway.port, study) == [0x0000]
    assert gateway.process
    assert gateway.process.wait(60) == -signal.SIGKILL
    for _ in range(MOST_INTERRUPTIONS - 1):
        assert gateway.run_until_killed() == -signal.SIGKILL
    with gateway:
        told = gateway.command("queue", "list", "--state", "dead").stdout
        assert f"{INTERRUPTED}: the gateway ended {MOST_INTERRUPTIONS} times" in told
        other = radiograph()
        assert send(gateway.port, other) == [0x0000]
        gateway.study(other.StudyInstanceUID)
        gateway.study(study.StudyInstanceUID)  # it is shown, and says why it has no answer


@pytest.mark.slow
def test_restored_backup_delivers_what_was_not_delivered_and_knows_what_it_had(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    sent = radiograph()
    with Pacs("ARCHIVE", commitment="same") as pacs:
        pacs.close()
        with RunningGateway(first, None, dicom_destination(pacs)) as gateway:
            assert send(gateway.port, sent) == [0x0000]
            gateway.study(sent.StudyInstanceUID)
        shutil.copytree(first / "spool", second / "spool")
        pacs.open()
        with RunningGateway(second, None, dicom_destination(pacs)) as gateway:
            eventually(lambda: delivery(gateway, sent.StudyInstanceUID)["archive"] == "done", 60)
            assert send(gateway.port, sent) == [0x0000]
            assert 'hospital_received_total{kind="known"} 1.0' in gateway.get("/metrics").decode()
        assert stored(pacs, sent.StudyInstanceUID) == ["OT", "PR", "SR"]


def test_start_that_fails_ends_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway = RunningGateway(tmp_path, {"operation": {"port": taken.getsockname()[1]}})
        told = gateway.command("run")
    assert told.returncode == 1
    assert "error: operation.port: 127.0.0.1" in told.stderr


def test_check_reports_each_destination(site: Site) -> None:
    gateway, *_ = site
    told = gateway.command("check")
    assert told.returncode == 0, told.stderr
    assert "destination first: answers" in told.stdout


def test_pause_and_resume_from_beside(site: Site) -> None:
    gateway, *_ = site
    assert gateway.command("queue", "pause").returncode == 0
    sent = radiograph()
    assert send(gateway.port, sent) == [0x0000]
    assert "paused" in gateway.command("queue").stdout
    assert gateway.command("queue", "resume").returncode == 0
    gateway.study(sent.StudyInstanceUID)
