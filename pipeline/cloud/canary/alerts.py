"""What Prometheus' alert rules say, and whether they can be trusted to speak."""

import http.client
import ipaddress
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from pipeline.errors import InputError

REQUIRED = ("FractureDown", "FractureErrors", "FractureLatency")
"""Rules without which a silent Prometheus says nothing about a service (deploy/monitoring/rules/alerts.yml)."""
_OURS = "Fracture"
_PATH = "/api/v1/rules?type=alert"
_MOST_BYTES = 2**24
_SECONDS = 10.0
_OLDEST = 300.0
"""Age in seconds of a rule's last evaluation from which on it no longer counts; the rules are evaluated every 30 s."""


class _StayHere(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Nobody but the address that was given is asked."""


class Prometheus:
    """The alert rules of one Prometheus, by its address."""

    def __init__(
        self, address: str, token: str = "", only: Collection[str] = (), clock: Callable[[], float] = time.time
    ) -> None:
        """`token` goes along as a bearer token; `only` are the names of the alerts that count, by default every one
        that begins with "Fracture". InputError for an address without encryption that is not this machine's.
        """
        self.address = _checked(address)
        self._only = frozenset(only)
        self._clock = clock
        # No proxy: an address on loopback is this machine's.
        self._opener = urllib.request.build_opener(_StayHere, urllib.request.ProxyHandler({}))
        self._opener.addheaders += [("Accept", "application/json")]
        self._opener.addheaders += [("Authorization", f"Bearer {token}")] if token else []

    def firing(self) -> list[str]:
        """The alerts that fire; InputError when the rules cannot be read, are missing, fail or are not evaluated."""
        rules = self._rules()
        wanted = self._only or {name for name in rules if name.startswith(_OURS)} | set(REQUIRED)
        missing = sorted(wanted - rules.keys())
        if missing:
            raise InputError(f"{self.address}: has no alert rule {', '.join(missing)}; load deploy/monitoring/rules")
        for name in sorted(wanted):
            self._require_working(name, rules[name])
        return [_said(name, alert) for name in sorted(wanted) for rule in rules[name] for alert in _firing(rule)]

    def _require_working(self, name: str, rules: list[Mapping[str, Any]]) -> None:
        for rule in rules:
            if rule.get("health") != "ok":
                raise InputError(f"{self.address}: {name} is not evaluated ({rule.get('lastError') or 'not yet'})")
            age = self._clock() - _moment(str(rule.get("lastEvaluation", "")))
            if not age < _OLDEST:
                raise InputError(f"{self.address}: {name} was last evaluated {age:.0f} s ago")

    def _rules(self) -> dict[str, list[Mapping[str, Any]]]:
        found: dict[str, list[Mapping[str, Any]]] = {}
        try:
            answer = json.loads(self._get())
            for group in answer["data"]["groups"]:
                for rule in group["rules"]:
                    found.setdefault(str(rule["name"]), []).append(rule)
                    _firing(rule)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{self.address}{_PATH}: is no answer of Prometheus") from None
        return found

    def _get(self) -> bytes:
        try:
            with self._opener.open(f"{self.address}{_PATH}", timeout=_SECONDS) as answer:
                body: bytes = answer.read(_MOST_BYTES)
        except urllib.error.HTTPError as error:
            raise InputError(f"{self.address}: answers {error.code}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise InputError(f"{self.address}: no answer ({str(reason) or type(error).__name__})") from None
        return body


def _firing(rule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [alert for alert in rule["alerts"] if alert["state"] == "firing"]


def _said(name: str, alert: Mapping[str, Any]) -> str:
    job = alert.get("labels", {}).get("job", "")
    return f"{name} ({job})" if job else name


def _moment(text: str) -> float:
    """Seconds since 1970 of Prometheus' time, whose nanoseconds Python does not read; -inf for none."""
    seconds, _, fraction = text.partition(".")
    zone = fraction.lstrip("0123456789")
    try:
        return datetime.fromisoformat(seconds + zone if fraction else text).timestamp()
    except ValueError:
        return -math.inf


def _checked(address: str) -> str:
    try:
        parts = urllib.parse.urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or parts.username or parts.query or parts.fragment:
        raise InputError(f"--prometheus {address}: write an address like http://127.0.0.1:9090, without a login in it")
    if parts.scheme == "http" and not _is_loopback(host):
        raise InputError(
            f"--prometheus {address}: an alert must not be held back on the way; write https://, or this machine's own "
            "address (kubectl port-forward, ssh -L)"
        )
    return address.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
