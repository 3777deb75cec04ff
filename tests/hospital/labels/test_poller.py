"""Final reports that a FHIR server is asked for."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from hospital.database import Polled
from hospital.labels.poller import ReportPoller
from hospital.labels.search import ReportSearch
from hospital.labels.settings import ReportPoll
from hospital.parts import Parts
from serving.store.database import Database
from tests.hospital.labels.messages import diagnostic_report
from tests.hospital.labels.reporting import ReportServer, reporting
from tests.hospital.labels.test_matching import CODES, Store, send, studied
from tests.hospital.objects import radiograph
from tests.hospital.peers import RunningGateway, eventually
from tests.hospital.peers import send as send_object

Look = Callable[[], None]
POSITIVE = [{"coding": [{"code": "POS"}]}]


@pytest.fixture
def server() -> Iterator[ReportServer]:
    with reporting() as found:
        found.reports = [diagnostic_report(id="r1")]
        yield found


@pytest.fixture
def look(server: ReportServer, parts: Parts) -> Look:
    """Ask the server once more, as another process would."""

    def look_once() -> None:
        settings = ReportPoll(url=server.address, lookback_hours=2, timeout_seconds=5)
        ReportPoller(settings, ReportSearch(settings), CODES, parts, lambda: False).step()

    return look_once


def test_a_report_is_taken_once_and_again_when_it_says_something_else(
    server: ReportServer, look: Look, parts: Parts
) -> None:
    studied(parts)
    store = Store()
    for _ in range(2):
        look()
        assert send(parts, store) == [("answer of 1.2.3-0", "disagree", "normal")]
    server.reports = [diagnostic_report(id="r1", conclusionCode=POSITIVE, status="amended")]
    look()
    assert send(parts, store)[1:] == [("answer of 1.2.3-0", "agree", "fractured")]
    asked = datetime.fromisoformat(server.asked[0]["_lastUpdated"][0].removeprefix("ge"))
    assert abs(datetime.now(UTC) - timedelta(hours=2) - asked) < timedelta(minutes=1)


def test_a_report_that_comes_before_the_answer_is_matched_later_and_counted_once(look: Look, parts: Parts) -> None:
    for _ in range(2):
        look()
    studied(parts)
    look()
    assert len(send(parts, Store())) == 1
    told = parts.metrics.exposition().decode()
    assert 'hospital_reports_total{outcome="no_study"} 1.0' in told
    assert 'hospital_reports_total{outcome="labelled"} 1.0' in told


def test_patient_and_accession_number_are_found_in_what_the_report_refers_to(
    server: ReportServer, look: Look, parts: Parts
) -> None:
    studied(parts)
    accession = {"type": {"coding": [{"code": "ACSN"}]}, "value": "A1"}
    server.others = [
        {"resourceType": "Patient", "id": "p", "identifier": [{"value": "4711"}]},
        {"resourceType": "ServiceRequest", "id": "o", "identifier": [accession]},
    ]
    server.reports = [
        diagnostic_report(
            id="r2", identifier=None, imagingStudy=None, subject={"reference": "Patient/p"},
            basedOn=[{"reference": "ServiceRequest/o/_history/3"}],
        )
    ]  # fmt: skip
    look()
    assert send(parts, Store()) == [("answer of 1.2.3-0", "disagree", "normal")]


def test_a_server_that_fails_is_counted_and_loses_nothing(server: ReportServer, look: Look, parts: Parts) -> None:
    studied(parts)
    server.status = 503
    look()
    server.status = 200
    look()
    assert len(send(parts, Store())) == 1
    told = parts.metrics.exposition().decode()
    assert 'hospital_polls_total{outcome="http_503",source="reports"} 1.0' in told
    assert 'hospital_polls_total{outcome="done",source="reports"} 1.0' in told


def test_what_is_no_longer_listed_is_forgotten(server: ReportServer, look: Look, parts: Parts) -> None:
    look()
    with parts.database.session() as session:
        session.get_one(Polled, ("reports", "r1")).seen_at = 0
    server.reports = []
    look()
    with parts.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Polled)) == 0


@pytest.mark.slow
def test_a_gateway_asks_the_server_and_the_label_reaches_the_store(
    server: ReportServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'answers.db'}"
    store = Database(url)
    store.upgrade()
    monkeypatch.setenv("FRACTURE_STORE_URL", url)
    monkeypatch.setenv("HOSPITAL_AUTHORIZATION_RIS", "Bearer t")
    tables = [
        '[store]\nsite = "north"\ncodes = {NEG = "normal", POS = "fractured"}',
        f'[store.fhir]\nname = "ris"\nurl = "{server.address}"\ninterval_seconds = 1',
    ]
    sent = radiograph()
    server.reports = [diagnostic_report(id="r1", imagingStudy=None)]
    with RunningGateway(tmp_path, None, *tables) as gateway:
        assert send_object(gateway.port, sent) == [0x0000]
        eventually(store.opinions, 60)
        said, log = gateway.command("check"), gateway.lines()
    assert "store.fhir ris: answers" in said.stdout, said.stderr
    (opinion,) = store.opinions()
    assert (opinion.label, opinion.source) == ("normal", "report")
    assert set(server.authorizations) == {"Bearer t"}
    assert not any(name in log for name in ("4711", "Öztürk", "Bearer"))
    store.close()
