"""The table [store] of hospital.toml: what reaches the store of answers (FRACTURE_STORE_URL)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from hospital.sections import Host, Name, Port, Section, Service, is_loopback
from hospital.worklist.settings import WorklistTls

_SITE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _site(value: str) -> str:
    if not _SITE.fullmatch(value):
        raise ValueError("may hold letters, digits, dot, dash and underscore, at most 64 of them")
    return value


def _codes(value: Mapping[str, str]) -> Mapping[str, str]:
    """Without white space around a code, as reports are read."""
    found = {code.strip(): label for code, label in value.items()}
    if "" in found:
        raise ValueError("a code is empty")
    if len(found) < len(value):
        raise ValueError("a code is given twice, with white space around it and without")
    return found


class ReportReceiver(Section):
    """The port that takes final reports: HL7 v2 ORU^R01 over MLLP."""

    host: Host = "127.0.0.1"
    port: Port = 11182
    tls: WorklistTls | None = None  # with `authorities`, senders have to show a certificate
    max_connections: int = Field(default=8, ge=1, le=64)
    idle_seconds: float = Field(default=3600, gt=0, le=86400)  # without a byte, then the connection ends

    @model_validator(mode="after")
    def _open_needs_certificates(self) -> "ReportReceiver":
        certified = self.tls is not None and self.tls.authorities is not None
        if not certified and not is_loopback(self.host):
            raise ValueError(f"{self.host} is open to other machines: give `tls` with `authorities`")
        return self


class ReportPoll(Section):
    """A FHIR server that is asked for new final DiagnosticReports."""

    name: Name = "reports"
    url: Service  # the server's base
    release: Literal["R4", "R4B", "R5"] = "R4"
    interval_seconds: float = Field(default=300, ge=1, le=86400)
    lookback_hours: float = Field(default=24, gt=0, le=8784)  # by when the server last changed a report
    page_size: int = Field(default=100, ge=1, le=1000)
    timeout_seconds: float = Field(default=30, gt=0, le=600)


class Store(Section):
    """Which site this gateway serves, and what the codes of final reports mean."""

    site: Annotated[str, AfterValidator(_site)]
    codes: Annotated[
        Mapping[str, str], AfterValidator(_codes)
    ] = {}  # a code of a report's conclusion: the class of the model that it means
    reports: ReportReceiver | None = None  # without the table no port is opened
    fhir: ReportPoll | None = None  # without the table no server is asked
    queue: int = Field(default=10_000, ge=1)  # answers that wait to be written; further ones are dropped

    @model_validator(mode="after")
    def _reports_need_codes(self) -> "Store":
        if (self.reports is not None or self.fhir is not None) and not self.codes:
            raise ValueError("codes: names no code, so that no report would say anything")
        return self

    def in_folder(self, folder: Path) -> "Store":
        """The same with its paths made absolute."""
        reports = self.reports
        if reports is None or reports.tls is None:
            return self
        tls = reports.tls.in_folder(folder)
        return self.model_copy(update={"reports": reports.model_copy(update={"tls": tls})})
