"""What an HL7 v2 message says of patients, and the acknowledgement it gets (HL7 v2.5.1, chapters 2 and 3)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_UPDATES, _MERGES = ("A08", "A31"), ("A40",)
_CHARACTER_SETS = {
    "": "utf-8",
    "ASCII": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
}
"""MSH-18 (table 0211)."""
_NULL = '""'
"""What stands in a field whose value is to be deleted (2.5.3)."""
_SEXES = {"M": "M", "F": "F", "O": "O", "A": "O", "U": "", "N": "", _NULL: ""}
"""PID-8 (table 0001) as Patient's Sex; DICOM has no letter for unknown."""
_ESCAPE = re.compile(r"\\(F|S|T|R|E|\.br|X(?:[0-9A-F]{2})+|[^\\]*)\\")
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})
_MOST_ID, _MOST_NAME = 64, 64
"""Characters of a DICOM LO, and of each group of a PN (PS3.5, 6.2)."""
_LEGAL = ("", "L")


@dataclass(frozen=True)
class Told:
    """What a message says of one patient; None where it says nothing of it, empty where it takes a value back.

    `name` is a DICOM PN, `birth_date` a DA. `prior_id` is the patient that was merged into this one.
    """

    patient_id: str
    name: str | None = None
    birth_date: str | None = None
    sex: str | None = None
    prior_id: str = ""


@dataclass(frozen=True)
class Message:
    """A message as far as it can be acknowledged; `told` is empty for events that say nothing of interest here."""

    sender: str
    facility: str
    event: str
    control_id: str
    told: Sequence[Told] = ()


class UnacceptableError(Exception):
    """A message that is not taken over: what MSA-1 and ERR-3 (table 0357) say of it, and a text that names nobody."""

    def __init__(self, message: Message, acknowledgement: str, code: str, text: str) -> None:
        super().__init__(text)
        self.message = message
        self.acknowledgement = acknowledgement
        self.code = code
        self.text = text


@dataclass(frozen=True)
class _Syntax:
    """The separators that MSH-1 and MSH-2 name."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str

    def text(self, value: str) -> str:
        """A value without its escapes and on one line; sequences of formatting are dropped."""
        given = value.replace(self.escape, "\\") if self.escape != "\\" else value
        signs = {"F": self.field, "S": self.component, "T": self.subcomponent, "R": self.repetition, "E": self.escape}

        def shown(found: re.Match[str]) -> str:
            name = found[1]
            return bytes.fromhex(name[1:]).decode("utf-8", "replace") if name[:1] == "X" else signs.get(name, " ")

        return " ".join("".join(sign if sign.isprintable() else " " for sign in _ESCAPE.sub(shown, given)).split())


def read(content: bytes, authority: str) -> Message:
    """A message; of several identifiers of a patient the one of `authority` counts, or without one the first.

    UnacceptableError for one that is not taken over, ValueError for bytes that are no message.
    """
    head = content.split(b"\r", 1)[0].decode("latin-1")
    if not head.startswith("MSH") or len(head) < 8:
        raise ValueError("no MSH segment")
    syntax = _Syntax(head[3], head[4], head[5], head[6], head[7])
    fields = _Segment(syntax, head.split(syntax.field))
    kind, event = fields.component(9, 1, shift=1), fields.component(9, 2, shift=1)
    message = Message(fields.text(3, shift=1), fields.text(4, shift=1), event, fields.text(10, shift=1))
    if kind != "ADT":
        raise UnacceptableError(message, "AR", "200", "only ADT messages are taken")
    name = fields.component(18, 1, shift=1)
    if name not in _CHARACTER_SETS:
        raise UnacceptableError(message, "AR", "102", "the character set of MSH-18 is not read")
    if event not in (*_UPDATES, *_MERGES):
        return message
    try:
        text = content.decode(_CHARACTER_SETS[name])
    except UnicodeDecodeError:
        raise UnacceptableError(message, "AE", "102", "the text is not in the character set of MSH-18") from None
    segments = [_Segment(syntax, line.split(syntax.field)) for line in text.replace("\n", "\r").split("\r") if line]
    told = _merges(message, segments, authority) if event in _MERGES else _updates(message, segments, authority)
    return Message(message.sender, message.facility, event, message.control_id, told)


@dataclass(frozen=True)
class _Segment:
    syntax: _Syntax
    fields: Sequence[str]

    @property
    def name(self) -> str:
        return self.fields[0]

    def raw(self, number: int, shift: int = 0) -> str:
        """A field by its number; `shift` is 1 in MSH, whose first field is the separator itself."""
        at = number - shift
        return self.fields[at] if at < len(self.fields) else ""

    def text(self, number: int, shift: int = 0) -> str:
        return self.syntax.text(self.raw(number, shift))

    def repetitions(self, number: int) -> list[list[str]]:
        """The components of each repetition, with their escapes."""
        found = [one for one in self.raw(number).split(self.syntax.repetition) if one]
        return [one.split(self.syntax.component) for one in found]

    def component(self, number: int, part: int, shift: int = 0) -> str:
        parts = self.raw(number, shift).split(self.syntax.repetition)[0].split(self.syntax.component)
        return self.syntax.text(parts[part - 1]) if part <= len(parts) else ""


def _updates(message: Message, segments: Sequence[_Segment], authority: str) -> list[Told]:
    found = [_person(message, one, authority) for one in segments if one.name == "PID"]
    if not found:
        raise UnacceptableError(message, "AE", "100", "there is no PID segment")
    return [one for one in found if one is not None]


def _merges(message: Message, segments: Sequence[_Segment], authority: str) -> list[Told]:
    """Each MRG belongs to the PID before it (3.3.40)."""
    found: list[Told] = []
    person: Told | None = None
    seen = ""
    for one in segments:
        if one.name == "PID":
            person, seen = _person(message, one, authority), "PID"
        elif one.name == "MRG":
            if not seen:
                raise UnacceptableError(message, "AE", "100", "an MRG segment has no PID before it")
            prior, seen = _identifier(one, 1, authority), "MRG"
            if person is not None and prior and prior != person.patient_id:
                found.append(Told(person.patient_id, person.name, person.birth_date, person.sex, prior))
    if seen != "MRG":
        raise UnacceptableError(message, "AE", "100", "there is no MRG segment")
    return found


def _person(message: Message, segment: _Segment, authority: str) -> Told | None:
    """What a PID says; None for a patient who has no identifier of the authority that counts."""
    if not segment.repetitions(3):
        raise UnacceptableError(message, "AE", "101", "PID-3 names no patient")
    patient_id = _identifier(segment, 3, authority)
    if not patient_id:
        return None
    return Told(patient_id, _name(segment), _birth_date(segment), _SEXES.get(segment.text(8).upper()))


def _identifier(segment: _Segment, number: int, authority: str) -> str:
    """A CX's ID number: of the authority, by its namespace or its universal ID."""
    for parts in segment.repetitions(number):
        named = parts[3].split(segment.syntax.subcomponent) if len(parts) > 3 else []
        if not authority or authority in (segment.syntax.text(one) for one in named[:2]):
            return segment.syntax.text(parts[0])[:_MOST_ID]
    return ""


def _name(segment: _Segment) -> str | None:
    """PID-5 as a PN: alphabetic, ideographic and phonetic groups (XPN-8), of the legal name where there are several."""
    if segment.raw(5) == _NULL:
        return ""
    groups: dict[str, str] = {}
    for parts in sorted(segment.repetitions(5), key=lambda one: (one + [""] * 7)[6] not in _LEGAL):
        filled = [*parts, *[""] * 8]
        family = filled[0].split(segment.syntax.subcomponent)[0]
        # HL7's order is family, given, further, suffix, prefix; DICOM's has the prefix before the suffix.
        values = [segment.syntax.text(one) for one in (family, filled[1], filled[2], filled[4], filled[3])]
        group = "^".join("".join(sign for sign in one if sign not in "^=\\") for one in values).rstrip("^")[:_MOST_NAME]
        if group:
            groups.setdefault(filled[7] or "A", group)
    if not groups:
        return None
    return "=".join(groups.get(kind, "") for kind in "AIP").rstrip("=")


def _birth_date(segment: _Segment) -> str | None:
    given = segment.component(7, 1)
    if given == _NULL:
        return ""
    try:
        datetime.strptime(given[:8], "%Y%m%d")
    except ValueError:
        return None  # of a year alone no DA can be made
    return given[:8]


def acknowledgement(message: Message) -> bytes:
    """ACK of a message that was taken."""
    return _answer(message, "AA")


def refusal(error: UnacceptableError) -> bytes:
    """ACK of one that was not, with the reason."""
    reason = ["ERR", "", "", f"{error.code}^^HL70357", "E", "", "", "", _escaped(error.text)]
    return _answer(error.message, error.acknowledgement, reason)


def _answer(message: Message, code: str, *segments: Sequence[str]) -> bytes:
    moment = datetime.now(UTC)
    to = [_escaped(message.sender), _escaped(message.facility), moment.strftime("%Y%m%d%H%M%S+0000"), ""]
    kind, control = f"ACK^{_escaped(message.event)}^ACK", moment.strftime("%y%m%d%H%M%S%f")
    head = ["MSH", "^~\\&", "FRACTURE", "", *to, kind, control, "P", "2.5.1", *[""] * 5, "UNICODE UTF-8"]
    lines = [head, ["MSA", code, _escaped(message.control_id)], *segments]
    return "".join("|".join(fields) + "\r" for fields in lines).encode()


def _escaped(value: str) -> str:
    return value.translate(_ESCAPES)
