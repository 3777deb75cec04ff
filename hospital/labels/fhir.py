"""Final reports from FHIR DiagnosticReports (R4, R4B, R5)."""

from collections.abc import Iterator
from typing import Any

from hospital.labels.reports import FinalReport, texts

_FINAL = frozenset({"final", "amended", "corrected", "appended"})
_WITHDRAWN = frozenset({"cancelled", "entered-in-error"})
_ACCESSION = "ACSN"
"""Of an identifier's type (HL7 v2 table 0203)."""
_OID = "urn:oid:"
STATUSES = tuple(sorted(_FINAL | _WITHDRAWN))
"""Of the reports that say something."""

Resource = dict[str, Any]


def final_reports(document: object) -> list[FinalReport]:
    """The final, amended or withdrawn reports of a resource or of a Bundle's entries; other resources say nothing."""
    return [report for _, reports in reports_by_id(document) for report in reports]


def reports_by_id(document: object) -> Iterator[tuple[str, list[FinalReport]]]:
    """The same, for each DiagnosticReport beside its id; what it refers to may stand in the same Bundle."""
    others = _others(document)
    for resource in _resources(document):
        yield str(resource.get("id", "")), list(_reports(resource, others))


def _others(document: object) -> dict[str, Resource]:
    """A Bundle's resources by what references call them: the full address, or type and id."""
    if not isinstance(document, dict) or document.get("resourceType") != "Bundle":
        return {}
    found = {}
    for entry in _list(document.get("entry")):
        resource = _dict(entry.get("resource"))
        for name in (entry.get("fullUrl"), f"{resource.get('resourceType')}/{resource.get('id')}"):
            found[str(name)] = resource
    return found


def _resources(document: object) -> Iterator[Resource]:
    if not isinstance(document, dict):
        return
    if document.get("resourceType") == "Bundle":
        for entry in _list(document.get("entry")):
            yield from _resources(entry.get("resource"))
    elif document.get("resourceType") == "DiagnosticReport":
        yield document


def _reports(report: Resource, others: dict[str, Resource]) -> Iterator[FinalReport]:
    status = report.get("status")
    if not isinstance(status, str) or status not in _FINAL | _WITHDRAWN:
        return
    known = others | {f"#{one.get('id')}": one for one in _list(report.get("contained"))}
    studies = [
        value.removeprefix(_OID)
        for reference in (*_list(report.get("imagingStudy")), *_list(report.get("study")))
        for identifier in _identifiers(reference, known)
        if (value := str(identifier.get("value", ""))).startswith(_OID)
    ]
    orders = [one for reference in _list(report.get("basedOn")) for one in _identifiers(reference, known)]
    accessions = [
        identifier.get("value")
        for identifier in (*_list(report.get("identifier")), *orders)
        if any(coding.get("code") == _ACCESSION for coding in _list(_dict(identifier.get("type")).get("coding")))
    ]
    codes = [
        coding.get("code") for concept in _list(report.get("conclusionCode")) for coding in _list(concept.get("coding"))
    ]
    patients = [one.get("value") for one in _identifiers(_dict(report.get("subject")), known)]
    for study in sorted(texts(studies)) or [""]:
        yield FinalReport(study, texts(accessions), texts(patients), texts(codes), withdrawn=status in _WITHDRAWN)


def _identifiers(reference: Resource, known: dict[str, Resource]) -> list[Resource]:
    """What identifies the target of a reference: in the reference itself, and in the resource if that is known."""
    target = known.get(str(reference.get("reference")).partition("/_history/")[0], {})
    return [*_list([reference.get("identifier")]), *_list(target.get("identifier"))]


def _list(value: object) -> list[Resource]:
    """The objects in a list; none where it is something else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _dict(value: object) -> Resource:
    return value if isinstance(value, dict) else {}
