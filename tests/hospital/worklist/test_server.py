"""The worklist on its port: over TLS, and against requests that never end or say too much."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hospital.config import Config, Secrets
from hospital.errors import HospitalError
from hospital.parts import Parts
from hospital.worklist import server
from hospital.worklist.server import WorklistServer, open_worklist
from tests.hospital.renewed import Renewable
from tests.hospital.worklist.rows import USERS, Browser
from tests.ports import free_port

Serve = Callable[..., int]


@pytest.fixture
def serve(parts: Parts, tmp_path: Path) -> Iterator[Serve]:
    """Give a function that starts the worklist on a port of loopback; its arguments are those of [worklist]."""
    started: list[WorklistServer] = []

    def start(**settings: Any) -> int:
        port = free_port()
        browser = Browser(parts, tmp_path, port=port, **settings)
        started.append(WorklistServer(browser.settings, parts, browser.access))
        started[-1].start()
        return port

    yield start
    for one in started:
        one.close()


def asked(port: int, request: bytes) -> bytes:
    """Send bytes and read until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


def request(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", "Connection: close", *headers, "", ""]).encode("latin-1")


def test_answers_on_its_port_without_naming_its_software(serve: Serve) -> None:
    answer = asked(serve(), request("/worklist"))
    assert answer.startswith(b"HTTP/1.1 303")
    assert b"uvicorn" not in answer


def test_key_and_certificate_are_exchanged_while_it_serves(parts: Parts, certificates: Path, tmp_path: Path) -> None:
    own = Renewable(certificates, tmp_path)
    browser = Browser(parts, tmp_path, key="first", port=free_port(), tls=own.tables)
    server = WorklistServer(browser.settings, parts, browser.access)
    server.start()
    assert own.shown(browser.settings.port) == "server"
    own.replace()
    server.adopt("second")
    assert own.shown(browser.settings.port) == "client"
    server.close()
    headers = [{"authorization": f"Bearer {key}"} for key in ("first", "second")]
    assert [browser.client.get("/worklist.json", headers=one).status_code for one in headers] == [401, 200]


def test_huge_header_is_refused(serve: Serve) -> None:
    port = serve()
    for size in (20_000, 1_000_000):
        assert asked(port, request("/worklist", "Cookie: " + "a" * size))[:12] in {
            b"HTTP/1.1 431",
            b"HTTP/1.1 400",
            b"",
        }
    assert asked(port, request("/livez")).startswith(b"HTTP/1.1 200")


def test_head_that_never_ends_closes_the_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADER_SECONDS", 0.3)
    port = serve()
    assert asked(port, b"GET /worklist HTTP/1.1\r\nHost: a\r\n") == b""
    assert asked(port, b"") == b""


def test_second_head_that_never_ends_closes_the_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADER_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", serve()), 3) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /li")
        assert connection.recv(65536) == b""


@pytest.mark.parametrize("path", ["/../../../etc/passwd", "//etc/passwd", "/web/%2e%2e%2f%2e%2e%2fconfig.py"])
def test_raw_path_leads_to_no_file(serve: Serve, path: str) -> None:
    assert asked(serve(), request(path)).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x00\xff", b"GET\r\n\r\n", b"\0" * 100])
def test_what_is_no_request_is_refused(serve: Serve, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADER_SECONDS", 0.5)
    answer = asked(serve(), sent)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_tls_is_served_with_secure_cookies(serve: Serve, certificates: Path) -> None:
    tls = {"certificate": certificates / "server.pem", "key": certificates / "server.key"}
    port = serve(tls=tls)
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(request("/login"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"set-cookie: __Host-worklist-login=" in answer


def test_client_without_a_certificate_is_turned_away_where_one_is_asked_for(serve: Serve, certificates: Path) -> None:
    files = {"certificate": "server.pem", "key": "server.key", "authorities": "ca.pem"}
    port = serve(tls={name: certificates / file for name, file in files.items()})
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))

    def talk() -> bytes:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(request("/livez"))
            return connection.recv(65536)

    with suppress(OSError):
        assert talk() == b""
    context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    assert talk().startswith(b"HTTP/1.1 200")


def test_address_that_is_taken_is_one_line(serve: Serve, parts: Parts, tmp_path: Path) -> None:
    port = serve()
    browser = Browser(parts, tmp_path, port=port)
    second = WorklistServer(browser.settings, parts, browser.access)
    with pytest.raises(HospitalError, match=rf"worklist\.port: 127\.0\.0\.1:{port} cannot be listened on"):
        second.start()


def test_without_the_table_nothing_is_served(parts: Parts) -> None:
    assert open_worklist(Config(), Secrets(), parts, None) is None


def test_worklist_without_users_does_not_start(parts: Parts, tmp_path: Path) -> None:
    browser = Browser(parts, tmp_path)
    config = Config.model_validate({"worklist": {}, "audit": {}})
    with pytest.raises(HospitalError, match="HOSPITAL_WORKLIST_USERS"):
        open_worklist(config, Secrets(), parts, browser.trail)
    assert open_worklist(config, Secrets(worklist_users=USERS), parts, browser.trail) is not None
