"""FHIR DiagnosticReports to final reports."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from hospital.labels.fhir import final_reports
from tests.hospital.labels.messages import diagnostic_report


def test_a_final_report_names_its_study_patient_accession_number_and_codes() -> None:
    (report,) = final_reports(diagnostic_report())
    assert report.study_uid == "1.2.3"
    assert report.accession_numbers == {"A1"}
    assert report.patient_ids == {"4711"}
    assert report.codes == {"NEG"}
    assert not report.withdrawn


@pytest.mark.parametrize(
    ("status", "withdrawn"),
    [("amended", [False]), ("entered-in-error", [True]), ("preliminary", []), ("registered", []), (None, [])],
)
def test_what_is_not_final_says_nothing_and_what_is_an_error_takes_back(status: str, withdrawn: list[bool]) -> None:
    assert [report.withdrawn for report in final_reports(diagnostic_report(status=status))] == withdrawn


def test_the_study_may_be_contained_and_is_called_study_in_r5() -> None:
    study = {"resourceType": "ImagingStudy", "id": "s", "identifier": [{"value": "urn:oid:1.2.4"}]}
    changes = {"imagingStudy": None, "study": [{"reference": "#s"}], "contained": [study]}
    assert [report.study_uid for report in final_reports(diagnostic_report(**changes))] == ["1.2.4"]


def test_a_bundle_holds_several() -> None:
    entries = [{"resource": diagnostic_report()}, {"resource": {"resourceType": "Patient"}}, {}]
    assert len(final_reports({"resourceType": "Bundle", "entry": entries})) == 1


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"resourceType": "Bundle", "entry": 3}, {"resourceType": "Bundle", "entry": [{"resource": 1}]}],
)
def test_what_is_no_report_says_nothing(document: object) -> None:
    assert final_reports(document) == []


def _replaced(document: Any, value: Any) -> Iterator[Any]:
    """A document with one of its values replaced, for each of them."""
    places = document.items() if isinstance(document, dict) else enumerate(document)
    for place, inner in list(places):
        changed = list(document) if isinstance(document, list) else dict(document)
        for new in (value, *(_replaced(inner, value) if isinstance(inner, (dict, list)) else ())):
            changed[place] = new
            yield copy.deepcopy(changed)


@pytest.mark.parametrize("value", [3, True, None, "x", [], ["x"], {}, {"code": []}], ids=repr)
def test_value_of_another_form_anywhere_raises_nothing(value: Any) -> None:
    bundle = {"resourceType": "Bundle", "entry": [{"fullUrl": "urn:a", "resource": diagnostic_report()}]}
    for document in _replaced(bundle, value):
        final_reports(document)


@pytest.mark.parametrize("member", ["identifier", "subject", "imagingStudy", "conclusionCode", "contained", "basedOn"])
@pytest.mark.parametrize("value", [3, "x", [3], {"coding": 3}, [{"coding": 3, "identifier": 3, "type": 3}]])
def test_a_member_of_another_form_is_passed_over(member: str, value: Any) -> None:
    assert len(final_reports(diagnostic_report(**{member: value}))) == 1
