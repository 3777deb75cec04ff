"""Alert rules of a Prometheus on loopback: what fires, and when silence says nothing."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from pipeline.cloud.canary.alerts import REQUIRED, Prometheus
from pipeline.errors import InputError

NOW = datetime(2026, 11, 27, 12, 0, 30, tzinfo=UTC).timestamp()


def rule(name: str, *jobs: str, **more: Any) -> dict[str, Any]:
    """A rule that works, and fires for these jobs."""
    alerts = [{"state": "firing", "labels": {"alertname": name, "job": job}} for job in jobs]
    return {
        "name": name, "health": "ok", "lastEvaluation": "2026-11-27T12:00:00.123456789Z", "type": "alerting",
        "alerts": alerts, **more,
    }  # fmt: skip


class Server:
    """Answers with one document, and keeps what it was asked."""

    def __init__(self) -> None:
        self.rules = [rule(name) for name in REQUIRED]
        self.body: bytes | None = None
        self.status, self.location = 200, ""
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers["Authorization"]))
                answer = {"status": "success", "data": {"groups": [{"name": "g", "rules": outer.rules}]}}
                self.send_response(outer.status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode() if outer.body is None else outer.body)

            def log_message(self, *_: Any) -> None: ...

        self.http = HTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def firing(self, **more: Any) -> list[str]:
        return Prometheus(self.address, clock=lambda: NOW, **more).firing()


@pytest.fixture
def server() -> Iterator[Server]:
    """Start a stand-in for Prometheus with the rules that are required, all quiet."""
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()


def test_quiet_rules_say_nothing(server: Server) -> None:
    assert server.firing() == []
    assert server.asked == [("/api/v1/rules?type=alert", None)]


def test_a_firing_alert_is_named_with_its_job(server: Server) -> None:
    server.rules.append(rule("FractureRefusalsUp", "fracture-canary"))
    assert server.firing() == ["FractureRefusalsUp (fracture-canary)"]


def test_a_pending_alert_does_not_count_yet(server: Server) -> None:
    server.rules[0]["alerts"] = [{"state": "pending", "labels": {}}]
    assert server.firing() == []


def test_alerts_of_others_do_not_count(server: Server) -> None:
    server.rules.append(rule("DiskFull", "node"))
    assert server.firing() == []


def test_only_the_alerts_that_were_named_count(server: Server) -> None:
    server.rules.append(rule("FractureScoresMoved", "fracture"))
    assert server.firing(only=["FractureErrors"]) == []


def test_the_token_goes_along(server: Server) -> None:
    server.firing(token="secret")  # noqa: S106  not one
    assert server.asked[0][1] == "Bearer secret"


def _remove_errors(server: Server) -> None:
    server.rules = [one for one in server.rules if one["name"] != "FractureErrors"]


def _fail_rule(server: Server) -> None:
    server.rules[0] |= {"health": "err", "lastError": "many-to-many matching"}


def _stop_rules(server: Server) -> None:
    server.rules[0]["lastEvaluation"] = "2026-11-27T11:50:00Z"


def _never_ran(server: Server) -> None:
    server.rules[0]["lastEvaluation"] = "0001-01-01T00:00:00Z"


def _refuse(server: Server) -> None:
    server.status = 503


def _send_away(server: Server) -> None:
    server.status, server.location = 302, "http://127.0.0.1:9/api/v1/rules"


def _talk(server: Server) -> None:
    server.body = b"<html>"


def _other_json(server: Server) -> None:
    server.body = b'{"data": []}'


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        (_remove_errors, "has no alert rule FractureErrors"),
        (_fail_rule, r"is not evaluated \(many-to-many matching\)"),
        (_stop_rules, "was last evaluated 630 s ago"),
        (_never_ran, "was last evaluated"),
        (_refuse, "answers 503"),
        (_send_away, "answers 302"),
        (_talk, "is no answer of Prometheus"),
        (_other_json, "is no answer of Prometheus"),
    ],
)
def test_silence_that_says_nothing_is_an_error(server: Server, broken: Callable[[Server], None], line: str) -> None:
    broken(server)
    with pytest.raises(InputError, match=line) as error:
        server.firing()
    assert "\n" not in str(error.value)


def test_nobody_at_the_address_is_one_line() -> None:
    with pytest.raises(InputError, match="no answer"):
        Prometheus("http://127.0.0.1:9").firing()


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("http://prometheus.example.org:9090", "write https://"),
        ("http://10.0.0.3:9090", "write https://"),
        ("ftp://127.0.0.1", "write an address like"),
        ("127.0.0.1:9090", "write an address like"),
        ("http://127.0.0.1:port", "write an address like"),
        ("http://user:word@127.0.0.1:9090", "without a login in it"),
    ],
)
def test_an_address_that_cannot_be_trusted_is_refused(address: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        Prometheus(address)


@pytest.mark.parametrize("address", ["http://localhost:9090/", "http://[::1]:9090", "https://prometheus.example.org"])
def test_this_machine_or_an_encrypted_way_is_taken(address: str) -> None:
    assert Prometheus(address).address == address.rstrip("/")
