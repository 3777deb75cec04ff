"""The port for ADT messages: what is acknowledged is kept, and no sender takes more than its share."""

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from hospital.adt import corrections
from hospital.adt.listener import AdtListener
from hospital.adt.settings import Adt
from hospital.audit.settings import Audit
from hospital.audit.trail import AuditTrail
from hospital.database import Correction
from hospital.errors import HospitalError
from hospital.mllp import END, START
from hospital.parts import Parts
from tests.hospital.adt.messages import adt, merge, pid, update
from tests.hospital.peers import eventually
from tests.hospital.renewed import Renewable
from tests.hospital.worklist.rows import add_study
from tests.ports import free_port

Listen = Callable[..., AdtListener]


@pytest.fixture
def listen(parts: Parts, tmp_path: Path) -> Iterator[Listen]:
    """Give a function that starts a listener on loopback; its arguments are those of the table `adt`."""
    started: list[AdtListener] = []

    def start(heard: list[str] | None = None, **settings: object) -> AdtListener:
        trail = AuditTrail(Audit(folder=tmp_path / "audit"), "gateway")
        trail.prepare()
        given = Adt.model_validate({"port": free_port(), **settings})
        one = AdtListener(given, parts, trail, lambda: heard.append("changed") if heard is not None else None)
        one.start()
        started.append(one)
        return one

    yield start
    for one in started:
        one.close()


def connected(listener: AdtListener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), 5)


def answer(connection: socket.socket) -> str:
    """The next acknowledgement, empty where the connection was ended instead."""
    found = b""
    while not found.endswith(END):
        try:
            block = connection.recv(4096)
        except ConnectionError:
            return ""
        if not block:
            return ""
        found += block
    return found.removeprefix(START).removesuffix(END).decode()


def told(listener: AdtListener, *messages: str) -> list[str]:
    """MSA-1 of each message's answer, on one connection."""
    with connected(listener) as connection:
        codes = []
        for message in messages:
            connection.sendall(START + message.encode() + END)
            codes.append(answer(connection).split("\rMSA|")[-1][:2])
        return codes


def kept(parts: Parts) -> list[str]:
    with parts.database.session() as session:
        return list(session.scalars(select(Correction.patient_id).order_by(Correction.patient_id)))


def test_message_is_kept_when_it_is_acknowledged(listen: Listen, parts: Parts) -> None:
    assert told(listen(), update(), merge("4711", "4712")) == ["AA", "AA"]
    assert kept(parts) == ["4711", "4712"]


def test_message_in_pieces_and_two_at_once_are_read(listen: Listen) -> None:
    content = START + update().encode() + END
    with connected(listen()) as connection:
        connection.sendall(content[:9])
        connection.sendall(content[9:] + b"\r\n" + content)
        assert all("MSA|AA|C1" in answer(connection) for _ in range(2))


def test_those_who_make_results_are_woken_where_a_study_is_concerned(listen: Listen, parts: Parts) -> None:
    heard: list[str] = []
    add_study(parts, "1.2.3", "high", id="4711")
    assert told(listen(heard), update("99"), update("4711")) == ["AA", "AA"]
    assert heard == ["changed"]


def test_event_that_says_nothing_is_acknowledged_and_forgotten(listen: Listen, parts: Parts) -> None:
    assert told(listen(), adt("A01", pid())) == ["AA"]
    assert kept(parts) == []


def test_other_messages_are_rejected_and_the_connection_goes_on(listen: Listen) -> None:
    assert told(listen(), adt("R01", kind="ORU"), adt("A08"), update()) == ["AR", "AE", "AA"]


def test_what_cannot_be_kept_is_to_be_sent_again(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> list[str]:
        raise OperationalError("", {}, Exception())

    monkeypatch.setattr(corrections, "keep", away)
    assert told(listen(), update()) == ["AE"]


def test_change_of_a_patient_is_audited_before_it_is_acknowledged(listen: Listen, tmp_path: Path) -> None:
    told(listen(), merge("4711", "4712"))
    (path,) = (tmp_path / "audit").glob("*.log")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert ["4712" in line for line in lines] == [False, True]
    assert all('csd-code="110110"' in line and 'EventActionCode="U"' in line and "HIS" in line for line in lines)


def test_message_that_cannot_be_audited_is_not_acknowledged(listen: Listen, tmp_path: Path) -> None:
    listener = listen()
    (tmp_path / "audit").rmdir()
    (tmp_path / "audit").write_bytes(b"")
    assert told(listener, update()) == ["AE"]


def test_no_log_names_a_patient(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    told(listen(), update(), adt("A08", "PID|1||"))
    assert "Öztürk" not in caplog.text + "".join(str(vars(one)) for one in caplog.records)


FAULTS: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "bytes that are no frame": (b"GET / HTTP/1.1\r\n\r\n", {}, "adt_framing"),
    "a frame that holds no message": (START + b"hello" + END, {}, "adt_framing"),
    "a message that never ends": (START + b"x" * 4096, {"max_message_kb": 1}, "adt_size"),
    "a silent sender": (b"", {"idle_seconds": 0.2}, "adt_idle"),
    "a stranger": (b"", {"addresses": ["192.0.2.0/24"]}, "adt_address"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_connection_is_ended_for(listen: Listen, parts: Parts, name: str) -> None:
    content, settings, code = FAULTS[name]
    with connected(listen(**settings)) as connection:
        connection.sendall(content)
        assert answer(connection) == ""
    eventually(lambda: f'hospital_refused_total{{code="{code}"}} 1.0' in parts.metrics.exposition().decode(), 5)


def test_connection_beyond_the_limit_is_ended_until_one_goes(listen: Listen) -> None:
    listener = listen(max_connections=1)
    with connected(listener) as first:
        first.sendall(START + update().encode() + END)
        assert "MSA|AA" in answer(first)
        with connected(listener) as second:
            assert answer(second) == ""
    eventually(lambda: told(listener, update()) == ["AA"], 5)


def test_port_that_is_taken_is_one_line(listen: Listen) -> None:
    with pytest.raises(HospitalError, match=r"adt\.port: 127\.0\.0\.1:\d+ cannot be listened on"):
        listen(port=listen().port)


def test_client_certificate_is_asked_for(listen: Listen, certificates: Path) -> None:
    names = {"certificate": "server.pem", "key": "server.key", "authorities": "ca.pem"}
    listener = listen(tls={name: certificates / path for name, path in names.items()})
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    assert not tls_answer(listener, context)
    context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    assert "MSA|AA" in tls_answer(listener, context)


def test_certificate_is_exchanged_while_it_listens(listen: Listen, certificates: Path, tmp_path: Path) -> None:
    own = Renewable(certificates, tmp_path)
    listener = listen(tls={**own.tables, "authorities": certificates / "ca.pem"})
    assert own.shown(listener.port) == "server"
    own.replace()
    listener.renew()
    assert own.shown(listener.port) == "client"


def tls_answer(listener: AdtListener, context: ssl.SSLContext) -> str:
    with connected(listener) as plain, context.wrap_socket(plain, server_hostname="localhost") as connection:
        try:
            connection.sendall(START + update().encode() + END)
            return answer(connection)
        except OSError:
            return ""
