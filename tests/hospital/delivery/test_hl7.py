"""HL7 v2 over MLLP: a message by the tables of v2.5.1, and what its answer means."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from hospital.delivery.hl7 import Hl7Sender, control_id, oru
from hospital.delivery.settings import Hl7
from hospital.errors import DeadLetterError, TryAgainError
from tests.hospital.delivery.packages import package
from tests.hospital.objects import PATIENT


@contextmanager
def receiver(answer: str) -> Iterator[tuple[int, list[bytes]]]:
    """A receiver of one message; `{id}` in its answer stands for the message's MSH-10."""
    received: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        found = b""
        while not found.endswith(b"\x1c\r"):
            found += connection.recv(4096)
        received.append(found)
        if answer:
            told = answer.replace("{id}", control_id(package()))
            connection.sendall(b"\x0b" + f"MSH|^~\\&|RIS||||||ACK|1|P|2.5.1\r{told}\r".encode() + b"\x1c\r")
        connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1], received
    thread.join(5)
    listening.close()


def send(port: int) -> bool:
    destination = Hl7(kind="hl7", name="ris", host="127.0.0.1", port=port, timeout_seconds=5)
    return Hl7Sender(destination, "FRACTURE").send(package(), lambda _: None).kept


def test_message_follows_the_tables() -> None:
    message = parse_message(oru(package(), "FRACTURE", "RIS", "CLINIC"), VALIDATION_LEVEL.STRICT, find_groups=True)
    assert message.validate()
    result = message.oru_r01_patient_result
    person = result.oru_r01_patient.pid
    assert person.pid_3.pid_3_1.value == r"47\F\11"
    assert person.pid_5.pid_5_1.value == PATIENT.split("^", maxsplit=1)[0]
    order = result.oru_r01_order_observation
    assert order.obr.obr_25.value == "P"
    assert order.oru_r01_observation[1].obx.obx_5.value == "97.3"


def test_high_suspicion_has_priority_where_the_destination_wants_it() -> None:
    text = oru(package(), "FRACTURE", "RIS", "CLINIC", priority=True)
    message = parse_message(text, VALIDATION_LEVEL.STRICT, find_groups=True)
    assert message.validate()
    order = message.oru_r01_patient_result.oru_r01_order_observation
    assert order.oru_r01_timing_qty.tq1.tq1_9.tq1_9_1.value == "A"


@pytest.mark.parametrize(("suspicion", "priority"), [("high", False), ("possible", True), ("none", True)])
def test_other_messages_have_no_priority(suspicion: str, priority: bool) -> None:
    assert "TQ1" not in oru(package(suspicion=suspicion), "FRACTURE", "", "", priority)


def test_aa_for_this_message_is_success() -> None:
    with receiver("MSA|AA|{id}") as (port, received):
        assert send(port)
    assert received[0].startswith(b"\x0bMSH|^~\\&|FRACTURE|")


def test_repetition_has_the_same_control_id() -> None:
    assert control_id(package()) == control_id(package())
    assert control_id(package()) != control_id(package(number=2))


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        ("MSA|AE|{id}|busy", TryAgainError, "hl7_error"),
        ("MSA|AR|{id}|unknown", DeadLetterError, "hl7_rejected"),
        ("MSA|AA|SOMETHING ELSE", TryAgainError, "hl7_other"),
        ("PID|1", TryAgainError, "hl7_error"),
        ("", TryAgainError, "hl7_error"),
    ],
)
def test_other_answers_are_failures(answer: str, kind: type[Exception], code: str) -> None:
    with receiver(answer) as (port, _), pytest.raises(kind) as raised:
        send(port)
    assert raised.value.code == code  # type: ignore[attr-defined]


def test_receiver_that_is_away_is_tried_again() -> None:
    with pytest.raises(TryAgainError, match="does not answer"):
        send(9)


@pytest.mark.parametrize("suspicion", ["none", "possible", "high", ""])
def test_every_suspicion_makes_a_valid_message(suspicion: str) -> None:
    given = package(suspicion=suspicion, probability=0.1 if suspicion else None)
    assert parse_message(oru(given, "FRACTURE", "", ""), VALIDATION_LEVEL.STRICT, find_groups=True).validate()
