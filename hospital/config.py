"""hospital.toml as a typed object, checked as a whole before anything starts."""

import ipaddress
import itertools
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from hospital import certificates
from hospital.adt.settings import Adt
from hospital.audit.settings import Audit
from hospital.delivery.settings import Destination, Dicom, Fhir, FhirFile, Hl7, Stow, Ups
from hospital.errors import HospitalError
from hospital.labels.settings import ReportPoll, Store
from hospital.sections import (
    Address,
    Host,
    Listed,
    Name,
    Place,
    Port,
    Section,
    Service,
    Text,
    Title,
    Tls,
    is_loopback,
    may_clash,
    plainly,
)
from hospital.worklist.settings import Worklist
from serving.errors import one_line

DEFAULT_NAME = "hospital.toml"
MIB = 2**20
_SHORTEST_KEY = 32


class Peer(Section):
    """Who may send: a calling AE title, and the addresses that it may call from (all, where none are named)."""

    ae_title: Title
    addresses: Listed[Address] = ()

    def calls_from(self, address: str) -> bool:
        """Whether `address` is one of its own."""
        if not self.addresses:
            return True
        found = ipaddress.ip_address(address)
        return any(found in ipaddress.ip_network(network) for network in self.addresses)


class Receiver(Section):
    """What is received over DICOM, and its limits."""

    ae_title: Title = "FRACTURE"
    host: Host = "127.0.0.1"
    port: Port = 11112
    peers: Listed[Peer] = ()  # none: every calling AE title, on loopback only
    tls: Tls | None = None
    max_associations: int = Field(default=16, ge=1, le=256)
    idle_seconds: float = Field(default=60, gt=0, le=3600)  # without a byte, then the association ends
    max_object_mb: int = Field(default=256, ge=1)
    disk_reserve_mb: int = Field(default=1024, ge=0)  # free space below which 0xA700 is answered

    @model_validator(mode="after")
    def _open_needs_peers(self) -> "Receiver":
        if not is_loopback(self.host) and not self.peers:
            raise ValueError(f"{self.host} is open to other machines: name who may send under [[receiver.peers]]")
        return self


class WebReceiver(Section):
    """The port that takes STOW-RS (PS3.18, 10.5); without the table there is none."""

    host: Host = "127.0.0.1"  # another address needs HOSPITAL_WEB_KEY or `tls`
    port: Port = 11181
    tls: Tls | None = None
    max_requests: int = Field(default=8, ge=1, le=32)  # at the same time
    idle_seconds: float = Field(default=60, gt=0, le=3600)  # without a byte, then the request ends
    max_request_mb: int = Field(default=1024, ge=1)
    max_object_mb: int = Field(default=256, ge=1)
    max_parts: int = Field(default=500, ge=1, le=10_000)


class Poll(Section):
    """A DICOMweb server that is asked for new CR and DX images (QIDO-RS, WADO-RS)."""

    name: Name
    url: Service  # of the service, without /studies
    interval_seconds: float = Field(default=60, ge=1, le=86400)
    lookback_days: int = Field(default=2, ge=0, le=366)  # by study date, today not counted
    page_size: int = Field(default=100, ge=1, le=5000)
    max_object_mb: int = Field(default=256, ge=1)
    timeout_seconds: float = Field(default=30, gt=0, le=600)
    tls: Tls | None = None


class Model(Section):
    """Who scores: a bundle in processes of the gateway's own, or the HTTP service."""

    bundle: Place | None = None  # by default the one that `fracture serve` would serve
    processes: int = Field(default=0, ge=0, le=64)  # 0: one a core
    service: bool = False  # ask FRACTURE_SERVICE_URL instead
    scope: Literal["refuse", "warn"] = "refuse"  # `warn`, for research, answers what the model is not for

    @model_validator(mode="after")
    def _one_of_them(self) -> "Model":
        if self.service and self.bundle is not None:
            raise ValueError("give either `bundle` or `service = true`")
        if self.service and self.scope != "refuse":
            raise ValueError("`scope` is the service's to say: set FRACTURE_SCOPE there")
        return self


class Study(Section):
    """When a study's result is made."""

    stable_seconds: float = Field(default=30, ge=0, le=86400)  # without a further image


class Results(Section):
    """Which objects are made of a study's result, and how they are named."""

    report: bool = True  # Comprehensive 3D SR
    capture: bool = True  # secondary captures with heatmap and boxes
    presentation: bool = True  # grayscale softcopy presentation states with the boxes
    series_number: int = Field(default=9001, ge=1, le=99990)  # of the report; capture and presentation count on
    manufacturer: Text = Field(default="bone-fracture-detection", min_length=1, max_length=64)
    station: Text = Field(default="fracture-gateway", min_length=1, max_length=64)


class Delivery(Section):
    """How a destination that fails is tried again."""

    first_wait_seconds: float = Field(default=5, gt=0)
    longest_wait_seconds: float = Field(default=900, gt=0)
    dead_after_hours: float = Field(default=24, gt=0)

    @model_validator(mode="after")
    def _waits_grow(self) -> "Delivery":
        if self.longest_wait_seconds < self.first_wait_seconds:
            raise ValueError("longest_wait_seconds is shorter than first_wait_seconds")
        return self


class Operation(Section):
    """The port of the metrics and of the worklist as JSON, and the tracing of jobs."""

    host: Host = "127.0.0.1"
    port: Port = 11180
    lease_seconds: float = Field(default=300, ge=5)  # after which the job of a process that died is free again
    retention_hours: float = Field(default=72, ge=0)  # after the last confirmed delivery


class Config(Section):
    """Everything that hospital.toml may say; paths in it are relative to its folder."""

    spool: Place = Path("spool")
    shared_spool: bool = False  # other gateways have the same spool and PostgreSQL: they take each other's jobs
    name: Name = "gateway"  # of this gateway, among those that share a database
    receiver: Receiver = Receiver()
    web_receiver: WebReceiver | None = None
    polls: Listed[Poll] = ()
    model: Model = Model()
    study: Study = Study()
    results: Results = Results()
    destinations: Listed[Destination] = ()
    delivery: Delivery = Delivery()
    operation: Operation = Operation()
    adt: Adt | None = None  # without the table no ADT messages are taken
    audit: Audit | None = None  # without the table no trail is kept
    worklist: Worklist | None = None  # without the table it is not served
    store: Store | None = None  # without the table nothing reaches the store of answers

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Config":
        polls = [one.name for one in self.polls]
        if self.store is not None and self.store.fhir is not None:
            polls.append(self.store.fhir.name)
        for key, names in (("destinations", [one.name for one in self.destinations]), ("polls", polls)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{key}: the name {twice[0]} is given twice")
        return self

    @model_validator(mode="after")
    def _variables_differ(self) -> "Config":
        taken: dict[str, str] = {}
        for name in (one.name for one in self.asked_by_http):
            variable = authorization_variable(name)
            other = taken.setdefault(variable, name)
            if other != name:
                raise ValueError(
                    f"{other} and {name} would share {variable}, and so an Authorization header: rename one"
                )
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> "Config":
        tables = (
            ("receiver", self.receiver),
            ("operation", self.operation),
            ("web_receiver", self.web_receiver),
            ("adt", self.adt),
            ("worklist", self.worklist),
            ("store.reports", self.store.reports if self.store else None),
        )
        opened = [(key, table.host, table.port) for key, table in tables if table is not None]
        for (other, other_host, other_port), (key, host, port) in itertools.combinations(opened, 2):
            if port == other_port and may_clash(host, other_host):
                raise ValueError(f"{key}.port: {port} is the port of [{other}] already")
        return self

    @model_validator(mode="after")
    def _archives_get_objects(self) -> "Config":
        made = self.results
        archives = [one.name for one in self.destinations if isinstance(one, Dicom | Stow)]
        if archives and not (made.report or made.capture or made.presentation):
            raise ValueError(f"results: no object is made, so destination {archives[0]} would never be sent any")
        return self

    @model_validator(mode="after")
    def _worklist_is_guarded(self) -> "Config":
        worklist = self.worklist
        if worklist is not None and not is_loopback(worklist.host) and worklist.tls is None:
            raise ValueError(f"worklist.host: {worklist.host} is open to other machines and needs [worklist.tls]")
        if worklist is not None and self.audit is None:
            raise ValueError("worklist: who looks at it is audited; say where under [audit]")
        return self

    @property
    def asked_by_http(self) -> tuple[Stow | Fhir | Ups | Poll | ReportPoll, ...]:
        """Destinations and servers that are shown an Authorization header."""
        reports = self.store.fhir if self.store else None
        destinations = (one for one in self.destinations if isinstance(one, Stow | Fhir | Ups))
        return (*destinations, *self.polls, *([reports] if reports else []))

    @property
    def database_url(self) -> str:
        """HOSPITAL_DATABASE_URL, or the file in the spool."""
        return os.environ.get("HOSPITAL_DATABASE_URL", "").strip() or f"sqlite:///{self.spool / 'gateway.db'}"


class Secrets(Section):
    """What the environment alone may hold: each variable, or the file that the variable with _FILE behind it names."""

    service_url: str = ""  # FRACTURE_SERVICE_URL
    service_key: str = ""  # FRACTURE_SERVICE_KEY
    operation_key: str = ""  # HOSPITAL_KEY: asked of whoever reads metrics and worklist
    worklist_users: str = ""  # HOSPITAL_WORKLIST_USERS: `name:hash`, separated by white space
    worklist_key: str = ""  # HOSPITAL_WORKLIST_KEY: of programs that read the worklist as JSON
    web_key: str = ""  # HOSPITAL_WEB_KEY: asked of whoever sends by STOW-RS
    store_url: str = ""  # FRACTURE_STORE_URL: database of the answers
    pseudonym_key: str = ""  # FRACTURE_PSEUDONYM_KEY: of patients and studies in it; empty keeps none
    authorizations: Mapping[str, str] = {}  # of a destination or poll, HOSPITAL_AUTHORIZATION_<NAME>: a header's value

    @classmethod
    def read(cls, config: Config) -> "Secrets":
        """From the environment; HospitalError for one that is missing or unusable."""
        variables = {one.name: authorization_variable(one.name) for one in config.asked_by_http}
        found = cls(
            service_url=os.environ.get("FRACTURE_SERVICE_URL", "").strip().rstrip("/"),
            service_key=_secret("FRACTURE_SERVICE_KEY"),
            operation_key=_secret("HOSPITAL_KEY"),
            worklist_users=os.environ.get("HOSPITAL_WORKLIST_USERS", ""),
            worklist_key=_secret("HOSPITAL_WORKLIST_KEY"),
            web_key=_secret("HOSPITAL_WEB_KEY"),
            store_url=_secret("FRACTURE_STORE_URL"),
            pseudonym_key=_secret("FRACTURE_PSEUDONYM_KEY"),
            authorizations={name: value for name, variable in variables.items() if (value := _secret(variable))},
        )
        if config.model.service and not re.match(r"https?://\S+$", found.service_url):
            raise HospitalError(
                "FRACTURE_SERVICE_URL: `model.service` needs the service's address, http:// or https://"
            )
        if not is_loopback(config.operation.host) and not found.operation_key:
            raise HospitalError(
                f"HOSPITAL_KEY: operation.host {config.operation.host} is open to other machines and needs a key"
            )
        if config.store is not None and not found.store_url:
            raise HospitalError("FRACTURE_STORE_URL: the table `store` needs the address of the store of answers")
        if found.pseudonym_key and len(found.pseudonym_key) < _SHORTEST_KEY:
            raise HospitalError(
                f"FRACTURE_PSEUDONYM_KEY: is shorter than {_SHORTEST_KEY} characters; make one (openssl rand -hex 32)"
            )
        web = config.web_receiver
        if web is not None and not is_loopback(web.host) and web.tls is None and not found.web_key:
            raise HospitalError(
                f"HOSPITAL_WEB_KEY: web_receiver.host {web.host} is open to other machines and needs a key, "
                "or [web_receiver.tls]"
            )
        return found


def _secret(variable: str) -> str:
    """The value of a variable, or the content of the file that it names with _FILE; HospitalError if it is unusable."""
    path = os.environ.get(f"{variable}_FILE", "").strip()
    try:
        value = Path(path).read_text(encoding="utf-8").strip() if path else os.environ.get(variable, "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise HospitalError(f"{variable}_FILE: {path} cannot be read ({one_line(error, 120)})") from None
    if not value.isprintable():
        raise HospitalError(f"{variable}: holds a line break or another character that no header can carry")
    return value


def authorization_variable(destination: str) -> str:
    """The variable that holds the Authorization header for a destination or a poll."""
    return f"HOSPITAL_AUTHORIZATION_{destination.upper().replace('-', '_')}"


def read(path: Path) -> Config:
    """hospital.toml, checked as a whole; HospitalError names the file, the key and the reason."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise HospitalError(f"{path}: not found; copy deploy/hospital/hospital.toml and adapt it") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HospitalError(f"{path}: cannot be read ({one_line(error, 200)})") from None
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise HospitalError(f"{path}: {plainly(error)}") from None
    config = _from_folder(config, path.absolute().parent)
    _check_files(config, path)
    return config


def _from_folder(config: Config, folder: Path) -> Config:
    """The same with its paths made absolute."""

    def tls(given: Tls | None) -> Tls | None:
        if given is None:
            return None
        return Tls(
            certificate=folder / given.certificate, key=folder / given.key, authorities=folder / given.authorities
        )

    bundle, web = config.model.bundle, config.web_receiver
    destinations = tuple(
        one.model_copy(update={"tls": tls(one.tls)})
        if isinstance(one, Dicom | Hl7)
        else one.in_folder(folder)
        if isinstance(one, FhirFile)
        else one
        for one in config.destinations
    )
    return config.model_copy(
        update={
            "spool": folder / config.spool,
            "receiver": config.receiver.model_copy(update={"tls": tls(config.receiver.tls)}),
            "model": config.model.model_copy(update={"bundle": bundle and folder / bundle}),
            "destinations": destinations,
            "audit": config.audit and config.audit.in_folder(folder),
            "worklist": config.worklist and config.worklist.in_folder(folder),
            "adt": config.adt and config.adt.model_copy(update={"tls": tls(config.adt.tls)}),
            "store": config.store and config.store.in_folder(folder),
            "web_receiver": web and web.model_copy(update={"tls": tls(web.tls)}),
            "polls": tuple(one.model_copy(update={"tls": tls(one.tls)}) for one in config.polls),
        }
    )


def _check_files(config: Config, path: Path) -> None:
    """Certificates that load, and a database address that is one."""
    for side in certificates.sides(config):
        try:
            certificates.check(side)
        except HospitalError as error:
            raise HospitalError(f"{path}: {error}") from None
    try:
        url = make_url(config.database_url)
        if (kind := url.get_backend_name()) not in {"sqlite", "postgresql"}:
            raise HospitalError(f"HOSPITAL_DATABASE_URL: {kind} is neither sqlite nor postgresql")
        dialect = url.get_dialect()
        dialect.import_dbapi()
        if dialect.is_async:
            raise NoSuchModuleError(url.drivername)
        if config.shared_spool and kind != "postgresql":
            raise HospitalError(
                f"{path}: shared_spool: needs PostgreSQL in HOSPITAL_DATABASE_URL, as SQLite is not safe where several "
                "machines write it"
            )
    except (NoSuchModuleError, ImportError):
        raise HospitalError("HOSPITAL_DATABASE_URL: has no driver here; write postgresql+psycopg://...") from None
    except (ArgumentError, ValueError):
        raise HospitalError("HOSPITAL_DATABASE_URL: is no database address, such as postgresql+psycopg://...") from None
