"""What the tables of hospital.toml are made of: sections, names, addresses, and TLS on both sides."""

import hashlib
import ipaddress
import re
import ssl
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hospital.certificates import load_pair

T = TypeVar("T")

_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
"""An AE title (PS3.5, 6.2): at most 16 characters of ASCII, no backslash, no control characters."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_HOST = re.compile(r"[\w.-]{1,253}")

_PLAINLY = {
    "bool_type": "has to be true or false",
    "dict_type": "has to be a table",
    "extra_forbidden": "there is no such key",
    "finite_number": "has to be a finite number",
    "float_type": "has to be a number, without quotes",
    "int_type": "has to be a whole number, without quotes",
    "literal_error": "has to be {expected}",
    "mapping_type": "has to be a table",
    "missing": "the key is missing",
    "model_type": "has to be a table",
    "string_type": "has to be text, in quotes",
    "tuple_type": "has to be a list, in brackets",
    "union_tag_invalid": "`kind` has to be one of {expected_tags}",
    "union_tag_not_found": "the key `kind` is missing",
}
"""What pydantic says in words of Python, by its type of error."""


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
    if is_one and found.username is not None:
        raise ValueError("holds a user; credentials stand in the variable HOSPITAL_AUTHORIZATION_<NAME>")
    if not is_one or not value.isprintable() or set(value) & set("?# "):
        raise ValueError("is no address such as https://archive.example.org/dicom-web")
    return value


def _host(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    if not _HOST.fullmatch(value):
        raise ValueError("is no host such as pacs.example.org or 192.0.2.1; a port has a key of its own")
    return value


def _text(value: str) -> str:
    if not value.isprintable() or "\\" in value:
        raise ValueError("may hold no backslash and no control characters")
    return value


def _place(value: object) -> Path:
    if value == "":
        raise ValueError("is empty; name a file or a folder")
    if isinstance(value, str | Path):
        return Path(value)
    raise ValueError("has to be a path, in quotes")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def may_clash(host: str, other: str) -> bool:
    """Whether one port cannot be had for both: they are the same, or one of them is every address."""
    told = {"127.0.0.1" if one == "localhost" else one for one in (host, other)}
    return len(told) == 1 or bool(told & {"0.0.0.0", "::"})  # noqa: S104  compared, not listened on


Title = Annotated[str, AfterValidator(_title)]
Address = Annotated[str, AfterValidator(_address)]
Name = Annotated[str, AfterValidator(_name)]
Host = Annotated[str, AfterValidator(_host)]
Text = Annotated[str, AfterValidator(_text)]
"""Text that DICOM and XML can carry."""
Place = Annotated[Path, BeforeValidator(_place)]
Listed = Annotated[tuple[T, ...], Field(strict=False)]
"""A list of TOML; its members are as strict as all else."""
Port = Annotated[int, Field(ge=1, le=65535)]
Service = Annotated[str, AfterValidator(_service)]
"""The address of a DICOMweb service, without the resource."""


def plainly(error: ValidationError) -> str:
    """The first fault that was found, in one line: its key, and what is wrong."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] in _PLAINLY:
        reason = _PLAINLY[first["type"]].format(**first.get("ctx", {}))
    return f"{key}: {reason}" if key else reason


class Section(BaseModel):
    """A table without unknown keys, which nobody changes.

    A value has to be of its key's type; a whole number may stand where any number is asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Tls(Section):
    """Certificate and key of this side, and the authorities whose certificates the other side may show (PEM files)."""

    certificate: Place
    key: Place
    authorities: Place

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
