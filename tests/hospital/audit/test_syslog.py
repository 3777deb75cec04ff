"""Lines reach a collection point over UDP, and over TLS with their length before them."""

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hospital.audit.settings import Audit, AuditTls
from hospital.audit.syslog import Sender
from hospital.audit.trail import AuditTrail
from hospital.errors import HospitalError


class TlsCollector:
    """A collection point for one connection after the other; `received` are the bytes of each."""

    def __init__(self, certificates: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        context.load_verify_locations(certificates / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.received: list[bytes] = []
        self.ended = threading.Semaphore(0)
        self.lines_until_close = 1000
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    self.received.append(b"")
                    for _ in range(self.lines_until_close):
                        part = connection.recv(65536)
                        if not part:
                            break
                        self.received[-1] += part
            except OSError:
                pass
            self.ended.release()


@pytest.fixture
def collector(certificates: Path) -> Iterator[TlsCollector]:
    """Listen for audit messages with a certificate of the test's authority."""
    found = TlsCollector(certificates)
    yield found
    found.close()


def sender(port: int, certificates: Path, authority: str = "ca.pem") -> Sender:
    tls = AuditTls(
        authorities=certificates / authority, certificate=certificates / "client.pem", key=certificates / "client.key"
    )
    return Sender("tls", "127.0.0.1", port, tls.client())


def test_datagram_holds_a_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        one = Sender("udp", "127.0.0.1", listener.getsockname()[1], None)
        one.send("<85>1 Öztürk".encode())
        assert listener.recv(65536) == "<85>1 Öztürk".encode()
        one.close()


def test_tls_frames_each_line_with_its_length_in_bytes(collector: TlsCollector, certificates: Path) -> None:
    one = sender(collector.port, certificates)
    one.send("Ö".encode())
    one.send(b"second")
    one.close()
    assert collector.ended.acquire(timeout=10)
    assert collector.received == ["2 Ö6 second".encode()]


def test_connection_that_the_other_side_ended_is_made_again(collector: TlsCollector, certificates: Path) -> None:
    collector.lines_until_close = 1
    one = sender(collector.port, certificates)
    for line in (b"a", b"b"):
        one.send(line)
        assert collector.ended.acquire(timeout=10)
    assert collector.received == [b"1 a", b"1 b"]


def test_collection_point_that_another_authority_vouches_for_gets_nothing(
    collector: TlsCollector, certificates: Path
) -> None:
    with pytest.raises(OSError, match="certificate verify failed"):
        sender(collector.port, certificates, "client.pem").send(b"secret")
    assert b"secret" not in b"".join(collector.received)


def test_collection_point_that_is_away_raises() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = Audit(syslog=f"udp://127.0.0.1:{port}")
    assert context.collector == ("udp", "127.0.0.1", port)
    with pytest.raises(OSError, match="refused"):
        Sender("tls", "127.0.0.1", port, ssl.create_default_context()).send(b"a")


def test_authority_is_exchanged_while_the_gateway_runs(
    collector: TlsCollector, certificates: Path, tmp_path: Path
) -> None:
    authorities = tmp_path / "authorities.pem"
    shutil.copyfile(certificates / "client.pem", authorities)
    tls = AuditTls(authorities=authorities, certificate=certificates / "client.pem", key=certificates / "client.key")
    trail = AuditTrail(Audit(folder=tmp_path, syslog=f"tls://127.0.0.1:{collector.port}", tls=tls), "gateway")
    with pytest.raises(HospitalError, match="does not answer"):
        trail.connect()
    shutil.copyfile(certificates / "ca.pem", authorities)
    trail.renew()
    trail.connect()
    trail.close()
