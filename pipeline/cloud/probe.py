"""Probe a deployed service from outside: it is ready, refuses callers without a key, and answers a radiograph."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InputError

_SECONDS = 40.0
"""For one answer: the service's own limit is 30 s."""


@dataclass(frozen=True)
class Endpoint:
    """Where a service listens, and the name its certificate is for.

    `host` is what is connected to: the balancer answers before the name's DNS record points at it.
    """

    host: str
    port: int
    name: str
    tls: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request; they may choose a version of the service."""

    @property
    def url(self) -> str:
        """The address for a person."""
        scheme, usual = ("https", 443) if self.tls else ("http", 80)
        return f"{scheme}://{self.name}" + ("" if self.port == usual else f":{self.port}")

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of the answer; OSError or http.client.HTTPException when there is none."""
        connection: http.client.HTTPConnection
        if self.tls:
            connection = _Named(self.host, self.port, self.name)
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=_SECONDS)
        try:
            connection.request(method, path, body, {"host": self.name, **self.headers, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class _Named(http.client.HTTPSConnection):
    """HTTPS to one host with the certificate of another name."""

    def __init__(self, host: str, port: int, name: str) -> None:
        self._trust = ssl.create_default_context()
        super().__init__(host, port, timeout=_SECONDS, context=self._trust)
        self._name = name

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        try:
            self.sock = self._trust.wrap_socket(plain, server_hostname=self._name)
        except BaseException:
            plain.close()
            raise


def wait_until_ready(endpoint: Endpoint, seconds: float = 600.0, pause: float = 5.0) -> None:
    """Return when /readyz answers 200.

    InputError with the last reason when `seconds` have passed, and at once when the certificate does not fit.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            status, _ = endpoint.ask("GET", "/readyz")
            if status == http.HTTPStatus.OK:
                return
            reason = f"status {status}"
        except ssl.SSLCertVerificationError as error:
            raise InputError(
                f"{endpoint.url}: its certificate is not accepted ({error.verify_message}); give the name it is for "
                "with --domain, or trust its issuer (SSL_CERT_FILE)"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        if time.monotonic() >= end:
            raise InputError(
                f"{endpoint.url}/readyz: not ready within {seconds:g} s ({reason}); look at its log, and whether this "
                "machine's address is among those that may ask"
            )
        time.sleep(pause)


def smoke_test(endpoint: Endpoint, picture: bytes, key: str, model: str) -> dict[str, Any] | None:
    """The answer for a sample radiograph (an image file's bytes); `model` is the bundle's sha256.

    None when no key is at hand (empty) and the service asks for one, as it should.

    Raises InputError when there is none, when the service answers without a key although it has one, or when another
    model answers.
    """
    kind = {"content-type": "application/octet-stream"}
    try:
        if key and (status := endpoint.ask("POST", "/predict", picture, kind)[0]) != http.HTTPStatus.UNAUTHORIZED:
            raise InputError(f"{endpoint.url}/predict: answers {status} without a key, where 401 is expected")
        status, body = endpoint.ask("POST", "/predict", picture, {**kind, **({"x-api-key": key} if key else {})})
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{endpoint.url}/predict: no answer ({str(error) or type(error).__name__})") from None
    if not key and status == http.HTTPStatus.UNAUTHORIZED:
        return None
    if status != http.HTTPStatus.OK:
        raise InputError(f"{endpoint.url}/predict: answers {status} for a sample radiograph: {body[:200]!r}")
    try:
        answer: dict[str, Any] = json.loads(body)
        found = answer["model"]["sha256"]
        float(answer["probability"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{endpoint.url}/predict: did not answer with a prediction") from None
    if found != model:
        raise InputError(f"{endpoint.url}/predict: answers with model {found[:12]}, not with {model[:12]}")
    return answer
