"""Scored images to versions of their study's result."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone

import pydicom
from pydicom.valuerep import DA, TM
from sqlalchemy import select
from sqlalchemy.orm import Session

from hospital import logs
from hospital.adt.corrections import corrections_for
from hospital.config import Config
from hospital.database import Answer, Instance, Result, Version, now
from hospital.delivery.settings import Destination, Dicom, Stow, Ups
from hospital.errors import DeadLetterError
from hospital.labels import renaming
from hospital.labels.origin import Origin
from hospital.parts import Parts
from hospital.queue import Lease
from hospital.results import capture, presentation, report
from hospital.results.source import read_header, read_source
from hospital.results.version import Edition, Made, View
from hospital.scoring import ModelFacts
from hospital.spool import RESULTS
from hospital.summary import patient_of, told, with_scope
from serving.http.schemas import Prediction

_SOON = 2.0
"""Seconds until a study is looked at again whose images are still being scored."""


@dataclass(frozen=True)
class _Gathered:
    """What is known of a study: its current instances, the answers by key, the last version and its reports."""

    uid: str
    instances: Sequence[Instance]
    answers: Mapping[str, Prediction]
    before: Version | None
    reports: Sequence[pydicom.Dataset]


class Assembler:
    """Makes versions: one for each set of images that a study has been quiet with."""

    def __init__(self, config: Config, model: ModelFacts, parts: Parts, origin: Origin | None = None) -> None:
        """`origin` gives the pseudonyms in the store of answers; None where nothing is kept there."""
        self._config = config
        self._model = model
        self._origin = origin
        self._parts = parts
        self._database, self._queue = parts.database, parts.queue
        self._spool, self._metrics = parts.spool, parts.metrics

    def step(self) -> bool:
        """Work on the next study that is due; False where there is none."""
        lease = self._queue.claim("assemble")
        if lease is None:
            return False
        try:
            self._assemble(lease)
        except DeadLetterError as error:
            with self._database.session() as session:
                self._queue.bury(session, lease, error.code, error.message)
            logs.trouble("study_put_aside", job=lease.id, code=error.code)
        except OSError as error:
            self._again(lease, "disk", f"the spool cannot be read or written ({error.strerror})")
        except Exception as error:  # a defect must not end the thread that serves all studies
            logs.exception("study_failed", job=lease.id)
            self._again(lease, "internal", f"the result cannot be made ({type(error).__name__})")
        return True

    def _again(self, lease: Lease, code: str, reason: str) -> None:
        with self._database.session() as session:
            self._queue.retry(session, lease, code, reason)

    def _assemble(self, lease: Lease) -> None:
        study_uid = lease.key
        with self._database.session() as session:
            instances = _current(session, study_uid)
            newest = max((one.received_at for one in instances), default=0.0)
            quiet = now() - newest - self._config.study.stable_seconds
            if quiet < 0 or any(one.state == "received" for one in instances):
                self._queue.wait(session, lease, max(-quiet, _SOON if quiet >= 0 else 0.0))
                return
            answers = {
                key: with_scope(Prediction.model_validate(content))
                for key, content in session.execute(
                    select(Answer.key, Answer.content).where(Answer.key.in_([one.answer_key for one in instances]))
                )
            }
            before = session.scalar(
                select(Version).where(Version.study_uid == study_uid).order_by(Version.number.desc()).limit(1)
            )
            reports = _reports(session, before, study_uid)
        self._make(lease, _Gathered(study_uid, instances, answers, before, reports))

    def _make(self, lease: Lease, known: _Gathered) -> None:
        instances, before = known.instances, known.before
        views = [
            View(read_source(self._spool.read(one.path)), known.answers[one.answer_key])
            for one in instances
            if one.path and one.state == "scored" and one.answer_key in known.answers
        ]
        headers = [view.source.header for view in views] or self._headers_of_refused(instances)
        given = [str(header.PatientID) for header in headers]
        known_patients = corrections_for(self._parts, headers)
        for header in headers:
            known_patients.correct(header)
        _check_patient(headers)
        sources = self._sources(instances, views)
        if before is not None and before.sources == sources:
            with self._database.session() as session:
                if self._queue.finish(session, lease) and headers:
                    session.get_one(Version, before.id).patient = patient_of(headers)  # of a study without an answer
            return
        number = before.number + 1 if before else 1
        edition = Edition(views, self._model, self._config.results, _moment(headers), number, known.reports)
        files = [(made, self._written(made)) for made in self._objects(edition)]
        version = Version(
            study_uid=known.uid,
            number=number,
            predecessor_id=before.id if before else None,
            sources=sources,
            made_at=edition.made_at.timestamp(),
            first_received_at=min(one.received_at for one in instances),
            last_received_at=max(one.received_at for one in instances),
            **told(edition, instances, known.answers, headers),
        )
        with self._database.session() as session:
            if not self._queue.finish(session, lease):
                session.rollback()  # a further image came: its own job makes the version
                return
            session.add(version)
            session.flush()
            if before is not None or given != [str(header.PatientID) for header in headers]:
                renaming.note(session, self._pseudonyms(views))
            for made, path in files:
                session.add(_result(version.id, made, path))
            for destination in self._config.destinations:
                if views and _concerns(destination, version, bool(files)):
                    key = f"{version.id}:{destination.name}"
                    self._queue.add(session, "deliver", key, version.id, destination=destination.name)
        self._metrics.versions.inc()
        logs.event("version_made", study=known.uid, number=number, views=len(views), suspicion=version.suspicion)

    def _pseudonyms(self, views: Sequence[View]) -> dict[str, str]:
        """Whose the views' answers are, by their ids in the store; nothing where no pseudonyms are kept."""
        if self._origin is None:
            return {}
        named = {view.answer.answer_id: self._origin.patient(view.source.header) for view in views}
        return {answer_id: patient for answer_id, patient in named.items() if answer_id and patient}

    def _headers_of_refused(self, instances: Sequence[Instance]) -> list[pydicom.Dataset]:
        """What a study without an answer says of its patient; an image that cannot be read says nothing."""
        found = []
        for one in instances:
            if one.path and one.state == "refused":
                content = self._spool.read(one.path)
                with suppress(Exception):  # pydicom raises whatever broken bytes lead it to
                    found.append(read_header(content))
        return found

    def _objects(self, edition: Edition) -> list[Made]:
        """What the configuration asks to be made; nothing where no view has an answer."""
        if not edition.views:
            return []
        wanted = edition.settings
        made = [report.make(edition)] if wanted.report else []
        made += capture.make(edition) if wanted.capture else []
        return made + (presentation.make(edition) if wanted.presentation else [])

    def _written(self, made: Made) -> str:
        buffer = pydicom.filebase.DicomBytesIO()
        pydicom.dcmwrite(buffer, made.dataset, enforce_file_format=True)
        content = buffer.getvalue()
        return self._spool.write(content, RESULTS, hashlib.sha256(content).hexdigest())

    def _sources(self, instances: Sequence[Instance], views: Sequence[View]) -> str:
        """Digest of everything that a result depends on."""
        parts = [self._model.digest, self._config.results.model_dump_json()]
        parts += sorted(f"{one.sop_instance_uid} {one.state} {one.code} {one.pixel_digest}" for one in instances)
        parts += sorted(view.source.demographics_digest for view in views)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _current(session: Session, study_uid: str) -> list[Instance]:
    chosen = select(Instance).where(Instance.study_uid == study_uid, Instance.superseded.is_(False))
    return list(session.scalars(chosen.order_by(Instance.sop_instance_uid)))


def _reports(session: Session, before: Version | None, study_uid: str) -> list[pydicom.Dataset]:
    """What a new version's report names as its predecessors (Predecessor Documents Sequence)."""
    if before is None:
        return []
    found = []
    for row in session.scalars(select(Result).where(Result.version_id == before.id, Result.role == "report")):
        named = pydicom.Dataset()
        named.StudyInstanceUID, named.SeriesInstanceUID = study_uid, row.series_uid
        named.SOPClassUID, named.SOPInstanceUID = row.sop_class_uid, row.sop_instance_uid
        found.append(named)
    return found


def _check_patient(headers: Sequence[pydicom.Dataset]) -> None:
    """DeadLetterError where it is not certain whose study it is."""
    patients = {str(header.PatientID).strip() for header in headers}
    if headers and "" in patients:
        raise DeadLetterError("no_patient_id", "an image of the study has no Patient ID; correct and send it again")
    if len(patients) > 1:
        raise DeadLetterError(
            "patient_conflict", "the study's images have different Patient IDs; correct and send them again"
        )


def _concerns(destination: Destination, version: Version, has_objects: bool) -> bool:
    """Whether a result with an answer is sent somewhere: an archive takes objects alone, others what they say."""
    if isinstance(destination, Dicom | Stow):
        return has_objects
    # A worklist is told of studies to be read first, and of no other.
    return not isinstance(destination, Ups) or version.suspicion == "high"


def _moment(headers: Sequence[pydicom.Dataset]) -> datetime:
    """Now, in the time zone of the study where it names one: an object has one offset for all its times.

    Else in the one that this machine had at the study: in winter, a study of last summer keeps its summer time.
    """
    header = headers[0] if headers else pydicom.Dataset()
    text = str(header.get("TimezoneOffsetFromUTC", ""))
    if len(text) == 5 and text[0] in "+-" and text[1:].isdigit():
        minutes = int(text[1:3]) * 60 + int(text[3:])
        return datetime.now(timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes)))
    try:
        taken = datetime.combine(DA(header.StudyDate), TM(header.StudyTime) or time(12)).astimezone()
    except (AttributeError, TypeError, ValueError, OverflowError, OSError):  # it says no date, or one that is none
        taken = datetime.now().astimezone()
    return datetime.now(taken.tzinfo)


def _result(version_id: int, made: Made, path: str) -> Result:
    return Result(
        version_id=version_id,
        role=made.role,
        sop_class_uid=str(made.dataset.SOPClassUID),
        sop_instance_uid=str(made.dataset.SOPInstanceUID),
        series_uid=str(made.dataset.SeriesInstanceUID),
        path=path,
    )
