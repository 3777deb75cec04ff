"""The table [audit] of hospital.toml."""

import ssl
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from hospital.certificates import load_pair
from hospital.sections import Place, Section, Text


def _collector(value: str) -> str:
    """A collection point's address; ValueError for anything else."""
    try:
        found = urlsplit(value)
        known = found.scheme in {"udp", "tls"} and found.hostname and found.port and not found.path
    except ValueError:
        known = False
    if value and not known:
        raise ValueError("is no address such as tls://audit.example.org:6514 or udp://192.0.2.1:514")
    return value


class AuditTls(Section):
    """The authorities that the collection point's certificate has to come from, and a certificate of this side."""

    authorities: Place
    certificate: Place | None = None
    key: Place | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> "AuditTls":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("give both `certificate` and `key`, or none of them")
        return self

    def client(self) -> ssl.SSLContext:
        """TLS 1.2 or newer that checks the other side's name; OSError or ssl.SSLError where a file cannot be read."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self.authorities)
        if self.certificate is not None and self.key is not None:
            load_pair(context, self.certificate, self.key)
        return context


class Audit(Section):
    """Where the audit trail is written, and the collection point that it goes on to."""

    folder: Place = Path("audit")
    syslog: Annotated[str, AfterValidator(_collector)] = ""
    tls: AuditTls | None = None
    source: Text = Field(default="", max_length=64)  # AuditSourceID; by default the gateway's name
    site: Text = Field(default="", max_length=64)  # AuditEnterpriseSiteID

    @model_validator(mode="after")
    def _tls_has_authorities(self) -> "Audit":
        if self.syslog.startswith("tls:") and self.tls is None:
            raise ValueError("tls:// needs the authorities of the collection point under [audit.tls]")
        return self

    @property
    def collector(self) -> tuple[Literal["udp", "tls"], str, int] | None:
        """Transport, host and port of the collection point; None where there is none."""
        if not self.syslog:
            return None
        found = urlsplit(self.syslog)
        return "udp" if found.scheme == "udp" else "tls", str(found.hostname), int(found.port or 0)

    def in_folder(self, folder: Path) -> "Audit":
        """The same with its paths made absolute."""
        tls = self.tls and self.tls.model_copy(
            update={
                name: folder / path
                for name in ("authorities", "certificate", "key")
                if (path := getattr(self.tls, name)) is not None
            }
        )
        return self.model_copy(update={"folder": folder / self.folder, "tls": tls})
