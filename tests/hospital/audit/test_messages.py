"""Audit messages have the form of PS3.15, A.5.1, and hold what the tables of A.5.3 ask for."""

import base64
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from pydicom.sr._concepts_dict import concepts

from hospital.audit import messages
from hospital.audit.messages import Code, Event, Participant, Study
from tests.hospital.audit.reading import tree

STUDY = Study("1.2.3", "4711", "Doe^Jane", "A1", (("1.2.840.10008.5.1.4.1.1.1", 2),))
EVENTS = {
    "start": messages.activity("gateway", "FRACTURE", starts=True),
    "stop": messages.activity("gateway", "FRACTURE", starts=False),
    "login": messages.authentication("reader", "192.0.2.1", "gateway"),
    "failed": messages.authentication("reader", "192.0.2.1", "gateway", outcome=4, why="wrong"),
    "logout": messages.authentication("reader", "192.0.2.1", "gateway", ends=True),
    "query": messages.worklist_query("reader", "192.0.2.1", "gateway", "/worklist?page=1"),
    "shown": messages.procedure_shown("reader", "2001:db8::1", STUDY),
    "received": messages.received("MODALITY", "FRACTURE", STUDY, 1.5),
    "transferred": messages.transferred("FRACTURE", "PACS", "pacs.example", STUDY, 1.5),
    "research": messages.exported_for_research("jane", "gateway", "file:///data/research", STUDY),
    "patient": messages.patient_changed("HIS", "gateway", "4711", "Doe^Jane"),
    "exported": messages.exported("gateway", "ehr", "https://fhir.example/base", STUDY, 1.5),
}
CHILDREN = {
    "AuditMessage": [
        "EventIdentification", "ActiveParticipant", "AuditSourceIdentification", "ParticipantObjectIdentification",
    ],
    "EventIdentification": ["EventID", "EventTypeCode", "EventOutcomeDescription"],
    "ActiveParticipant": ["RoleIDCode", "MediaIdentifier"],
    "MediaIdentifier": ["MediaType"],
    "AuditSourceIdentification": ["AuditSourceTypeCode"],
    "ParticipantObjectIdentification": [
        "ParticipantObjectIDTypeCode", "ParticipantObjectName", "ParticipantObjectQuery",
        "ParticipantObjectDescription",
    ],
    "ParticipantObjectDescription": ["Accession", "SOPClass"],
}  # fmt: skip
"""What the schema lets an element hold, in its order."""
REQUIRED = {
    "EventIdentification": {"EventDateTime", "EventOutcomeIndicator"},
    "ActiveParticipant": {"UserID", "UserIsRequestor"},
    "AuditSourceIdentification": {"AuditSourceID"},
    "ParticipantObjectIdentification": {"ParticipantObjectID"},
    "SOPClass": {"NumberOfInstances"},
    "Accession": {"Number"},
    **{
        coded: {"csd-code", "codeSystemName", "originalText"}
        for coded in ("EventID", "EventTypeCode", "RoleIDCode", "MediaType", "ParticipantObjectIDTypeCode")
    },
}


def parsed(event: Event) -> ET.Element:
    return tree(messages.encoded(event, "gateway", "Hospital"))


@pytest.mark.parametrize("name", EVENTS)
def test_message_has_the_form_of_the_schema(name: str) -> None:
    for element in parsed(EVENTS[name]).iter():
        order = CHILDREN.get(element.tag, [])
        places = [order.index(child.tag) for child in element]
        assert places == sorted(places), element.tag
        assert REQUIRED.get(element.tag, set()) <= set(element.attrib), element.tag
        assert all(element.attrib.values()), element.tag


@pytest.mark.parametrize("name", EVENTS)
def test_at_most_one_participant_is_the_requestor(name: str) -> None:
    people = parsed(EVENTS[name]).findall("ActiveParticipant")
    assert sum(one.get("UserIsRequestor") == "true" for one in people) <= 1


@pytest.mark.parametrize("name", EVENTS)
def test_object_has_either_a_name_or_a_query(name: str) -> None:
    for subject in parsed(EVENTS[name]).findall("ParticipantObjectIdentification"):
        found = [subject.findtext(f"ParticipantObject{part}") for part in ("Name", "Query")]
        assert sum(bool(text) for text in found) == 1


def test_codes_are_those_of_the_standard() -> None:
    entries: Any = concepts["DCM"]
    standard = {code: meaning for entry in entries.values() for code, (meaning, _) in entry.items()}
    codes = [one for one in vars(messages).values() if isinstance(one, Code) and one.system == "DCM"]
    codes.append(Code("110037", "URI"))
    assert len(codes) > 10
    assert [(one.value, one.meaning) for one in codes] == [(one.value, standard[one.value]) for one in codes]


@pytest.mark.parametrize(
    ("name", "event", "kind", "action"),
    [
        ("start", "110100", "110120", "E"), ("stop", "110100", "110121", "E"), ("login", "110114", "110122", "E"),
        ("logout", "110114", "110123", "E"), ("query", "110112", None, "E"), ("shown", "110111", None, "R"),
        ("received", "110104", None, "C"), ("transferred", "110104", None, "R"), ("exported", "110106", None, "R"),
        ("research", "110106", None, "R"), ("patient", "110110", None, "U"),
    ],
)  # fmt: skip
def test_event_has_its_code_and_action(name: str, event: str, kind: str | None, action: str) -> None:
    about = parsed(EVENTS[name]).find("EventIdentification")
    assert about is not None
    kinds = [one.get("csd-code") for one in about.findall("EventTypeCode")]
    (code,) = [one.get("csd-code") for one in about.findall("EventID")]
    assert (code, kinds, about.get("EventActionCode")) == (event, [kind] if kind else [], action)


def test_roles_say_who_sent_and_who_took() -> None:
    people = parsed(EVENTS["received"]).findall("ActiveParticipant")
    roles = {one.get("UserID"): role.get("csd-code") for one in people for role in one.findall("RoleIDCode")}
    assert roles == {"MODALITY": "110153", "FRACTURE": "110152"}


@pytest.mark.parametrize(
    ("address", "kind"),
    [("192.0.2.1", "2"), ("2001:db8::1", "2"), ("pacs.example", "1"), ("https://fhir.example/base", "5")],
)
def test_address_says_what_it_is(address: str, kind: str) -> None:
    event = Event(messages.QUERY, "E", [Participant("a", address=address)])
    person = parsed(event).find("ActiveParticipant")
    assert person is not None
    assert person.get("NetworkAccessPointTypeCode") == kind


def test_time_is_utc() -> None:
    about = parsed(EVENTS["received"]).find("EventIdentification")
    assert about is not None
    assert about.get("EventDateTime") == "1970-01-01T00:00:01.500Z"


def test_query_is_told_as_it_was_sent() -> None:
    text = parsed(EVENTS["query"]).findtext(".//ParticipantObjectQuery")
    assert text is not None
    assert base64.b64decode(text) == b"/worklist?page=1"


@pytest.mark.parametrize("hostile", ['"><x a="', "a\nb\r\nc", "\0\x1b[31m\ud800", "\ufffe", "]]>&amp;"])
def test_hostile_value_stays_a_value_on_one_line(hostile: str) -> None:
    study = Study(hostile, hostile, hostile, hostile)
    content = messages.encoded(messages.procedure_shown(hostile, "192.0.2.1", study), "gateway", "")
    assert b"\n" not in content
    assert len(list(tree(content))) == 5


def test_unknown_patient_and_study_leave_no_field_empty() -> None:
    assert all(all(one.attrib.values()) for one in parsed(messages.procedure_shown("a", "b", Study(""))).iter())
