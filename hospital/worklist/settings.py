"""The table [worklist] of hospital.toml."""

import ssl
from pathlib import Path
from string import Formatter
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, Field

from hospital.certificates import load_pair
from hospital.sections import Host, Place, Port, Section

_FIELDS = ("study_uid", "accession_number", "patient_id")
_RUN_AS_SCRIPT = ("javascript:", "data:", "vbscript:", "blob:", "file:")


def _viewer(value: str) -> str:
    """An address with placeholders; ValueError for one that is none, or names something that is not known."""
    if not value:
        return value
    if value.lower().startswith(_RUN_AS_SCRIPT) or not value.partition("://")[0].isalnum() or "://" not in value:
        raise ValueError("is no address such as https://pacs.example.org/viewer?StudyInstanceUIDs={study_uid}")
    try:
        parts = [part[1:] for part in Formatter().parse(value) if part[1] is not None]
    except ValueError:
        raise ValueError("has a brace without its other one") from None
    if not parts or not all(name in _FIELDS and not form and not conversion for name, form, conversion in parts):
        raise ValueError(f"may name {', '.join(f'{{{name}}}' for name in _FIELDS)}, and has to name one of them")
    return value


class WorklistTls(Section):
    """Certificate and key of this side; with `authorities`, every browser has to show a certificate of one of them."""

    certificate: Place
    key: Place
    authorities: Place | None = None

    def in_folder(self, folder: Path) -> "WorklistTls":
        """The same with its paths made absolute."""
        authorities = self.authorities and folder / self.authorities
        return WorklistTls(certificate=folder / self.certificate, key=folder / self.key, authorities=authorities)

    def server(self) -> ssl.SSLContext:
        """TLS 1.2 or newer; OSError or ssl.SSLError where a file cannot be read."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.authorities is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let what listens already show the certificate that the files hold now; authorities come to those it knows."""
        load_pair(context, self.certificate, self.key)
        if self.authorities is not None:
            context.load_verify_locations(self.authorities)


class Worklist(Section):
    """Where the worklist is served, to whom, and how long a login lasts."""

    host: Host = "127.0.0.1"
    port: Port = 11190
    tls: WorklistTls | None = None
    users: Place | None = None  # a line `name:hash` for each; without it HOSPITAL_WORKLIST_USERS
    viewer: Annotated[str, AfterValidator(_viewer)] = ""
    attempts: int = Field(default=5, ge=1, le=100)  # failed logins of a name, then it is locked
    lockout_minutes: float = Field(default=15, gt=0, le=1440)
    idle_minutes: float = Field(default=15, gt=0, le=1440)  # then the session ends; a page's own refresh is no use
    session_hours: float = Field(default=12, gt=0, le=168)  # then it ends in any case
    refresh_seconds: int = Field(default=30, ge=1, le=3600)
    page_size: int = Field(default=100, ge=1, le=500)

    def in_folder(self, folder: Path) -> "Worklist":
        """The same with its paths made absolute."""
        tls = self.tls and self.tls.in_folder(folder)
        return self.model_copy(update={"tls": tls, "users": self.users and folder / self.users})

    def viewer_link(self, study_uid: str, accession_number: str, patient_id: str) -> str:
        """The viewer's address for a study; empty where there is none, or the study lacks what the address names."""
        values = dict(zip(_FIELDS, (study_uid, accession_number, patient_id), strict=True))
        named = [name for _, name, _, _ in Formatter().parse(self.viewer) if name is not None]
        if not self.viewer or not all(values[name] for name in named):
            return ""
        return self.viewer.format(**{name: quote(value, safe="") for name, value in values.items()})
