"""Final reports from HL7 v2 ORU^R01 messages, and the acknowledgements of these."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from hospital.labels.reports import FinalReport, texts

_FINAL, _WITHDRAWN = frozenset("FC"), frozenset("XD")
"""OBR-25 (table 0123) and OBX-11 (table 0085): final or corrected; cancelled or deleted."""
_CODED = frozenset({"CE", "CWE", "CNE", "CF", "ID", "IS"})
"""OBX-2: what has a code. Text is never read."""
_STUDY_UID = frozenset({"110180", "113014"})
"""OBX-3: Study Instance UID, Study (DICOM PS3.16)."""


class Hl7Error(Exception):
    """A message that cannot be used; the text is for its sender and repeats nothing of the message."""


@dataclass(frozen=True)
class Message:
    """A message's segments, split into fields; `fields[n]` is field n, as the standard counts."""

    segments: tuple[tuple[str, ...], ...]
    component: str
    repetition: str
    escape: str

    @classmethod
    def parse(cls, content: bytes) -> "Message":
        """Split a message by the separators that it names itself; Hl7Error for one that is none.

        Identifiers and codes are ASCII in every character set that MSH-18 may name but UTF-16, which MLLP rules out.
        """
        text = content.decode("utf-8", "replace").replace("\r\n", "\r").replace("\n", "\r").lstrip("\ufeff\r ")
        if not text.startswith("MSH") or len(text) < 8:
            raise Hl7Error("the message does not begin with MSH")
        field, component, repetition, escape = text[3], text[4], text[5], text[6]
        segments = []
        for line in text.split("\r"):
            if line.strip():
                fields = line.split(field)
                # MSH-1 is the separator itself.
                segments.append((fields[0], field, *fields[1:]) if fields[0] == "MSH" else tuple(fields))
        return cls(tuple(segments), component, repetition, escape)

    @property
    def kind(self) -> tuple[str, str]:
        """MSH-9: message code and trigger event."""
        parts = [*_field(self.segments[0], 9).split(self.component), ""]
        return parts[0].strip(), parts[1].strip()

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return _field(self.segments[0], 10).strip()

    def of(self, segment: tuple[str, ...], number: int) -> list[str]:
        """The first component of each repetition of a field."""
        repeated = _field(segment, number).split(self.repetition)
        return [self._unescaped(one.split(self.component)[0]) for one in repeated]

    def _unescaped(self, text: str) -> str:
        mark = self.escape
        plain = {"F": self.segments[0][1], "S": self.component, "R": self.repetition, "T": "&", "E": mark}
        for letter, sign in plain.items():
            text = text.replace(f"{mark}{letter}{mark}", sign)
        return text


def final_reports(message: Message) -> list[FinalReport]:
    """The final, corrected or withdrawn reports of an ORU^R01, by OBR and study; Hl7Error for other messages."""
    if message.kind != ("ORU", "R01"):
        raise Hl7Error("only ORU^R01 is taken here")
    patients = texts(value for one in message.segments if one[0] == "PID" for value in message.of(one, 3))
    found = []
    for group in _groups(message):
        status = _field(group[0], 25).strip()
        if status not in _FINAL | _WITHDRAWN:
            continue
        observations = [one for one in group if one[0] == "OBX"]
        studies = [value for one in group if one[0] == "IPC" for value in message.of(one, 3)]
        studies += [v for one in observations if _STUDY_UID & set(message.of(one, 3)) for v in message.of(one, 5)]
        accessions = [value for number in (18, 3, 2) for value in message.of(group[0], number)]
        accessions += [value for one in group if one[0] == "IPC" for value in message.of(one, 1)]
        codes = [value for one in observations if _is_conclusion(one) for value in message.of(one, 5)]
        found += [
            FinalReport(study, texts(accessions), patients, texts(codes), withdrawn=status in _WITHDRAWN)
            for study in sorted(texts(studies)) or [""]
        ]
    return found


def acknowledgement(message: Message | None, code: str, text: str = "") -> bytes:
    """An ACK: AA taken, AE to be sent again, AR never to be sent again."""
    moment = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    asked = message.segments[0] if message is not None else ()
    about = message.control_id if message is not None else ""
    separator = message.segments[0][1] if message is not None else "|"
    signs = _field(asked, 2) or "^~\\&"
    trigger = message.kind[1] if message is not None else ""
    kind = signs[0].join(("ACK", trigger, "ACK")) if trigger else "ACK"
    header = [
        "MSH",
        signs,
        _field(asked, 5),
        _field(asked, 6),
        _field(asked, 3),
        _field(asked, 4),
        moment,
        "",
        kind,
        f"ACK{about}"[:199],
        _field(asked, 11) or "P",
        _field(asked, 12) or "2.5.1",
    ]
    return f"{separator.join(header)}\rMSA{separator}{code}{separator}{about}{separator}{text}\r".encode()


def _groups(message: Message) -> Iterator[list[tuple[str, ...]]]:
    """The segments from each OBR up to the next."""
    group: list[tuple[str, ...]] = []
    for segment in message.segments:
        if segment[0] == "OBR":
            if group:
                yield group
            group = [segment]
        elif group:
            group.append(segment)
    if group:
        yield group


def _is_conclusion(segment: tuple[str, ...]) -> bool:
    """Whether an OBX holds a code that is final."""
    status = _field(segment, 11).strip()
    return _field(segment, 2).strip() in _CODED and (not status or status in _FINAL)


def _field(segment: tuple[str, ...], number: int) -> str:
    return segment[number] if len(segment) > number else ""
