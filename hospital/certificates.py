"""The PEM files of the tables with TLS: each fault names the one file and the key that gives it."""

import base64
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hospital import logs
from hospital.errors import HospitalError
from serving.errors import one_line

if TYPE_CHECKING:
    from hospital.config import Config

_CERTIFICATE = re.compile(r"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----(.*?)-----END \1-----", re.DOTALL)
_UTC_TIME = 0x17
"""Tag of a time with two digits of the year (X.690); the other one, GeneralizedTime, has four."""


class Files(Protocol):
    """What a table with TLS names; what is None is left out."""

    @property
    def certificate(self) -> Path | None: ...
    @property
    def key(self) -> Path | None: ...
    @property
    def authorities(self) -> Path | None: ...


class Side(NamedTuple):
    """A table with TLS: its key in hospital.toml, its files, and what loads them."""

    key: str
    files: Files
    load: Callable[[], ssl.SSLContext]


class EncryptedKeyError(OSError):
    """A private key that asks for a pass phrase: nobody is there to give it."""


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Load a certificate with its private key; OSError, and never a question on the terminal."""
    context.load_cert_chain(certificate, key, password=_refuse_to_ask)


def _refuse_to_ask() -> bytes:
    raise EncryptedKeyError("it is encrypted")


def sides(config: "Config") -> list[Side]:
    """Every table with TLS of a configuration."""
    reports = config.store.reports if config.store else None
    servers = (
        ("receiver", config.receiver.tls),
        ("worklist", config.worklist and config.worklist.tls),
        ("store.reports", reports and reports.tls),
        ("web_receiver", config.web_receiver and config.web_receiver.tls),
        ("adt", config.adt and config.adt.tls),
    )
    clients = (
        ("audit", config.audit and config.audit.tls),
        *((f"destinations.{one.name}", getattr(one, "tls", None)) for one in config.destinations),
        *((f"polls.{one.name}", one.tls) for one in config.polls),
    )
    found = [Side(f"{key}.tls", tls, tls.server) for key, tls in servers if tls]
    return found + [Side(f"{key}.tls", tls, tls.client) for key, tls in clients if tls]


def check(side: Side) -> None:
    """HospitalError where a file is missing, cannot be read, holds something else, or does not fit to another one."""
    files = side.files
    if files.certificate is not None and files.key is not None:
        _certificates(f"{side.key}.certificate", files.certificate)
        _private_key(side.key, files.certificate, files.key)
    if files.authorities is not None:
        _certificates(f"{side.key}.authorities", files.authorities)
    try:
        side.load()
    except OSError as error:  # ssl.SSLError is one, too
        raise HospitalError(f"{side.key}: cannot be used ({one_line(error, 120)})") from None


def warn(config: "Config") -> None:
    """Tell the log of certificates that are not valid today."""
    with suppress(OSError):  # of a file that has gone since it was read
        for line in out_of_date(config):
            logs.trouble("certificate", reason=line)


def out_of_date(config: "Config") -> list[str]:
    """A line for each file whose certificates are not valid today.

    No fault of the configuration: an expired certificate for one destination shall not keep the others from theirs.
    Of authorities, one that is valid is enough.
    """
    lines, moment = [], datetime.now(UTC)
    for side in sides(config):
        for name, path in (("certificate", side.files.certificate), ("authorities", side.files.authorities)):
            spans = _spans(path) if path is not None else []
            bad = [span for span in spans if not span[0] <= moment <= span[1]]
            if bad and (name == "certificate" or len(bad) == len(spans)):
                begins, ends = bad[0]
                told = f"expired on {ends.date()}" if ends < moment else f"is not valid before {begins.date()}"
                lines.append(f"{side.key}.{name}: {path} {told}")
    return lines


def _certificates(key: str, path: Path) -> None:
    """That a file holds certificates, and nothing that OpenSSL cannot read."""
    try:
        if not _CERTIFICATE.search(path.read_text(encoding="ascii", errors="replace")):
            raise HospitalError(f"{key}: {path} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except FileNotFoundError:
        raise HospitalError(f"{key}: {path} is not there") from None
    except ssl.SSLError:
        raise HospitalError(f"{key}: {path} holds a broken certificate; copy it again") from None
    except OSError as error:
        raise HospitalError(f"{key}: {path} cannot be read ({error.strerror})") from None


def _private_key(table: str, certificate: Path, key: Path) -> None:
    """That a key is one, is not encrypted, and is that of the certificate."""
    try:
        if "PRIVATE KEY-----" not in key.read_text(encoding="ascii", errors="replace"):
            raise HospitalError(f"{table}.key: {key} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)")
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
    except EncryptedKeyError:
        raise HospitalError(f"{table}.key: {key} is encrypted; give one without a pass phrase") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise HospitalError(f"{table}.key: {key} is not the key of {table}.certificate, {certificate}") from None
        raise HospitalError(f"{table}.key: {key} cannot be used with {certificate} ({one_line(error, 120)})") from None
    except FileNotFoundError:
        raise HospitalError(f"{table}.key: {key} is not there") from None
    except OSError as error:
        raise HospitalError(f"{table}.key: {key} cannot be read ({error.strerror})") from None


def _spans(path: Path) -> list[tuple[datetime, datetime]]:
    """From when until when each certificate of a file is valid, of those that say so as RFC 5280 asks; OSError."""
    spans = []
    for found in _CERTIFICATE.finditer(path.read_text(encoding="ascii", errors="replace")):
        with suppress(ValueError, IndexError):
            spans.append(_validity(base64.b64decode(found[2])))
    return spans


def _validity(der: bytes) -> tuple[datetime, datetime]:
    """The span of one certificate (RFC 5280, 4.1)."""
    body = _elements(_elements(der)[0][1])[0][1]
    fields = [element for element in _elements(body) if element[0] != 0xA0]  # without the version
    begins, ends = _elements(fields[3][1])  # behind serial number, signature and issuer
    return _moment(*begins), _moment(*ends)


def _moment(tag: int, content: bytes) -> datetime:
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(content.decode("ascii"), form).replace(tzinfo=UTC)


def _elements(content: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of each element that follows on another one (DER; X.690, 8.1)."""
    found, at = [], 0
    while at < len(content):
        tag, length, at = content[at], content[at + 1], at + 2
        if length >= 0x80:
            size = length - 0x80
            length, at = int.from_bytes(content[at : at + size], "big"), at + size
        if at + length > len(content):
            raise ValueError("an element is longer than what holds it")
        found.append((tag, content[at : at + length]))
        at += length
    return found
