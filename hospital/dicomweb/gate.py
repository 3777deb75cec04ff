"""An object that came over HTTP: the receiver's checks, then the same way into spool and queue as C-STORE."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pydicom
from sqlalchemy.exc import SQLAlchemyError

from hospital import logs
from hospital.intake import Arrival, Intake, NotStoredError
from hospital.metrics import Metrics
from hospital.receiver import STORED
from serving.errors import ImageError
from serving.imaging import dicom
from serving.imaging.dicom import DECODERS
from serving.imaging.dicom.dataset import identifier
from serving.imaging.faults import faults

OUT_OF_RESOURCES, NOT_OF_ITS_CLASS, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000
SYNTAX_NOT_SUPPORTED, PROCESSING_FAILURE, CLASS_NOT_SUPPORTED = 0xC122, 0x0110, 0x0122
"""Failure Reasons of PS3.18, table I.2-2."""
_HEADS = (1 << 18, 4 << 20)
"""Bytes in which an object's identity is looked for."""
_TITLE = 16  # characters of the column that says who sent an object


@dataclass(frozen=True)
class Identity:
    """What an object says it is; a UID that is none is empty."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_uid: str = ""


class RefusedObjectError(Exception):
    """An object that was not taken; `reason` is a Failure Reason (0008,1197)."""

    def __init__(self, code: str, reason: int, identity: Identity | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason
        self.identity = identity or Identity()

    @property
    def is_temporary(self) -> bool:
        """Whether the same object may be taken later: this side lacks the room now."""
        return self.reason == OUT_OF_RESOURCES


class ObjectGate:
    """Takes objects in that lie in files of the spool's `partial` folder; `arrived` is called after each."""

    def __init__(self, intake: Intake, metrics: Metrics, arrived: Callable[[], None], sender: str) -> None:
        self._intake, self._metrics, self._arrived, self._sender = intake, metrics, arrived, sender[:_TITLE]

    def take(self, path: Path, study_uid: str = "", sop_instance_uid: str = "") -> Identity:
        """Keep an object as `Intake.take` does; `study_uid` and `sop_instance_uid` are those that it has to have.

        RefusedObjectError where it is not kept, which is counted and logged.
        """
        try:
            identity = _checked(path, study_uid, sop_instance_uid)
            kept = self._kept(path, identity)
        except RefusedObjectError as error:
            self.refused(error.code)
            raise
        self._metrics.received.labels(kept).inc()
        self._arrived()
        return identity

    def refused(self, code: str) -> None:
        """Count and log an object that is not taken."""
        self._metrics.refused.labels(code).inc()
        logs.event("object_refused", code=code, source=self._sender)

    def _kept(self, path: Path, identity: Identity) -> str:
        try:
            return self._intake.take(Arrival(path, identity.sop_instance_uid, identity.sop_class_uid, self._sender))
        except NotStoredError as error:
            raise RefusedObjectError(error.code, error.status, identity) from None
        except OSError as error:
            logs.trouble("object_not_stored", errno=error.errno)
            raise RefusedObjectError("disk", OUT_OF_RESOURCES, identity) from None
        except SQLAlchemyError:
            logs.trouble("object_not_queued")
            raise RefusedObjectError("database", OUT_OF_RESOURCES, identity) from None


def _checked(path: Path, study_uid: str, sop_instance_uid: str) -> Identity:
    """An object's identity; RefusedObjectError unless it is one that the DICOM receiver would take."""
    dataset = _header(path)
    identity = Identity(
        *(identifier(dataset.get(name)) for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"))
    )
    if not identity.sop_class_uid or not identity.sop_instance_uid:
        raise RefusedObjectError("bad_uid", CANNOT_UNDERSTAND, identity)
    if identity.sop_class_uid not in STORED:
        raise RefusedObjectError("sop_class", CLASS_NOT_SUPPORTED, identity)
    if str(dataset.file_meta.TransferSyntaxUID) not in DECODERS:
        raise RefusedObjectError("transfer_syntax", SYNTAX_NOT_SUPPORTED, identity)
    if sop_instance_uid and identity.sop_instance_uid != sop_instance_uid:
        raise RefusedObjectError("uid_mismatch", NOT_OF_ITS_CLASS, identity)
    if study_uid and identity.study_uid != study_uid:
        raise RefusedObjectError("study_mismatch", NOT_OF_ITS_CLASS, identity)
    return identity


def _header(path: Path) -> pydicom.Dataset:
    """The data set of a PS3.10 file as far as its first bytes go; RefusedObjectError where it is none."""
    for length in _HEADS:
        with path.open("rb") as file:
            head = file.read(length)
        if head[128:132] != b"DICM":
            break
        with suppress(ImageError), faults("the DICOM object is broken"):  # more bytes may do
            found = dicom.read(head)
            if "StudyInstanceUID" in found or len(head) < length:
                return found
    raise RefusedObjectError("not_dicom", CANNOT_UNDERSTAND)
