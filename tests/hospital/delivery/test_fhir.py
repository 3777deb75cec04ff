"""FHIR: resources that the published models accept, and what a server's answer means."""

import json
from typing import Any

import pytest
from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4B

from hospital.delivery.fhir import FhirSender, transaction
from hospital.delivery.settings import Fhir
from hospital.errors import DeadLetterError, TryAgainError
from tests.hospital.delivery import r4
from tests.hospital.delivery.packages import package
from tests.hospital.delivery.test_stow import server
from tests.hospital.objects import PATIENT


def destination(url: str = "https://fhir.example.org/base", release: str = "R4") -> Fhir:
    given = {"kind": "fhir", "name": "fhir", "url": url, "release": release, "patient_system": "urn:oid:1.2.3"}
    return Fhir.model_validate({**given, "timeout_seconds": 5})


def resources(**facts: Any) -> dict[str, dict[str, Any]]:
    bundle = transaction(package(**facts), destination())
    return {entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"]}


@pytest.mark.parametrize("suspicion", ["none", "possible", "high", ""])
@pytest.mark.parametrize(("release", "model"), [("R5", BundleR5), ("R4B", BundleR4B)])
def test_transaction_is_valid(release: str, model: Any, suspicion: str) -> None:
    given = package(suspicion=suspicion, probability=0.5 if suspicion else None)
    bundle = transaction(given, destination(release=release))
    assert len(model.model_validate_json(json.dumps(bundle)).entry) == 4


@pytest.mark.parametrize("suspicion", ["none", "possible", "high", ""])
def test_transaction_keeps_to_the_definitions_of_r4(suspicion: str) -> None:
    given = package(suspicion=suspicion, probability=0.5 if suspicion else None)
    assert r4.problems(transaction(given, destination(release="R4"))) == []


BROKEN: dict[str, tuple[str, Any, str]] = {
    "an element of R5": ("study", [{"reference": "urn:uuid:1"}], "study: is no element of R4"),
    "a code of no value set": ("status", "draft", "'draft' is none of the required codes"),
    "a list that is none": ("result", {"reference": "urn:uuid:1"}, "result: is no list"),
    "an instant without a zone": ("issued", "2026-11-27T08:00:00", "is no instant"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_definitions_of_r4_refuse(name: str) -> None:
    key, value, reason = BROKEN[name]
    report = resources()["DiagnosticReport"] | {key: value}
    (found,) = r4.problems(report)
    assert reason in found


def test_definitions_of_r4_miss_what_is_required() -> None:
    report = resources()["DiagnosticReport"]
    del report["code"]
    assert r4.problems(report) == ["DiagnosticReport.code: missing"]


def test_nothing_is_final() -> None:
    found = resources()
    assert found["DiagnosticReport"]["status"] == found["Observation"]["status"] == "preliminary"


def test_patient_is_named_by_identifier_alone() -> None:
    told = json.dumps(resources(), ensure_ascii=False)
    assert PATIENT.split("^", maxsplit=1)[0] not in told
    assert resources()["Observation"]["subject"]["identifier"] == {"system": "urn:oid:1.2.3", "value": "47|11"}


def test_later_version_updates_the_same_resources() -> None:
    first, second = (transaction(package(number=number), destination()) for number in (1, 2))
    assert [entry["request"] for entry in first["entry"]] == [entry["request"] for entry in second["entry"]]


def answered(*statuses: str) -> dict[str, Any]:
    entries = [{"response": {"status": status}} for status in statuses]
    return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}


def send(url: str) -> bool:
    return FhirSender(destination(url)).send(package(), lambda _: None).kept


def test_success_of_every_entry_is_success() -> None:
    with server(200, answered(*["201 Created"] * 4)) as (url, _):
        assert send(url)


@pytest.mark.parametrize("body", [None, {}, answered("201 Created"), answered(*["201"] * 3, "409 Conflict")])
def test_success_without_a_success_for_each_entry_is_a_failure(body: object) -> None:
    with server(200, body) as (url, _), pytest.raises(TryAgainError, match="of 4 resources"):
        send(url)


@pytest.mark.parametrize(("status", "kind"), [(401, DeadLetterError), (503, TryAgainError), (302, TryAgainError)])
def test_status_says_whether_to_try_again(status: int, kind: type[Exception]) -> None:
    with server(status) as (url, _), pytest.raises(kind, match=str(status)):
        send(url)
