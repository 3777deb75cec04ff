"""What the gateway remembers, as tables; times are seconds since 1970, UTC.

A row that names a file is written after the file is on the disk.
"""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from hospital.errors import HospitalError
from serving.errors import one_line
from serving.sqlite import log_ahead
from serving.store.records import Opinion
from serving.store.wording import address_of, reason_of

SCHEMA_VERSION = 1
_BUSY_SECONDS = 30
_READS = "hospital_reads"
"""Option of a connection whose transactions write nothing."""
_UID = String(64)
_DIGEST = String(64)
_ALONE = text("SELECT pg_advisory_xact_lock(:key)")
_IS_ALONE = text("SELECT pg_try_advisory_xact_lock(:key)")
_IDENTITY = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows of an INTEGER key alone


class Base(DeclarativeBase):
    """The tables."""


class Setting(Base):
    """A word that all processes share: the schema's version, and whether the queue is paused."""

    __tablename__ = "settings"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(String(64))


class Instance(Base):
    """An object that was received, by its SOP Instance UID and its bytes; what a later one replaced is superseded.

    `state` is `received`, `scored`, `refused` (the model is not for it) or `dead` (a person has to look).
    """

    __tablename__ = "instances"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "digest"),
        Index("instances_study", "study_uid", "superseded"),
    )
    id: Mapped[int] = mapped_column(_IDENTITY, primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(_UID)
    sop_class_uid: Mapped[str] = mapped_column(_UID)
    digest: Mapped[str] = mapped_column(_DIGEST)
    study_uid: Mapped[str] = mapped_column(_UID, default="")
    series_uid: Mapped[str] = mapped_column(_UID, default="")
    path: Mapped[str] = mapped_column(String(120))
    size: Mapped[int] = mapped_column(BigInteger)
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    gateway: Mapped[str] = mapped_column(String(32))  # that received it
    received_at: Mapped[float]
    superseded: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(String(16), default="received")
    code: Mapped[str] = mapped_column(String(40), default="")
    reason: Mapped[str] = mapped_column(String(300), default="")
    pixel_digest: Mapped[str] = mapped_column(_DIGEST, default="")
    answer_key: Mapped[str] = mapped_column(_DIGEST, default="")


class Answer(Base):
    """What a model says of an image; the key is made of SOP Instance UID, pixels and model (`scoring.answer_key`)."""

    __tablename__ = "answers"
    key: Mapped[str] = mapped_column(_DIGEST, primary_key=True)
    content: Mapped[dict[str, Any]] = mapped_column(JSON)  # as the HTTP interface gives it
    made_at: Mapped[float]


class Version(Base):
    """The result of a study from the images that were there at one time."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("study_uid", "number"),)
    id: Mapped[int] = mapped_column(_IDENTITY, primary_key=True)
    study_uid: Mapped[str] = mapped_column(_UID)
    number: Mapped[int]
    predecessor_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    sources: Mapped[str] = mapped_column(_DIGEST)  # digest of all that the result depends on
    made_at: Mapped[float]
    first_received_at: Mapped[float]
    last_received_at: Mapped[float]
    suspicion: Mapped[str] = mapped_column(String(16), default="")  # empty where no view has an answer
    probability: Mapped[float | None]
    summary: Mapped[dict[str, Any]] = mapped_column(JSON)  # statement, and an entry for each view
    patient: Mapped[dict[str, Any]] = mapped_column(JSON)  # what the worklist shows of the patient
    delivered_at: Mapped[float | None]


class Result(Base):
    """A DICOM object that was made for a version."""

    __tablename__ = "results"
    id: Mapped[int] = mapped_column(_IDENTITY, primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    sop_class_uid: Mapped[str] = mapped_column(_UID)
    sop_instance_uid: Mapped[str] = mapped_column(_UID, unique=True)
    series_uid: Mapped[str] = mapped_column(_UID)
    path: Mapped[str] = mapped_column(String(120))


class Job(Base):
    """Something to be done, once, by whoever holds its lease.

    `holder` is who has its bytes: a gateway by its name, or a shared spool (`hospital.sharing`).
    `state` is `waiting`, `leased`, `done`, `dead` or `dropped`; `subject` is the row that the kind of job is about: an
    instance to score, a study's newest instance to assemble, a version to deliver.
    """

    __tablename__ = "jobs"
    __table_args__ = (UniqueConstraint("kind", "key"), Index("jobs_due", "state", "kind", "due_at"))
    id: Mapped[int] = mapped_column(_IDENTITY, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    key: Mapped[str] = mapped_column(String(180))
    subject: Mapped[int] = mapped_column(BigInteger)
    destination: Mapped[str] = mapped_column(String(32), default="")
    holder: Mapped[str] = mapped_column("gateway", String(32))
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float]
    due_at: Mapped[float]
    lease_until: Mapped[float] = mapped_column(default=0.0)
    lease_owner: Mapped[str] = mapped_column(String(64), default="")
    failing_since: Mapped[float | None]
    done_at: Mapped[float | None]
    code: Mapped[str] = mapped_column(String(40), default="")
    reason: Mapped[str] = mapped_column(String(300), default="")


class Interruption(Base):
    """How often in a row a job's process ended while it worked on it; the row goes when the work comes to any end.

    A table of its own, so that a database of an earlier release gets it at the next start.
    """

    __tablename__ = "interruptions"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True, autoincrement=False)
    count: Mapped[int]


class Taker(Base):
    """Which of the gateways that share a spool took a delivery last: its audit trail tells of it."""

    __tablename__ = "takers"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True, autoincrement=False)
    gateway: Mapped[str] = mapped_column(String(32))


class Commitment(Base):
    """A request for storage commitment (PS3.4, annex J) and what the destination said of it."""

    __tablename__ = "commitments"
    transaction_uid: Mapped[str] = mapped_column(_UID, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    asked_at: Mapped[float]
    state: Mapped[str] = mapped_column(String(16), default="asked")  # asked, committed or refused


class Label(Base):
    """What the last final report says of an answer; an empty `label` takes an earlier one back.

    `opinion` compares it with the answer (`serving.store.records.Opinion`).
    """

    __tablename__ = "labels"
    answer_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    opinion: Mapped[Opinion] = mapped_column(String(16))
    label: Mapped[str] = mapped_column(String(64))
    taken_at: Mapped[float]
    stored_at: Mapped[float | None] = mapped_column(index=True)  # in the store of answers


class Renaming(Base):
    """The pseudonym that an answer in the store is to bear, as its patient has changed; the row goes once it does."""

    __tablename__ = "renamings"
    answer_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    patient: Mapped[str] = mapped_column(String(32))
    told_at: Mapped[float]
    due_at: Mapped[float] = mapped_column(index=True)


class Polled(Base):
    """What was seen of a DICOMweb server: an object, or a study whose objects were all looked at.

    `mark` is the digest of what the server said of it then. `state` is `taken`, `refused` (not asked for again while
    the mark stays) or `failing` (asked for again at `due_at`).
    """

    __tablename__ = "polled"
    source: Mapped[str] = mapped_column(String(32), primary_key=True)
    uid: Mapped[str] = mapped_column(_UID, primary_key=True)
    mark: Mapped[str] = mapped_column(_DIGEST)
    state: Mapped[str] = mapped_column(String(16))
    code: Mapped[str] = mapped_column(String(40), default="")
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[float] = mapped_column(default=0.0)
    seen_at: Mapped[float] = mapped_column(index=True)


class Correction(Base):
    """What the feed of ADT messages has last said of a patient; a field is null where it has said nothing of it.

    `merged_into` is the Patient ID that counts instead.
    """

    __tablename__ = "corrections"
    patient_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str | None] = mapped_column(String(200))
    birth_date: Mapped[str | None] = mapped_column(String(8))
    sex: Mapped[str | None] = mapped_column(String(1))
    merged_into: Mapped[str] = mapped_column(String(64), default="", index=True)
    told_at: Mapped[float]


class Database:
    """Sessions on SQLite (WAL, synchronous FULL) or PostgreSQL."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.address = address_of(self.url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.engine: Engine = create_engine(
                self.url, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False}, pool_size=32
            )
            event.listen(self.engine, "connect", _tune_sqlite)
            event.listen(self.engine, "begin", _begin)
        else:
            self.engine = create_engine(self.url, pool_size=32, pool_pre_ping=True)
        self._reader = self.engine.execution_options(**{_READS: True})
        # SQLite lets one transaction write; whoever finds it taken sleeps, longer each time. Threads wait here instead.
        self._turn: AbstractContextManager[object] = threading.RLock() if self.is_sqlite else nullcontext()

    def prepare(self) -> None:
        """Make the tables; HospitalError where the database cannot be reached or is that of another version."""
        try:
            if self.is_sqlite and self.url.database:
                os.close(os.open(self.url.database, os.O_CREAT | os.O_RDWR, 0o600))
            Base.metadata.create_all(self.engine)
            with self.session() as session:
                found = session.get(Setting, "schema")
                if found is None:
                    session.add(Setting(name="schema", value=str(SCHEMA_VERSION)))
                elif found.value != str(SCHEMA_VERSION):
                    raise HospitalError(
                        f"database: has schema {found.value}, but this version reads {SCHEMA_VERSION}; "
                        "run the version that wrote it, or name another database"
                    )
        except FileNotFoundError:
            place = f"database {self.address}: its folder is not there"
            raise HospitalError(f"{place}; `fracture hospital check` makes the spool") from None
        except (SQLAlchemyError, OSError) as error:
            reason = reason_of(error) if isinstance(error, SQLAlchemyError) else one_line(error)
            raise HospitalError(f"database {self.address}: {reason}") from error

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction: committed when the block ends well, rolled back when it raises."""
        with self._turn, Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The same without objects, for statements that are made once."""
        with self._turn, self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """What the database holds at one moment, for those who write nothing: they hold up nobody."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """The same without objects."""
        with self._reader.connect() as connection:
            yield connection

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()


def alone_with(connection: Connection, name: str) -> None:
    """Wait until no other transaction is alone with something of this name, and be so until this one ends.

    On SQLite every transaction is.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_ALONE, {"key": _key(name)})


def is_alone_with(connection: Connection, name: str) -> bool:
    """The same without a wait: False where another transaction is."""
    return connection.dialect.name != "postgresql" or bool(connection.scalar(_IS_ALONE, {"key": _key(name)}))


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


def _begin(connection: Connection) -> None:
    """A transaction that may write takes the right to it at once: taken later, it may fail for what was read before."""
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(_READS) else "BEGIN IMMEDIATE")


def _tune_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, not at the first change
    cursor = connection.cursor()
    log_ahead(cursor, _BUSY_SECONDS)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
    cursor.close()


def now() -> float:
    """Seconds since 1970, UTC."""
    return time.time()
