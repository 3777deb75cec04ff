"""HL7 v2.5.1 ORU^R01 over MLLP: taken is what was answered MSA-1 AA for its own MSH-10."""

import hashlib
import socket
from collections.abc import Sequence
from datetime import UTC, datetime

from hospital.delivery import Announce, Package, Promise
from hospital.delivery.settings import Hl7
from hospital.errors import DeadLetterError, TryAgainError
from hospital.mllp import END, START
from hospital.results.version import NOT_A_DIAGNOSIS
from hospital.unanswered import unreachable, why

_MOST = 1 << 20
"""Bytes of an answer that are read."""
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": " ", "\n": " "})
_HIGH_PRIORITY = "A^As soon as possible (a high priority)^HL70485"
"""TQ1-9 (table 0485)."""
_ABNORMAL = {"high": "AA", "possible": "A", "none": "N"}
"""OBX-8 (table 0078)."""


class Hl7Sender:
    """Sends to one receiving application, each message on a connection of its own."""

    def __init__(self, destination: Hl7, sending: str) -> None:
        self._destination = destination
        self._sending = sending

    def echo(self) -> None:
        """A connection: HL7 v2 has no request that asks for nothing."""
        self._connected().close()

    def send(self, package: Package, _announce: Announce) -> Promise:
        """One message for a version."""
        control = control_id(package)
        to = self._destination
        message = oru(package, self._sending, to.application, to.facility, to.priority)
        with self._connected() as connection:
            try:
                connection.sendall(START + message.encode() + END)
                answer = self._answer(connection)
            except OSError as error:
                raise TryAgainError("no_answer", f"{self._destination.name} did not answer ({error})") from None
        code, about, text = acknowledgement(answer)
        if code in {"AA", "CA"} and about == control:
            return Promise(kept=True)
        name = self._destination.name
        if code in {"AR", "CR"}:
            raise DeadLetterError("hl7_rejected", f"{name} rejects the message: {text}"[:200])
        if code in {"AA", "CA"}:
            raise TryAgainError("hl7_other", f"{name} acknowledged another message")
        raise TryAgainError("hl7_error", f"{name} answered {code or 'no acknowledgement'}: {text}"[:200])

    def _connected(self) -> socket.socket:
        to = self._destination
        try:
            plain = socket.create_connection((to.host, to.port), to.timeout_seconds)
        except OSError as error:
            raise unreachable(f"{to.host}:{to.port}", error) from None
        if to.tls is None:
            return plain
        try:
            return to.tls.client().wrap_socket(plain, server_hostname=to.host)
        except OSError as error:
            plain.close()
            raise TryAgainError("tls", f"{to.host}:{to.port}: no TLS ({why(error)})") from None

    def _answer(self, connection: socket.socket) -> str:
        found = b""
        while not found.endswith(END):
            block = connection.recv(4096)
            if not block or len(found) > _MOST:
                break
            found += block
        return found.removeprefix(START).removesuffix(END).decode("utf-8", "replace")


def control_id(package: Package) -> str:
    """MSH-10, at most 20 characters: the same for each repetition, so that a receiver can tell them."""
    return hashlib.sha256(package.identity.encode()).hexdigest()[:20].upper()


def oru(package: Package, sending: str, application: str, facility: str, priority: bool = False) -> str:
    """The message, segments ended by a carriage return; text is UTF-8 (MSH-18).

    With `priority`, one whose suspicion is high says so in TQ1-9.
    """
    moment = datetime.fromtimestamp(package.made_at, UTC).strftime("%Y%m%d%H%M%S+0000")
    patient = package.patient
    name = "^".join(part.translate(_ESCAPES) for part in patient.get("name", "").split("=")[0].split("^"))
    header = [
        "MSH",
        "^~\\&",
        sending,
        "",
        application,
        facility,
        moment,
        "",
        "ORU^R01^ORU_R01",
        control_id(package),
        "P",
        "2.5.1",
        "",
        "",
        "",
        "",
        "",
        "UNICODE UTF-8",
    ]
    person = [
        "PID",
        "1",
        "",
        _text(patient.get("id", "")),
        "",
        name,
        "",
        patient.get("birth_date", ""),
        patient.get("sex", ""),
    ]
    accession = _text(patient.get("accession_number", ""))
    performed = patient.get("study_date", "") + patient.get("study_time", "").split(".")[0]
    # The result status P: preliminary, nobody has verified it.
    order = [
        "OBR",
        "1",
        accession,
        accession,
        "18748-4^Diagnostic imaging study^LN",
        "",
        "",
        performed,
        *[""] * 14,
        moment,
        "",
        "RAD",
        "P",
    ]
    timing = [["TQ1", "1", *[""] * 7, _HIGH_PRIORITY]] if priority and package.suspicion == "high" else []
    segments = [header, person, order, *timing, *_observations(package)]
    return "\r".join("|".join(fields).rstrip("|") for fields in segments) + "\r"


def _observations(package: Package) -> list[Sequence[str]]:
    """OBX segments: the statement, the probability, the study, and what the result is not."""
    found: list[Sequence[str]] = []

    def add(kind: str, name: str, value: str, unit: str = "", abnormal: str = "") -> None:
        number = str(len(found) + 1)
        found.append(["OBX", number, kind, name, "", value, unit, "", abnormal, "", "", "P"])

    flag = _ABNORMAL.get(package.suspicion, "")
    add("ST", "18782-3^Radiology Study observation^LN", _text(package.statement), abnormal=flag)
    if package.probability is not None:
        add("NM", "FRACTURE^Probability of a fracture^L", f"{100 * package.probability:.1f}", "%^percent^UCUM", flag)
    add("ST", "110180^Study Instance UID^DCM", _text(package.study_uid))
    model = package.model
    add("ST", "111001^Algorithm Name^DCM", _text(f"{model['name']} {model['version']}"))
    add("ST", "FRACTURE-NOTE^Note^L", _text(f"{NOT_A_DIAGNOSIS}. Version {package.number} of this result."))
    return found


def acknowledgement(answer: str) -> tuple[str, str, str]:
    """MSA-1, MSA-2 and MSA-3 of an answer, empty where it has none."""
    for segment in answer.replace("\n", "\r").split("\r"):
        fields = [*segment.split("|"), "", "", ""]
        if fields[0] == "MSA":
            return fields[1].strip(), fields[2].strip(), fields[3].strip()
    return "", "", ""


def _text(value: str) -> str:
    return value.translate(_ESCAPES)
