"""The look at a deployed service from outside, against a small server on loopback."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.cloud import probe
from pipeline.cloud.probe import Endpoint
from pipeline.errors import InputError
from tests.deploy.certificates import NAME, Certificate

MODEL = "a" * 64


class _Service(BaseHTTPRequestHandler):
    readiness = (503, 503, 200)
    key = "secret"

    def do_GET(self) -> None:
        seen = self.server.__dict__.setdefault("seen", [])
        seen.append(self.path)
        self._answer(self.readiness[min(len(seen), len(self.readiness)) - 1], b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self.key and self.headers.get("x-api-key") != self.key:
            return self._answer(401, b"")
        return self._answer(200, json.dumps({"probability": 0.5, "model": {"sha256": MODEL}}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Open(_Service):
    key = ""


@contextmanager
def _serving(service: type[_Service], certificate: Certificate | None = None) -> Iterator[Endpoint]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), service)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield Endpoint("127.0.0.1", server.server_address[1], NAME, certificate is not None)
    finally:
        server.shutdown()
        server.server_close()


def test_it_waits_until_readyz_answers_200() -> None:
    with _serving(_Service) as endpoint:
        probe.wait_until_ready(endpoint, seconds=10, pause=0)


def test_it_does_not_wait_for_ever() -> None:
    with _serving(_Service) as endpoint, pytest.raises(InputError, match=r"not ready within 0 s \(status 503\)"):
        probe.wait_until_ready(endpoint, seconds=0)


def test_a_sample_is_answered_by_the_model_that_was_deployed() -> None:
    with _serving(_Service) as endpoint:
        answer = probe.smoke_test(endpoint, b"picture", "secret", MODEL)
    assert answer is not None
    assert answer["probability"] == 0.5


def test_without_a_key_at_hand_a_service_that_asks_for_one_is_as_it_should_be() -> None:
    with _serving(_Service) as endpoint:
        assert probe.smoke_test(endpoint, b"picture", "", MODEL) is None


def test_a_service_that_asks_for_no_key_is_told_of() -> None:
    with _serving(_Open) as endpoint, pytest.raises(InputError, match="answers 200 without a key"):
        probe.smoke_test(endpoint, b"picture", "secret", MODEL)


def test_another_model_is_told_of() -> None:
    with _serving(_Service) as endpoint, pytest.raises(InputError, match=r"answers with model a+, not with b+"):
        probe.smoke_test(endpoint, b"picture", "secret", "b" * 64)


def test_the_certificate_is_checked_for_its_name_before_dns_points_there(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _serving(_Service, certificate) as endpoint:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.chain))
        probe.wait_until_ready(endpoint, seconds=10, pause=0)
        wrong = Endpoint(endpoint.host, endpoint.port, "other.example.org", tls=True)
        with pytest.raises(InputError, match="its certificate is not accepted"):
            probe.wait_until_ready(wrong, seconds=10, pause=0)


def test_a_certificate_nobody_vouches_for_is_refused_at_once(certificate: Certificate) -> None:
    with _serving(_Service, certificate) as endpoint, pytest.raises(InputError, match="certificate is not accepted"):
        probe.wait_until_ready(endpoint, seconds=60)
