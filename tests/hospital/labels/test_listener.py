"""The port for final reports, spoken to over a real socket."""

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from hospital.errors import HospitalError
from hospital.labels.listener import ReportListener
from hospital.labels.reports import FinalReport
from hospital.labels.settings import ReportReceiver, Store
from tests.hospital.labels.messages import coded, oru, study
from tests.hospital.renewed import Renewable
from tests.ports import free_port

MESSAGE = oru(study("1.2.3"), coded("NEG"))


class Port:
    """A listener, and what it handed on."""

    def __init__(self, **settings: object) -> None:
        self.taken: list[FinalReport] = []
        self.away = False
        given = ReportReceiver.model_validate({"port": free_port(), **settings})
        self.address = (given.host, given.port)
        self.listener = ReportListener(given, self._take)
        self.listener.start()

    def _take(self, reports: Sequence[FinalReport]) -> None:
        if self.away:
            raise OperationalError("", {}, Exception())
        self.taken += reports

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, 10)


Listen = Callable[..., Port]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Give a function that starts a listener; its arguments are those of the table `store.reports`."""
    started: list[Port] = []

    def start(**settings: object) -> Port:
        started.append(Port(**settings))
        return started[-1]

    yield start
    for port in started:
        port.listener.close()


def framed(content: bytes) -> bytes:
    return b"\x0b" + content + b"\x1c\r"


def acknowledged(connection: socket.socket, content: bytes) -> str:
    """MSA-1 of the answer to a message."""
    connection.sendall(framed(content))
    answer = b""
    while not answer.endswith(b"\x1c\r"):
        block = connection.recv(4096)
        if not block:
            raise ConnectionResetError
        answer += block
    return answer.split(b"MSA|")[1].split(b"|")[0].decode()


def test_a_connection_carries_several_messages_and_each_is_acknowledged(listen: Listen) -> None:
    port = listen()
    with port.connect() as connection:
        assert [acknowledged(connection, MESSAGE) for _ in range(2)] == ["AA", "AA"]
    assert [report.study_uid for report in port.taken] == ["1.2.3", "1.2.3"]


def test_a_message_is_taken_only_once_its_labels_are_safe(listen: Listen) -> None:
    port = listen()
    with port.connect() as connection:
        port.away = True
        assert acknowledged(connection, MESSAGE) == "AE"
        port.away = False
        assert acknowledged(connection, MESSAGE) == "AA"


def test_another_message_is_rejected_and_the_next_one_taken(listen: Listen) -> None:
    port = listen()
    with port.connect() as connection:
        assert acknowledged(connection, oru(kind="ADT^A08^ADT_A01")) == "AR"
        assert acknowledged(connection, b"rubbish") == "AR"
        assert acknowledged(connection, MESSAGE) == "AA"


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x0b" + b"x" * (1 << 21)])
def test_what_is_no_frame_or_too_long_ends_its_connection_and_no_other(listen: Listen, sent: bytes) -> None:
    port = listen()
    with port.connect() as other:
        with port.connect() as connection:
            try:
                connection.sendall(sent)
                assert connection.recv(1) == b""
            except (ConnectionResetError, BrokenPipeError):
                pass
        assert acknowledged(other, MESSAGE) == "AA"


def test_a_silent_connection_makes_room_for_the_next(listen: Listen) -> None:
    port = listen(max_connections=1, idle_seconds=0.2)
    with port.connect() as silent, port.connect() as connection:
        assert acknowledged(connection, MESSAGE) == "AA"
        assert silent.recv(1) == b""


def test_only_whoever_shows_a_certificate_is_heard(listen: Listen, certificates: Path) -> None:
    names = {"certificate": "server.pem", "key": "server.key", "authorities": "ca.pem"}
    port = listen(tls={key: certificates / name for key, name in names.items()})
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with (
        port.connect() as plain,
        context.wrap_socket(plain, server_hostname="localhost") as stranger,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        acknowledged(stranger, MESSAGE)
    context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    with port.connect() as plain, context.wrap_socket(plain, server_hostname="localhost") as known:
        assert acknowledged(known, MESSAGE) == "AA"


def test_certificate_is_exchanged_while_it_listens(listen: Listen, certificates: Path, tmp_path: Path) -> None:
    own = Renewable(certificates, tmp_path)
    port = listen(tls=own.tables)
    assert own.shown(port.address[1]) == "server"
    own.replace()
    port.listener.renew()
    assert own.shown(port.address[1]) == "client"


def test_a_port_that_is_taken_is_named(listen: Listen) -> None:
    port = listen()
    with pytest.raises(HospitalError, match=rf"store.reports: 127.0.0.1:{port.address[1]} cannot be opened"):
        ReportListener(ReportReceiver(port=port.address[1]), lambda _: None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"site": "north ward"}, "letters, digits"),
        ({"site": "north", "reports": {}}, "names no code"),
        ({"site": "north", "codes": {"N": "normal"}, "reports": {"host": "192.0.2.1"}}, "open to other machines"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Store.model_validate(settings)
