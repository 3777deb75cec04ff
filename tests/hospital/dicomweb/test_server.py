"""The port for STOW-RS: what no peer can fill up, TLS, and an exchange of either without a request lost."""

import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hospital.config import WebReceiver
from hospital.dicomweb.server import WebServer
from hospital.errors import HospitalError
from hospital.sections import Tls
from tests.hospital.peers import eventually
from tests.ports import free_port

Open = Callable[..., WebServer]


def app(name: str) -> Starlette:
    """Answer with a name and the number of bytes that came."""

    async def answer(request: Request) -> Response:
        return PlainTextResponse(f"{name} {len(await request.body())}")

    return Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])


@pytest.fixture
def opened() -> Iterator[Open]:
    """Give a function that opens a port; its arguments are those of the table `web_receiver`."""
    found: list[WebServer] = []

    def start(name: str = "first", **settings: Any) -> WebServer:
        given = WebReceiver.model_validate({"port": free_port(), "idle_seconds": 5, **settings})
        server = WebServer(given)
        server.serve(given, app(name))
        found.append(server)
        return server

    yield start
    for server in found:
        server.close()


def ask(server: WebServer) -> str:
    return httpx.get(f"http://127.0.0.1:{server.port}/", trust_env=False, timeout=10).text


def test_address_that_is_taken_has_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(HospitalError, match=r"web_receiver\.port"):
        WebServer(WebReceiver(port=taken.getsockname()[1]))


def test_connection_that_says_nothing_is_closed(opened: Open) -> None:
    server = opened(idle_seconds=0.3)
    for said in (b"", b"POST / HTTP/1.1\r\nHost: x"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as held:
            held.sendall(said)
            assert held.recv(1) == b""


def test_hung_connections_do_not_keep_others_out(opened: Open) -> None:
    server = opened(max_requests=1, idle_seconds=1)
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]

    def answered() -> bool:
        try:
            return ask(server) == "first 0"
        except httpx.HTTPError:
            return False

    eventually(answered, 20)
    for one in held:
        one.close()


def test_exchange_lets_a_request_end_with_what_it_began_with(opened: Open) -> None:
    server = opened()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab")
        eventually(lambda: ask(server) == "first 0", 10)
        server.serve(WebReceiver(port=server.port), app("second"))
        assert ask(server) == "second 0"
        slow.sendall(b"cd")
        assert _all(slow).endswith(b"first 4")


def test_exchange_waits_for_the_request_of_a_connection_that_stands(opened: Open) -> None:
    server = opened()
    assert ask(server) == "first 0"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as early:
        time.sleep(0.2)
        server.serve(WebReceiver(port=server.port), app("second"))
        time.sleep(0.5)
        early.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert _all(early).endswith(b"second 0")


def test_an_exchange_never_makes_the_server_before_wait_for_connections(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, copied = [], socket.socket.dup

    def dup(listening: socket.socket) -> socket.socket:
        copy = copied(listening)
        waits.append(os.get_blocking(listening.fileno()))
        return copy

    monkeypatch.setattr(socket.socket, "dup", dup)
    server = opened()
    assert ask(server) == "first 0"
    server.serve(WebReceiver(port=server.port), app("second"))
    assert waits == [False, False]


def test_close_frees_the_port(opened: Open) -> None:
    server = opened()
    assert ask(server) == "first 0"
    port = server.port
    server.close()
    socket.create_server(("127.0.0.1", port)).close()


def test_certificate_is_asked_for_and_exchanged(opened: Open, certificates: Path, tmp_path: Path) -> None:
    names = {"certificate": "server.pem", "key": "server.key", "authorities": "ca.pem"}
    for name in names.values():
        shutil.copy(certificates / name, tmp_path / name)
    tls = Tls(**{key: tmp_path / name for key, name in names.items()})
    server = opened(tls=tls)
    assert _serial(server, certificates, with_certificate=False) == ""
    first = _serial(server, certificates)
    before = tls.stamp()
    shutil.copy(certificates / "client.pem", tls.certificate)
    shutil.copy(certificates / "client.key", tls.key)
    assert tls.stamp() != before
    server.serve(WebReceiver(port=server.port, tls=tls), app("second"))
    eventually(lambda: _serial(server, certificates) != first, 10)


def test_exchange_waits_for_a_handshake_under_way(opened: Open, certificates: Path) -> None:
    files = {"certificate": "server.pem", "key": "server.key", "authorities": "ca.pem"}
    tls = Tls(**{key: certificates / name for key, name in files.items()})
    server = opened(tls=tls)
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
        time.sleep(0.2)
        server.serve(WebReceiver(port=server.port, tls=tls), app("second"))
        time.sleep(0.5)
        with context.wrap_socket(plain, server_hostname="localhost") as held:
            held.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert _all(held).endswith(b"second 0")


def _serial(server: WebServer, certificates: Path, with_certificate: bool = True) -> str:
    """The number of the certificate that the port shows once it has answered; empty where it does not."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    if with_certificate:
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as held,
    ):
        found = held.getpeercert()
        try:
            held.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answered = _all(held)
        except OSError:  # TLS 1.3 tells of a refused certificate after the handshake
            return ""
        return str(found["serialNumber"]) if answered and found else ""


def _all(connection: socket.socket) -> bytes:
    found = b""
    while block := connection.recv(4096):
        found += block
    return found
