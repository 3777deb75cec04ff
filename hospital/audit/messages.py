"""Audit messages by the schema of DICOM PS3.15, A.5.1; the tables of A.5.3 say what each event holds."""

import base64
import re
import socket
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from hospital.database import now

SUCCESS, MINOR_FAILURE, SERIOUS_FAILURE = 0, 4, 8
"""EventOutcomeIndicator: done; refused, may try again; refused and locked out."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Code:
    """A coded value."""

    value: str
    meaning: str
    system: str = "DCM"


APPLICATION_ACTIVITY = Code("110100", "Application Activity")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
EXPORT = Code("110106", "Export")
PATIENT_RECORD = Code("110110", "Patient Record")
PROCEDURE_RECORD = Code("110111", "Procedure Record")
QUERY = Code("110112", "Query")
USER_AUTHENTICATION = Code("110114", "User Authentication")
_APPLICATION_START, _APPLICATION_STOP = Code("110120", "Application Start"), Code("110121", "Application Stop")
_LOGIN, _LOGOUT = Code("110122", "Login"), Code("110123", "Logout")
_APPLICATION = Code("110150", "Application")
_DESTINATION, _SOURCE = Code("110152", "Destination Role ID"), Code("110153", "Source Role ID")
_DESTINATION_MEDIA = Code("110154", "Destination Media")
_STUDY_UID = Code("110180", "Study Instance UID")
_PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
_SEARCH_CRITERIA = Code("10", "Search Criteria", "RFC-3881")
_MACHINE_NAME, _IP_ADDRESS, _URI = "1", "2", "5"
_APPLICATION_SERVER = "4"  # AuditSourceTypeCode (A.5.1.2.1)


@dataclass(frozen=True)
class Participant:
    """A person or process that took part; `address` is an IP address, a host's name or a URI."""

    user_id: str
    requestor: bool = False
    role: Code | None = None
    alternative_id: str = ""
    address: str = ""


@dataclass(frozen=True)
class Subject:
    """What the event was about: a study, a patient, or what was asked for."""

    kind: Literal["person", "system"]
    role: int
    id_type: Code
    id: str
    name: str = ""
    query: bytes = b""
    accession: str = ""
    instances: tuple[tuple[str, int], ...] = ()  # SOP Class UIDs, and how many objects there are of each


@dataclass(frozen=True)
class Event:
    """Something to be kept; `at` is in seconds since 1970, UTC."""

    id: Code
    action: Literal["C", "R", "U", "D", "E"]
    participants: Sequence[Participant]
    subjects: Sequence[Subject] = ()
    type: Code | None = None
    outcome: int = SUCCESS
    description: str = ""
    at: float = field(default_factory=now)


def activity(gateway: str, ae_title: str, starts: bool) -> Event:
    """The gateway started or stopped (A.5.3.1)."""
    process = Participant(gateway, role=_APPLICATION, alternative_id=f"AETITLES={ae_title}", address=_here())
    kind = _APPLICATION_START if starts else _APPLICATION_STOP
    return Event(APPLICATION_ACTIVITY, "E", [process], type=kind)


def authentication(
    user: str, address: str, gateway: str, *, ends: bool = False, outcome: int = SUCCESS, why: str = ""
) -> Event:
    """Someone logged in, failed to, or logged out (A.5.3.12); `user` is the name that was given."""
    people = [Participant(user or "-", True, address=address), Participant(gateway, address=_here())]
    kind = _LOGOUT if ends else _LOGIN
    return Event(USER_AUTHENTICATION, "E", people, type=kind, outcome=outcome, description=why)


def worklist_query(user: str, address: str, gateway: str, asked: str) -> Event:
    """Someone asked for the worklist (A.5.3.10); `asked` is the request's path and query."""
    people = [Participant(user, True, _SOURCE, address=address), Participant(gateway, role=_DESTINATION)]
    subject = Subject("system", 3, _SEARCH_CRITERIA, "worklist", query=asked.encode())
    return Event(QUERY, "E", people, [subject])


def procedure_shown(user: str, address: str, study: "Study") -> Event:
    """Someone was shown a study's entry (A.5.3.15)."""
    return Event(PROCEDURE_RECORD, "R", [Participant(user, True, address=address)], study.subjects())


def received(sender: str, ae_title: str, study: "Study", at: float) -> Event:
    """Objects of a study were received (A.5.3.7)."""
    people = [
        Participant(sender or "-", True, _SOURCE, f"AETITLES={sender}" if sender else ""),
        Participant(ae_title, role=_DESTINATION, alternative_id=f"AETITLES={ae_title}", address=_here()),
    ]
    return Event(INSTANCES_TRANSFERRED, "C", people, study.subjects(), at=at)


def transferred(ae_title: str, destination: str, address: str, study: "Study", at: float) -> Event:
    """Results went to a DICOM destination (A.5.3.7, from a source that cannot say what the receiver held)."""
    people = [
        Participant(ae_title, True, _SOURCE, f"AETITLES={ae_title}", _here()),
        Participant(destination, role=_DESTINATION, address=address),
    ]
    return Event(INSTANCES_TRANSFERRED, "R", people, study.subjects(), at=at)


def exported(gateway: str, destination: str, address: str, study: "Study", at: float) -> Event:
    """A result went out in another form, as a FHIR transaction or an HL7 message (A.5.3.4)."""
    people = [
        Participant(destination, role=_DESTINATION, address=address),
        Participant(gateway, True, _SOURCE, address=_here()),
        Participant(destination, role=_DESTINATION_MEDIA, address=address),
    ]
    return Event(EXPORT, "R", people, study.subjects(), at=at)


def exported_for_research(user: str, gateway: str, folder: str, study: "Study") -> Event:
    """Someone writes de-identified images of a study to a folder, given as a URI (A.5.3.4)."""
    people = [
        Participant(folder, role=_DESTINATION),
        Participant(user, True, _SOURCE, address=_here()),
        Participant(gateway, role=_SOURCE),
        Participant(folder, role=_DESTINATION_MEDIA, address=folder),
    ]
    return Event(EXPORT, "R", people, study.subjects(), description="de-identified, for research")


def patient_changed(sender: str, gateway: str, patient_id: str, name: str) -> Event:
    """What is known of a patient was changed by a message (A.5.3.14)."""
    people = [Participant(sender or "-", True, _SOURCE), Participant(gateway, role=_DESTINATION, address=_here())]
    patient = Subject("person", 1, _PATIENT_NUMBER, patient_id, name or "unknown")
    return Event(PATIENT_RECORD, "U", people, [patient])


@dataclass(frozen=True)
class Study:
    """A study and its patient, as far as they are known."""

    uid: str
    patient_id: str = ""
    patient_name: str = ""
    accession: str = ""
    instances: tuple[tuple[str, int], ...] = ()

    def subjects(self) -> list[Subject]:
        """The study and the patient as the tables of A.5.3 want them."""
        name = self.accession or self.uid or "unknown"
        study = Subject(
            "system", 3, _STUDY_UID, self.uid or "unknown", name, accession=self.accession, instances=self.instances
        )
        patient = Subject("person", 1, _PATIENT_NUMBER, self.patient_id or "unknown", self.patient_name or "unknown")
        return [study, patient]


def encoded(event: Event, source: str, site: str) -> bytes:
    """The message as XML in UTF-8, on one line."""
    root = ET.Element("AuditMessage")
    when = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    about = _add(
        root,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=when,
        EventOutcomeIndicator=str(event.outcome),
    )
    _add_code(about, "EventID", event.id)
    if event.type is not None:
        _add_code(about, "EventTypeCode", event.type)
    if event.description:
        _add(about, "EventOutcomeDescription").text = _clean(event.description)
    for participant in event.participants:
        _add_participant(root, participant)
    site_id = {"AuditEnterpriseSiteID": site} if site else {}
    reported = _add(root, "AuditSourceIdentification", **site_id, AuditSourceID=source)
    _add(reported, "AuditSourceTypeCode", **{"csd-code": _APPLICATION_SERVER})
    for subject in event.subjects:
        _add_subject(root, subject)
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=False)
    return b'<?xml version="1.0" encoding="UTF-8"?>' + content


def _add_participant(root: ET.Element, given: Participant) -> None:
    attributes = {"UserID": given.user_id}
    if given.alternative_id:
        attributes["AlternativeUserID"] = given.alternative_id
    attributes["UserIsRequestor"] = "true" if given.requestor else "false"
    if given.address:
        attributes |= {"NetworkAccessPointID": given.address, "NetworkAccessPointTypeCode": _point(given.address)}
    element = _add(root, "ActiveParticipant", **attributes)
    if given.role is not None:
        _add_code(element, "RoleIDCode", given.role)
    if given.role == _DESTINATION_MEDIA:
        _add_code(_add(element, "MediaIdentifier"), "MediaType", Code("110037", "URI"))


def _add_subject(root: ET.Element, given: Subject) -> None:
    element = _add(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=given.id,
        ParticipantObjectTypeCode="1" if given.kind == "person" else "2",
        ParticipantObjectTypeCodeRole=str(given.role),
    )
    _add_code(element, "ParticipantObjectIDTypeCode", given.id_type)
    if given.query:
        _add(element, "ParticipantObjectQuery").text = base64.b64encode(given.query).decode()
    else:
        _add(element, "ParticipantObjectName").text = _clean(given.name)
    if given.accession or given.instances:
        told = _add(element, "ParticipantObjectDescription")
        if given.accession:
            _add(told, "Accession", Number=given.accession)
        for sop_class, count in given.instances:
            _add(told, "SOPClass", UID=sop_class, NumberOfInstances=str(count))


def _add(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, {name: _clean(value) for name, value in attributes.items()})


def _add_code(parent: ET.Element, tag: str, code: Code) -> None:
    _add(parent, tag, **{"csd-code": code.value, "codeSystemName": code.system, "originalText": code.meaning})


def _clean(text: str) -> str:
    """Without what XML cannot hold, on one line: a value of a header or a form must not end a line of the trail."""
    return " ".join(_NOT_XML.sub("?", text).split())


def _point(address: str) -> str:
    if "://" in address:
        return _URI
    return _IP_ADDRESS if re.fullmatch(r"[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", address) else _MACHINE_NAME


def _here() -> str:
    return socket.gethostname()
