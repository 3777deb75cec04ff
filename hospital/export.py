"""De-identified DICOM of received studies, for research: PS3.15's Basic Profile, pseudonyms under a key."""

import csv
import fcntl
import getpass
import io
import os
import sys
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import select

from hospital.adt.corrections import Corrections
from hospital.audit import messages
from hospital.audit.messages import Study
from hospital.audit.trail import AuditTrail
from hospital.config import Config
from hospital.database import Database, Instance
from hospital.errors import HospitalError
from hospital.headers import study_of
from hospital.spool import Spool
from serving.imaging.dicom.deidentify.confidential import Identity, RefusedError, deidentify, identify
from serving.imaging.dicom.deidentify.pseudonyms import Key
from serving.imaging.dicom.deidentify.reviewed import ReviewedError, read_reviewed

DEFAULT_TABLE = "pseudonyms.csv"
_COLUMNS = (
    "file",
    "digest",
    "reviewed",
    "patient_id",
    "original_patient_id",
    "original_study_instance_uid",
    "original_sop_instance_uid",
    "days_shifted",
)
State = tuple[str, str, str]
"""What a file depends on: the source's digest, whether its text was reviewed, the patient's pseudonym."""
_STEP = 100
"""Images after which progress is told where no terminal shows it."""


@dataclass(frozen=True)
class Request:
    """What is exported where: `folder` gets a folder for each study, `table` leads back to the originals."""

    folder: Path
    table: Path
    reviewed: Path | None = None
    studies: tuple[str, ...] = ()
    """Study Instance UIDs; without any, all that were received and are not purged."""


@dataclass
class Outcome:
    """Counts of images."""

    written: int = 0
    there: int = 0
    left_out: int = 0

    def __str__(self) -> str:
        return f"{self.written} written, {self.there} there already, {self.left_out} left out"


def export(config: Config, request: Request) -> Outcome:
    """Write the radiographs of received studies, one file each; what is there already stays.

    An image that cannot be exported gets a line with its SOP Instance UID and the reason. Raises HospitalError, or
    SettingsError for the key.
    """
    key = Key.from_environment()
    reviewed = _reviewed(request.reviewed)
    spool = Spool(config.spool)
    _check_places(request, spool)
    database = Database(config.database_url)
    database.prepare()
    outcome = Outcome()
    try:
        told = _Told.of(config, request.folder)
        groups = _studies(database, request.studies)
        total = sum(len(group) for group in groups)
        with KeyTable(request.table) as table:
            for group in groups:
                _Study(request.folder, database, spool, key, reviewed, table, outcome, told).write(group)
                _tell(outcome, total)
    except OSError as error:
        place = error.filename or request.folder
        raise HospitalError(f"{place}: {error.strerror}; mend that and run the command again to go on") from None
    finally:
        database.close()
    return outcome


def _reviewed(path: Path | None) -> frozenset[str]:
    try:
        return read_reviewed(path) if path else frozenset()
    except ReviewedError as error:
        raise HospitalError(str(error)) from None


def _check_places(request: Request, spool: Spool) -> None:
    folder, root, table = request.folder.resolve(), spool.root.resolve(), request.table.resolve()
    if folder.is_relative_to(root) or root.is_relative_to(folder):
        raise HospitalError(f"{request.folder}: and the spool lie in each other; name a folder of its own")
    if table.is_relative_to(folder):
        raise HospitalError(f"{request.table}: leads back to patients, so it must lie outside of {request.folder}")


def _studies(database: Database, wanted: Sequence[str]) -> list[list[Instance]]:
    """The images of each study that are still there and that no person has to look at first."""
    chosen = select(Instance).where(
        Instance.path != "", Instance.superseded.is_(False), Instance.study_uid != "", Instance.state != "dead"
    )
    if wanted:
        chosen = chosen.where(Instance.study_uid.in_(wanted))
    groups: dict[str, list[Instance]] = {}
    with database.session() as session:
        for instance in session.scalars(chosen.order_by(Instance.study_uid, Instance.id)):
            groups.setdefault(instance.study_uid, []).append(instance)
    missing = [uid for uid in wanted if uid not in groups]
    if missing:
        raise HospitalError(f"study {missing[0]}: holds nothing to export; it is unknown, purged, or put aside")
    return list(groups.values())


@dataclass
class _Study:
    """Writes the images of one study."""

    folder: Path
    database: Database
    spool: Spool
    key: Key
    reviewed: frozenset[str]
    table: "KeyTable"
    outcome: Outcome
    told: "_Told"

    def write(self, instances: Sequence[Instance]) -> None:
        """Write what can be exported, and say why the rest is left out."""
        named = set()
        known: list[Instance] = []
        for instance in instances:
            try:
                named.add(identify(self._content(instance)).patient)
                known.append(instance)
            except RefusedError as error:
                self._leave_out(instance, error.message)
        patients = self._survivors(named)
        if len(patients) > 1:
            for instance in known:
                self._leave_out(instance, "belongs to a study that names several patients")
            return
        patient = next(iter(patients), "")
        new = [one for one in known if not self._is_there(one, patient)]
        self.outcome.there += len(known) - len(new)
        if new:
            self.told.tell(study_of(self.spool, new[0].study_uid, new))  # before anything of it leaves
        for instance in new:
            self._write_one(instance, patient)

    def _survivors(self, patients: Set[str]) -> set[str]:
        """Whom patients were merged into by the feed of ADT messages: one person has one pseudonym."""
        with self.database.reading() as session:
            corrections = Corrections.of(session, patients)
        return {corrections.patient(one) for one in patients}

    def _place(self, instance: Instance, patient: str) -> tuple[str, "State"]:
        """Where an image is written in the folder, and what the table says of a file that is up to date."""
        uid = instance.sop_instance_uid
        place = f"{self.key.study(instance.study_uid)}/{self.key.image(uid)}.dcm"
        return place, (instance.digest, str(uid in self.reviewed), self.key.patient(patient))

    def _is_there(self, instance: Instance, patient: str) -> bool:
        place, state = self._place(instance, patient)
        return (self.folder / place).is_file() and self.table.state(place) == state

    def _write_one(self, instance: Instance, patient: str) -> None:
        place, state = self._place(instance, patient)
        target = self.folder / place
        try:
            made = deidentify(self._content(instance), self.key, self.reviewed, patient)
        except RefusedError as error:
            target.unlink(missing_ok=True)  # of an earlier content, or of a review that was taken back
            self._leave_out(instance, error.message)
            return
        self.table.add(place, state, made.identity, self.key.days(patient))
        _write_whole(target, made.content)
        self.outcome.written += 1

    def _content(self, instance: Instance) -> bytes:
        try:
            return self.spool.path(instance.path).read_bytes()
        except FileNotFoundError:
            raise RefusedError("elsewhere", f"lies in the spool of the gateway {instance.gateway}") from None

    def _leave_out(self, instance: Instance, reason: str) -> None:
        self.outcome.left_out += 1
        print(f"left out: {instance.sop_instance_uid}: {reason}", file=sys.stderr)


@dataclass(frozen=True)
class _Told:
    """Tells the audit trail which studies leave, where there is one."""

    trail: AuditTrail | None
    folder: str

    @classmethod
    def of(cls, config: Config, folder: Path) -> Self:
        """For an export into a folder; HospitalError where the trail cannot be kept."""
        trail = AuditTrail(config.audit, config.name) if config.audit is not None else None
        if trail is not None:
            trail.prepare()
        return cls(trail, folder.resolve().as_uri())

    def tell(self, study: Study) -> None:
        """Write down that a study leaves; OSError where that fails: then it stays."""
        if self.trail is not None:
            event = messages.exported_for_research(_user(), self.trail.gateway, self.folder, study)
            self.trail.record(event)


def _user() -> str:
    """Who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry
        return f"uid {os.getuid()}"


class KeyTable:
    """The table that leads from exported files to patients, mode 0600; a row is on the disk before its file is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._states: dict[str, State] = {}

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        os.fchmod(handle, 0o600)
        self._file = os.fdopen(handle, "r+", encoding="utf-8", newline="")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise HospitalError(f"{self._path}: another export is writing it; wait for it") from None
        for row in self._rows():
            self._states[row["file"]] = (row["digest"], row["reviewed"], row["patient_id"])
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def state(self, place: str) -> State | None:
        """What a file was last made of."""
        return self._states.get(place)

    def add(self, place: str, state: State, whose: Identity, days: int) -> None:
        """Append a row; of several for one file the last one counts. `days` is how far its dates were moved."""
        csv.writer(self._file, lineterminator="\n").writerow(
            (place, *state, whose.patient_id, whose.study_instance_uid, whose.sop_instance_uid, days)
        )
        self._file.flush()
        os.fsync(self._file.fileno())
        self._states[place] = state

    def _rows(self) -> Iterator[dict[str, str]]:
        """The rows that are there; a last one that a crash cut off is removed, and a new table gets its header."""
        text = self._file.read()
        whole = text[: text.rfind("\n") + 1]
        reader = csv.DictReader(io.StringIO(whole))
        if whole and tuple(reader.fieldnames or ()) != _COLUMNS:
            raise HospitalError(f"{self._path}: is no table of this command; name another file with --table")
        rows = list(reader)
        self._file.seek(len(whole.encode()))
        self._file.truncate()
        if not whole:
            csv.writer(self._file, lineterminator="\n").writerow(_COLUMNS)
        return iter(rows)


def _write_whole(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _tell(outcome: Outcome, total: int) -> None:
    done = outcome.written + outcome.there + outcome.left_out
    if sys.stderr.isatty():
        print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
    elif done == total or done % _STEP == 0:
        print(f"{done} of {total}", file=sys.stderr)
