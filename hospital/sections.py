"""What the tables of hospital.toml are made of: sections, names, addresses, and TLS on both sides."""

import hashlib
import ipaddress
import re
import ssl
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hospital.certificates import load_pair

_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
"""An AE title (PS3.5, 6.2): at most 16 characters of ASCII, no backslash, no control characters."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


def _title(value: str) -> str:
    stripped = value.strip(" ")
    if not stripped or not _TITLE.fullmatch(stripped):
        raise ValueError("is no AE title (1 to 16 characters of ASCII, without backslash)")
    return stripped


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError("is neither an IP address nor a network such as 192.0.2.0/24") from None


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("may hold letters, digits, - and _, at most 32 of them")
    return value


def _service(value: str) -> str:
    found = urlsplit(value)
    try:
        is_one = found.scheme in {"http", "https"} and bool(found.hostname) and found.port != 0
    except ValueError:  # of a port that is none
        is_one = False
    if not is_one or found.username is not None or not value.isprintable() or set(value) & set("?# "):
        raise ValueError("is no address such as https://archive.example.org/dicom-web")
    return value


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Title = Annotated[str, AfterValidator(_title)]
Address = Annotated[str, AfterValidator(_address)]
Name = Annotated[str, AfterValidator(_name)]
Port = Annotated[int, Field(ge=1, le=65535)]
Service = Annotated[str, AfterValidator(_service)]
"""The address of a DICOMweb service, without the resource."""


class Section(BaseModel):
    """A table without unknown keys, which nobody changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(Section):
    """Certificate and key of this side, and the authorities whose certificates the other side may show (PEM files)."""

    certificate: Path
    key: Path
    authorities: Path

    def server(self) -> ssl.SSLContext:
        """For what others connect to: the non-downgrading profile of BCP 195 (PS3.15, B.12), client certificates asked.

        OSError or ssl.SSLError where a file cannot be read.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return self._loaded(context)

    def client(self) -> ssl.SSLContext:
        """For what this side connects to; the certificate of the other one has to bear its host's name."""
        return self._loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def _loaded(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        load_pair(context, self.certificate, self.key)
        context.load_verify_locations(self.authorities)
        return context

    def stamp(self) -> str:
        """Digest of the files, which a later read compares; OSError where one cannot be read."""
        files = (self.certificate, self.key, self.authorities)
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
