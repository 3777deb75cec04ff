"""What is asked of a FHIR server, and what its answers may lead to."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from hospital.errors import TryAgainError
from hospital.labels.search import ReportSearch
from hospital.labels.settings import ReportPoll
from tests.hospital.labels.messages import diagnostic_report
from tests.hospital.labels.reporting import ReportServer, reporting

SINCE = datetime(2026, 11, 27, 8, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[ReportServer]:
    with reporting() as found:
        found.reports = [diagnostic_report(id=str(number)) for number in range(3)]
        yield found


def search(server: ReportServer, release: str = "R4", page_size: int = 2) -> ReportSearch:
    given = {"url": server.address, "release": release, "page_size": page_size, "timeout_seconds": 5}
    return ReportSearch(ReportPoll.model_validate(given), "Bearer t")


def test_final_and_withdrawn_reports_are_asked_for_page_by_page_with_what_they_refer_to(server: ReportServer) -> None:
    pages = list(search(server).changed_since(SINCE))
    assert [len(page["entry"]) for page in pages] == [2, 1]
    (first, second) = server.asked
    assert first["_lastUpdated"] == ["ge2026-11-27T08:00:00+00:00"]
    assert first["status"] == ["amended,appended,cancelled,corrected,entered-in-error,final"]
    assert first["_include"] == ["DiagnosticReport:subject", "DiagnosticReport:based-on"]
    assert second["page"] == ["2"]
    assert server.authorizations == ["Bearer t"] * 2


def test_the_study_is_asked_for_where_the_release_knows_how(server: ReportServer) -> None:
    list(search(server, release="R5").changed_since(SINCE))
    assert "DiagnosticReport:study" in server.asked[0]["_include"]


@pytest.mark.parametrize(
    "address",
    [
        "http://elsewhere.example/fhir?page=2",
        "https://127.0.0.1/fhir?page=2",
        "http://user:password@127.0.0.1:PORT/fhir?page=2",
        "http://127.0.0.1:PORT/other?page=2",
        "http://127.0.0.1:PORT/fhir/../other?page=2",
        "http://[",
    ],
)
def test_a_next_page_elsewhere_is_not_asked_for(address: str, server: ReportServer) -> None:
    port = server.address.split(":")[2].split("/")[0]
    server.next_page = address.replace("PORT", port)
    with pytest.raises(TryAgainError) as caught:
        list(search(server).changed_since(SINCE))
    assert caught.value.code == "foreign_page"
    assert len(server.authorizations) == 1


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (302, b"", "redirect"),
        (401, b"", "http_401"),
        (503, b"", "http_503"),
        (200, b"<html>", "not_fhir"),
        (200, b"[" * 100_000, "not_fhir"),
        (200, b'{"resourceType": "OperationOutcome"}', "not_fhir"),
        (200, b" " * (17 << 20), "too_much"),
    ],
)
def test_a_server_that_does_not_answer_as_one_is_asked_again_later(
    status: int, body: bytes, code: str, server: ReportServer
) -> None:
    server.status, server.body = status, body
    server.location = "http://elsewhere.example/" if status == 302 else ""
    with pytest.raises(TryAgainError) as caught:
        list(search(server).changed_since(SINCE))
    assert caught.value.code == code


def test_a_page_that_leads_to_itself_is_given_up(server: ReportServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hospital.labels.search._MOST_PAGES", 5)
    server.next_page = f"{server.address}/DiagnosticReport?_count=1"
    with pytest.raises(TryAgainError, match="more than 5 pages"):
        list(search(server).changed_since(SINCE))


def test_the_check_asks_for_the_capability_statement(server: ReportServer) -> None:
    search(server).echo()
    server.status = 404
    with pytest.raises(TryAgainError, match="reports answered 404"):
        search(server).echo()
