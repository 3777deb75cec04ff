"""A received object to a durable file, its row and the job that scores it, before the sender hears Success."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, exists, insert, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from hospital.database import Instance, Job, Result, alone_with, now
from hospital.parts import Parts
from hospital.queue import Queue
from hospital.spool import INCOMING, file_digest
from hospital.together import Together
from serving.errors import ImageError
from serving.imaging import dicom
from serving.imaging.dicom.dataset import identifier
from serving.imaging.faults import faults

_HEADER = 1 << 18
"""Bytes in which the UIDs of study and series are looked for; where they are not, the scoring finds them."""


_FAMILIAR = select(
    exists().where(Instance.sop_instance_uid == bindparam("uid"))
    | exists().where(Result.sop_instance_uid == bindparam("uid"))
    | exists().where(Job.kind == "score", Job.key == bindparam("job"))
)
_INSTANCE = insert(Instance.__table__)  # type: ignore[arg-type]  # a table, as those of all classes here
_SERIES = b"\x20\x00\x0e\x00"
"""The tag of Series Instance UID in little endian."""


class NotStoredError(Exception):
    """An object that cannot be kept; `status` is what C-STORE answers (PS3.4, B.2.3)."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Arrival:
    """An object in a file of the spool's `partial` folder, as its sender announced it."""

    partial: Path
    sop_instance_uid: str
    sop_class_uid: str
    calling_ae_title: str


class Intake:
    """Takes objects over into the spool and the database."""

    def __init__(self, parts: Parts, gateway: str, reserve_bytes: int) -> None:
        self._parts = parts
        self._gateway = gateway
        self._together = Together(parts.database)
        self.reserve_bytes = reserve_bytes

    def has_room(self) -> bool:
        """Whether the disk holds more than its reserve."""
        return self._parts.spool.free_bytes() >= self.reserve_bytes

    def take(self, arrival: Arrival) -> str:
        """Keep an object: `new`, `known` for one whose bytes are there already, `own` for a result of this gateway.

        When this returns, the object survives a loss of power. Raises NotStoredError, and whatever disk and database
        raise: then nothing is promised.
        """
        if not identifier(arrival.sop_instance_uid) or not identifier(arrival.sop_class_uid):
            raise NotStoredError(0xC000, "bad_uid")
        if not self.has_room():
            raise NotStoredError(0xA700, "disk_reserve")
        digest = file_digest(arrival.partial)
        study_uid, series_uid = _study_and_series(arrival.partial)
        size = arrival.partial.stat().st_size
        path = self._parts.spool.adopt(arrival.partial, INCOMING, digest)
        facts = {
            "sop_instance_uid": arrival.sop_instance_uid,
            "sop_class_uid": arrival.sop_class_uid,
            "digest": digest,
            "study_uid": study_uid,
            "series_uid": series_uid,
            "path": path,
            "size": size,
            "calling_ae_title": arrival.calling_ae_title,
            "gateway": self._gateway,
            "received_at": now(),
        }
        kept, needed = self._together.do(lambda connection: self._entered(connection, facts))
        if not needed:
            self._parts.spool.remove(path)
        return kept

    def _entered(self, connection: Connection, facts: Mapping[str, Any]) -> tuple[str, bool]:
        """Put an object's row and job in, unless it is there; what `take` answers, and whether a row names its file."""
        uid, job = facts["sop_instance_uid"], _scoring_key(facts["sop_instance_uid"], facts["digest"])
        # Of objects that come to several gateways at the same time under one UID, each sees those before it.
        alone_with(connection, uid)
        if connection.scalar(_FAMILIAR, {"uid": uid, "job": job}):
            with Session(connection, expire_on_commit=False) as session:
                found = self._entered_again(session, Instance(**facts))
                session.commit()  # for the connection's transaction to commit
            return found
        (identity,) = connection.execute(_INSTANCE, facts).inserted_primary_key or (0,)
        self._parts.queue.begin(connection, "score", job, identity)
        return "new", True

    def _entered_again(self, session: Session, given: Instance) -> tuple[str, bool]:
        """What `_entered` does for a UID that is known."""
        own = select(Result.id).where(Result.sop_instance_uid == given.sop_instance_uid)
        if session.scalar(own) is not None:
            return "own", False
        known = session.scalars(
            select(Instance).where(Instance.sop_instance_uid == given.sop_instance_uid).with_for_update()
        ).all()
        same = next((one for one in known if one.digest == given.digest), None)
        if same is not None and not same.superseded:
            return "known", bool(same.path)
        instance = same or given
        instance.superseded, instance.state, instance.received_at, instance.path = False, "received", now(), given.path
        session.add(instance)
        for older in known:
            # The same UID in another series is a conflict for a person, not a newer copy.
            place = (older.study_uid, older.series_uid)
            if older is not instance and place == (given.study_uid, given.series_uid):
                older.superseded = True
        session.flush()
        add_scoring(session, self._parts.queue, instance)
        return "new", True


def add_scoring(session: Session, queue: Queue, instance: Instance) -> None:
    """Put in the job that scores an instance."""
    queue.add(session, "score", _scoring_key(instance.sop_instance_uid, instance.digest), instance.id)


def _scoring_key(sop_instance_uid: str, digest: str) -> str:
    return f"{sop_instance_uid}:{digest}"


def _study_and_series(path: Path) -> tuple[str, str]:
    """UIDs of an object's study and series, empty where its first bytes do not give them."""
    with path.open("rb") as file:
        head = file.read(_HEADER)
    found = _uids(_up_to_series(head))
    return found if all(found) else _uids(head)


def _up_to_series(head: bytes) -> bytes:
    """The bytes up to the end of what looks like the series' UID: the rest of a header takes as long again to read."""
    start = head.find(_SERIES)
    if start < 0:
        return b""
    field = head[start + 4 : start + 8]
    length = int.from_bytes(field[2:] if field.startswith(b"UI") else field, "little")
    return head[: start + 8 + length]


def _uids(content: bytes) -> tuple[str, str]:
    with suppress(ImageError), faults("the DICOM object is broken"):
        dataset = dicom.read(content)
        return identifier(dataset.get("StudyInstanceUID")), identifier(dataset.get("SeriesInstanceUID"))
    return "", ""
