"""The tables [[destinations]] of hospital.toml, by their `kind`."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from hospital.sections import Host, Name, Port, Section, Service, Text, Title, Tls

Release = Literal["R4", "R4B", "R5"]
STDOUT = "-"
_SYSTEM = re.compile(r"(\w+:\S+)?")
_SEPARATORS = frozenset("|^~\\&\r\n")


def _system(value: str) -> str:
    if not _SYSTEM.fullmatch(value):
        raise ValueError("is no address of a naming system such as urn:oid:1.2.3")
    return value


def _field(value: str) -> str:
    if _SEPARATORS & set(value):
        raise ValueError("may hold none of | ^ ~ \\ & and no line break")
    return value


_Hl7Text = Annotated[str, AfterValidator(_field)]


class Dicom(Section):
    """A destination that is sent C-STORE."""

    kind: Literal["dicom"]
    name: Name
    ae_title: Title
    host: Host
    port: Port
    calling_ae_title: Title | None = None  # by default the receiver's
    commitment: bool = True  # delivered only when the destination has committed to keep it
    commitment_seconds: float = Field(default=600, gt=0)  # then the object is sent again
    timeout_seconds: float = Field(default=30, gt=0, le=600)
    tls: Tls | None = None

    @property
    def address(self) -> str:
        """Where it is, for the audit trail."""
        return self.host


class Stow(Section):
    """A destination that is sent STOW-RS (PS3.18, 10.5)."""

    kind: Literal["stow"]
    name: Name
    url: Service  # of the service, without /studies
    timeout_seconds: float = Field(default=30, gt=0, le=600)

    @property
    def address(self) -> str:
        """Where it is, for the audit trail."""
        return self.url


class FhirForm(Section):
    """What resources look like, wherever they go."""

    release: Release = "R4"
    patient_system: Annotated[str, AfterValidator(_system)] = ""  # of the identifiers that Patient IDs are


class Fhir(FhirForm):
    """A destination that is sent a FHIR transaction."""

    kind: Literal["fhir"]
    name: Name
    url: Service  # the server's base
    timeout_seconds: float = Field(default=30, gt=0, le=600)

    @property
    def address(self) -> str:
        """Where it is, for the audit trail."""
        return self.url


class FhirFile(FhirForm):
    """FHIR transactions as files, or as lines of the standard output."""

    kind: Literal["fhir_file"]
    name: Name
    path: str = Field(min_length=1)  # a folder, which gets a file for each version, or - for the standard output

    @property
    def folder(self) -> Path | None:
        """Where files are written; None for the standard output."""
        return None if self.path == STDOUT else Path(self.path)

    def in_folder(self, folder: Path) -> "FhirFile":
        """The same with its path made absolute."""
        return self if self.folder is None else self.model_copy(update={"path": str(folder / self.folder)})

    @property
    def address(self) -> str:
        """Where it is, for the audit trail."""
        return "" if self.folder is None else self.folder.as_uri()


class Hl7(Section):
    """A destination that is sent HL7 v2 ORU^R01 over MLLP."""

    kind: Literal["hl7"]
    name: Name
    host: Host
    port: Port
    application: _Hl7Text = Field(default="", max_length=180)  # MSH-5
    facility: _Hl7Text = Field(default="", max_length=180)  # MSH-6
    priority: bool = False  # suspicion high goes out with the priority ASAP (TQ1-9)
    timeout_seconds: float = Field(default=30, gt=0, le=600)
    tls: Tls | None = None

    @property
    def address(self) -> str:
        """Where it is, for the audit trail."""
        return self.host


class Ups(Section):
    """A worklist server that is told of studies whose suspicion is high (UPS-RS; PS3.18, 11)."""

    kind: Literal["ups"]
    name: Name
    url: Service  # without /workitems
    worklist: Text = Field(default="Radiograph reading", min_length=1, max_length=64)  # Worklist Label
    timeout_seconds: float = Field(default=30, gt=0, le=600)

    @property
    def address(self) -> str:
        """Where it is, for the audit trail."""
        return self.url


Destination = Annotated[Dicom | Stow | Fhir | FhirFile | Hl7 | Ups, Field(discriminator="kind")]
