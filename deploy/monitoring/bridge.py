"""Starts the workflow `retrain` when Alertmanager reports that images, scores or agreement moved.

Alertmanager cannot write the body that GitHub's repository_dispatch asks for, and would ask again with every
notification. This asks once in BRIDGE_HOURS, for the alerts that BRIDGE_ALERTS lists. Python's standard library is all
it needs. docs/monitoring.md says how to set it up.

    POST /retrain     a webhook of Alertmanager, with `Authorization: Bearer` and the secret of BRIDGE_SECRET_FILE
"""

import hmac
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ALERTS = "FractureScoresMoved,FractureInputsMoved,FractureAgreementDown"
_EVENT = "retrain"
_MOST_BYTES = 2**20
_SHORTEST_SECRET = 32
_SECONDS = 30.0


class SettingsError(Exception):
    """A setting that cannot be used; the message names it."""


@dataclass(frozen=True)
class Settings:
    """What the environment says; secrets stand in files of one line."""

    secret: str
    github_token: str
    repository: str
    state: Path
    """Remembers, over restarts, when GitHub was asked last."""
    alerts: frozenset[str]
    hours: float
    api: str
    host: str
    port: int

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "Settings":
        """SettingsError names the variable that is missing or cannot be used."""
        secret = _secret(values, "BRIDGE_SECRET_FILE")
        if len(secret) < _SHORTEST_SECRET:
            raise SettingsError(f"BRIDGE_SECRET_FILE: holds fewer than {_SHORTEST_SECRET} characters")
        repository = values.get("GITHUB_REPOSITORY", "")
        if len(repository.split("/")) != 2:
            raise SettingsError("GITHUB_REPOSITORY: write OWNER/NAME")
        try:
            hours, port = float(values.get("BRIDGE_HOURS", "24")), int(values.get("BRIDGE_PORT", "9095"))
        except ValueError:
            raise SettingsError("BRIDGE_HOURS, BRIDGE_PORT: write numbers") from None
        names = (name.strip() for name in values.get("BRIDGE_ALERTS", ALERTS).split(","))
        return cls(
            secret=secret,
            github_token=_secret(values, "GITHUB_TOKEN_FILE"),
            repository=repository,
            state=Path(values.get("BRIDGE_STATE", "/var/lib/bridge/asked")),
            alerts=frozenset(filter(None, names)),
            hours=hours,
            api=values.get("GITHUB_API", "https://api.github.com").rstrip("/"),
            host=values.get("BRIDGE_HOST", "127.0.0.1"),
            port=port,
        )


def _secret(values: Mapping[str, str], name: str) -> str:
    path = values.get(name, "")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        raise SettingsError(f"{name}: names no file that can be read ({path or 'not set'})") from None


class Bridge:
    """Decides which notifications ask for a training; threads may share it."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._one_at_a_time = threading.Lock()

    def is_known(self, authorization: str) -> bool:
        """Whether the sender has the secret."""
        return hmac.compare_digest(authorization.encode(), f"Bearer {self._settings.secret}".encode())

    def notified(self, body: bytes) -> tuple[int, str]:
        """Status and words for a notification; asks GitHub where it is time to."""
        try:
            alerts = json.loads(body)["alerts"]
            firing = sorted({one["labels"]["alertname"] for one in alerts if one["status"] == "firing"})
        except (ValueError, KeyError, TypeError):
            return 400, "this is no notification of Alertmanager"
        wanted = [name for name in firing if name in self._settings.alerts]
        if not wanted:
            return 200, "none of these alerts asks for a training"
        with self._one_at_a_time:
            left = self._asked() + 3600 * self._settings.hours - self._clock()
            if left > 0:
                return 200, f"asked already; again in {left / 3600:.1f} h"
            try:
                self._ask(wanted)
            except (OSError, ValueError) as error:
                return 502, f"GitHub was not reached: {type(error).__name__} {getattr(error, 'code', '')}".strip()
            self._remember()
        return 202, f"asked for a training: {', '.join(wanted)}"

    def _ask(self, alerts: list[str]) -> None:
        settings = self._settings
        request = urllib.request.Request(  # noqa: S310  the operator's own address
            f"{settings.api}/repos/{settings.repository}/dispatches",
            json.dumps({"event_type": _EVENT, "client_payload": {"alerts": alerts}}).encode(),
            {
                "Authorization": f"Bearer {settings.github_token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
                "Content-Type": "application/json",
                "User-Agent": "fracture-bridge",
            },
        )
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310  as above
            return

    def _asked(self) -> float:
        try:
            return float(self._settings.state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return float("-inf")

    def _remember(self) -> None:
        state = self._settings.state
        partial = state.with_name(f".{state.name}.partial")
        try:
            partial.write_text(f"{self._clock():.0f}\n", encoding="utf-8")
            partial.replace(state)
        except OSError as error:  # GitHub was asked; told to try again, Alertmanager would have it asked twice
            print(json.dumps({"message": f"{state}: {error.strerror}"}), flush=True)


def handler(bridge: Bridge) -> type[BaseHTTPRequestHandler]:
    """The HTTP interface of a bridge."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _SECONDS

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not bridge.is_known(self.headers.get("Authorization", "")):
                self._say(401, "send the bridge's secret as a bearer token")
            elif self.path != "/retrain":
                self._say(404, "there is nothing at this address")
            elif not length.isdigit() or int(length) > _MOST_BYTES:
                self._say(413, "a notification states its length, of at most 1 MiB")
            else:
                self._say(*bridge.notified(self.rfile.read(int(length))))

        def _say(self, status: int, words: str) -> None:
            print(json.dumps({"status": status, "message": words}), flush=True)
            content = f"{words}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Said by `_say`."""

    return Handler


def main() -> int:
    """Serve until the process is told to end; 1 with one line for settings that cannot be used."""
    try:
        settings = Settings.read(os.environ)
        if not os.access(settings.state.parent, os.W_OK):
            raise SettingsError(f"BRIDGE_STATE: {settings.state.parent} is no folder that can be written")
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with ThreadingHTTPServer((settings.host, settings.port), handler(Bridge(settings))) as server:
        print(json.dumps({"message": f"ready at port {server.server_address[1]}"}), flush=True)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
