"""What was received and delivered, told to the audit trail from the rows that say so.

The rows are committed before this looks, so a crash leaves no gap: at most an event is told twice.
"""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from hospital.audit import messages
from hospital.audit.messages import Event, Study
from hospital.audit.trail import AuditTrail, read_state, write_state
from hospital.config import Config
from hospital.database import Instance, Job, Result, Taker, Version, now
from hospital.delivery.settings import Dicom, Fhir, FhirFile, Hl7, Ups
from hospital.headers import study_of
from hospital.parts import Parts

_SETTLED = 5.0
"""Seconds after which no transaction is open any more that holds an earlier row."""
_AT_ONCE = 100
_MARKS = "watched.json"


class AuditWatcher:
    """Tells of rows in their order; where it stands is kept beside the trail."""

    def __init__(self, config: Config, parts: Parts, trail: AuditTrail) -> None:
        self._config, self._parts, self._trail = config, parts, trail
        self._path = trail.folder / _MARKS
        self._destinations = {one.name: one for one in config.destinations}

    def adopt(self, config: Config) -> None:
        """Name the receiver and the destinations by another configuration from now on."""
        self._config, self._destinations = config, {one.name: one for one in config.destinations}

    def prepare(self) -> None:
        """Begin with what comes from now on, where the trail is new."""
        if not read_state(self._path):
            with self._parts.database.session() as session:
                newest = session.scalar(select(func.max(Instance.id))) or 0
            write_state(self._path, {"instance": newest, "delivered_at": now()})

    def step(self) -> bool:
        """Tell of the next rows; False where there are none."""
        marks = read_state(self._path)
        until = now() - _SETTLED
        with self._parts.database.session() as session:
            instances = self._arrived(session, marks["instance"], until)
            jobs = self._done(session, marks["delivered_at"], until)
            deliveries = [self._delivery(session, job) for job in jobs]
        events = self._receptions(instances) + deliveries  # files are read while the database is free
        if not events:
            return False
        self._trail.record(*events)
        if instances:
            marks["instance"] = instances[-1].id
        if jobs:
            marks["delivered_at"] = jobs[-1].done_at
        write_state(self._path, marks)
        return True

    def _arrived(self, session: Session, after: int, until: float) -> list[Instance]:
        chosen = (
            select(Instance)
            .where(Instance.id > after, Instance.gateway == self._config.name)
            .order_by(Instance.id)
            .limit(_AT_ONCE)
        )
        found = list(session.scalars(chosen))
        # Only up to the first that may not be alone: a later row must not move the mark past an earlier one.
        unsettled = next((number for number, one in enumerate(found) if one.received_at > until), len(found))
        return found[:unsettled]

    def _done(self, session: Session, after: float, until: float) -> list[Job]:
        chosen = (
            select(Job)
            .where(
                Job.kind == "deliver",
                Job.state == "done",
                self._is_own(),
                Job.done_at > after,
                Job.done_at <= until,
            )
            .order_by(Job.done_at, Job.id)
            .limit(_AT_ONCE)
        )
        return list(session.scalars(chosen))

    def _is_own(self) -> ColumnElement[bool]:
        """Jobs that this gateway delivered: all that need its own spool, of those of a shared one what it took."""
        if self._parts.spool.is_shared:
            return exists().where(Taker.job_id == Job.id, Taker.gateway == self._config.name)
        return Job.holder == self._config.name

    def _receptions(self, instances: Sequence[Instance]) -> list[Event]:
        """An event for each study and sender."""
        groups: dict[tuple[str, str], list[Instance]] = {}
        for one in instances:
            groups.setdefault((one.study_uid, one.calling_ae_title), []).append(one)
        return [
            messages.received(
                sender,
                self._config.receiver.ae_title,
                study_of(self._parts.spool, study_uid, group),
                group[-1].received_at,
            )
            for (study_uid, sender), group in groups.items()
        ]

    def _delivery(self, session: Session, job: Job) -> Event:
        version = session.get_one(Version, job.subject)
        results = session.scalars(select(Result.sop_class_uid).where(Result.version_id == version.id)).all()
        patient = version.patient
        study = Study(
            version.study_uid,
            patient.get("id", ""),
            patient.get("name", ""),
            patient.get("accession_number", ""),
            tuple(sorted(Counter(results).items())),
        )
        place, at = self._destinations.get(job.destination), job.done_at or now()
        address = place.address if place is not None else ""
        if isinstance(place, Fhir | FhirFile | Hl7 | Ups):
            return messages.exported(self._trail.gateway, job.destination, address, study, at)
        name = place.ae_title if isinstance(place, Dicom) else job.destination
        return messages.transferred(self._config.receiver.ae_title, name, address, study, at)
