"""Final reports as a hospital's systems write them."""

from typing import Any


def oru(
    *observations: str, status: str = "F", patient: str = "4711", accession: str = "A1", kind: str = "ORU^R01^ORU_R01"
) -> bytes:
    """An ORU^R01 of one order; observations are segments from OBX-2 on."""
    lines = [
        f"MSH|^~\\&|RIS|HOSPITAL|FRACTURE||20261127101500||{kind}|M1|P|2.5.1",
        f"PID|1||{patient}^^^HOSPITAL^MR||Öztürk^Otto",
        f"OBR|1|O9|F9|18748-4^Diagnostic imaging study^LN{'|' * 14}{accession}{'|' * 7}{status}",
        *(f"OBX|{number}|{rest}" for number, rest in enumerate(observations, start=1)),
    ]
    return "\r".join(lines).encode() + b"\r"


def coded(code: str, status: str = "F") -> str:
    """An observation with a code as its value."""
    return f"CWE|55110-1^Conclusion^LN||{code}^In words^SCT||||||{status}"


def study(uid: str) -> str:
    """An observation that names the study."""
    return f"ST|110180^Study Instance UID^DCM||{uid}||||||F"


def diagnostic_report(**changes: Any) -> dict[str, Any]:
    """A FHIR R4 DiagnosticReport, with some members replaced or, for None, left out."""
    report = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "identifier": [{"type": {"coding": [{"code": "ACSN"}]}, "value": "A1"}],
        "subject": {"identifier": {"value": "4711"}, "display": "Öztürk, Otto"},
        "imagingStudy": [{"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}}],
        "conclusion": "No fracture of Otto Öztürk's wrist.",
        "conclusionCode": [{"coding": [{"system": "http://snomed.info/sct", "code": "NEG"}]}],
        **changes,
    }
    return {key: value for key, value in report.items() if value is not None}
