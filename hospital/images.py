"""A received image to its answer, or to why it has none; each then moves its study on."""

from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from hospital import logs
from hospital.database import Answer, Instance, now
from hospital.errors import DeadLetterError, TryAgainError
from hospital.parts import Parts
from hospital.queue import Lease
from hospital.results.source import read_header
from hospital.scoring import ModelFacts, Scored, Scorer, answer_key
from hospital.spool import MOST_READ
from serving.errors import ImageError
from serving.imaging.faults import faults
from serving.store.records import AnswerRecord

_MOST_ATTEMPTS = 5
"""Of an image that ends its process: then it is put aside, and its study goes on without it."""


class AnswerKeeper(Protocol):
    """Where answers are kept for monitoring. Its methods return at once and never raise."""

    def answered(self, row: AnswerRecord) -> None: ...

    def refused(self, model: ModelFacts, code: str) -> None: ...


class ImageWorker:
    """Scores instances, one at a time; several may run beside each other."""

    def __init__(
        self,
        scorer: Scorer,
        parts: Parts,
        stable_seconds: float,
        keeper: AnswerKeeper | None = None,
    ) -> None:
        """`keeper` takes what becomes of each image; None where nobody keeps it, or the back end does."""
        self._scorer = scorer
        self._keeper = keeper
        self._database, self._queue = parts.database, parts.queue
        self._spool, self._metrics = parts.spool, parts.metrics
        self._stable_seconds = stable_seconds

    def step(self) -> bool:
        """Work on the next image that is due; False where there is none."""
        lease = self._queue.claim("score")
        if lease is None:
            return False
        try:
            scored = self._score(lease)
        except ImageError as error:
            self._settle(lease, "refused", error.code, error.message)
        except DeadLetterError as error:
            self._settle(lease, "dead", error.code, error.message)
        except TryAgainError as error:
            self._again(lease, error.code, error.message, limited=error.code in {"crashed", "timeout"})
        except OSError as error:
            self._again(lease, "disk", f"the object cannot be read ({error.strerror})")
        except Exception as error:  # one image's fault must not end the thread that serves all
            logs.exception("scoring_failed", job=lease.id)
            self._again(lease, "internal", f"the image cannot be scored ({type(error).__name__})", limited=True)
        else:
            self._settle(lease, "scored", scored=scored)
        return True

    def _score(self, lease: Lease) -> Scored:
        with self._database.reading() as session:
            instance = session.get_one(Instance, lease.subject)
        try:
            content = self._spool.read(instance.path)
        except FileNotFoundError:
            if self._spool.is_shared and lease.attempts < _MOST_ATTEMPTS:
                raise TryAgainError("file_missing", "another gateway's file is not seen in the spool yet") from None
            raise DeadLetterError("file_missing", "the object's file is gone from the spool") from None
        with faults("the DICOM object is broken", quotes=False):
            header = read_header(content)
        self._check_identity(
            lease,
            str(header.get("StudyInstanceUID", "")),
            str(header.get("SeriesInstanceUID", "")),
            str(header.get("SOPInstanceUID", "")),
        )
        if len(content) > MOST_READ:
            raise ImageError("object_size", f"the object is larger than {MOST_READ >> 20} MiB, which no radiograph is")
        return self._scorer.score(content)

    def _check_identity(self, lease: Lease, study_uid: str, series_uid: str, sop_instance_uid: str) -> None:
        """DeadLetterError where an object is not what its sender announced, or bears the UID of another one."""
        with self._database.session() as session:
            instance = session.get_one(Instance, lease.subject)
            if not study_uid or not series_uid:
                raise DeadLetterError("no_study", "the object lacks its study's or series' UID")
            if sop_instance_uid != instance.sop_instance_uid:
                raise DeadLetterError("uid_mismatch", "the object's SOP Instance UID is not the one it was sent under")
            instance.study_uid, instance.series_uid = study_uid, series_uid
            others = session.scalars(
                select(Instance).where(
                    Instance.sop_instance_uid == sop_instance_uid,
                    Instance.id < instance.id,
                    Instance.superseded.is_(False),
                    Instance.state != "dead",
                )
            ).all()
            for other in others:
                if (other.study_uid, other.series_uid) != (study_uid, series_uid):
                    instance.superseded = True  # it belongs to no study until a person has looked
                    conflict = "its SOP Instance UID is known in another series; the first object stays"
                    break
            else:
                return
        raise DeadLetterError("uid_conflict", conflict)

    def _settle(self, lease: Lease, state: str, code: str = "", reason: str = "", scored: Scored | None = None) -> None:
        row = None
        with self._database.session() as session:
            buried = state == "dead"
            done = self._queue.bury(session, lease, code, reason) if buried else self._queue.finish(session, lease)
            if not done:
                return  # another process has it now
            instance = session.get_one(Instance, lease.subject)
            instance.state, instance.code, instance.reason = state, code, reason[:300]
            if scored is not None:
                row = scored.row if self._keep(session, instance, scored) else None
            if instance.study_uid and not instance.superseded:
                due = max(now(), instance.received_at + self._stable_seconds)
                self._queue.add(session, "assemble", instance.study_uid, instance.id, due_at=due)
        if self._keeper is not None and row is not None:
            self._keeper.answered(row)
        if self._keeper is not None and state == "refused":
            self._keeper.refused(self._scorer.model, code)
        if scored is not None:
            self._metrics.scored.labels(scored.answer.suspicion).inc()
        else:
            self._metrics.refused.labels(code).inc()
            logs.event("image_without_answer", job=lease.id, state=state, code=code)

    def _keep(self, session: Session, instance: Instance, scored: Scored) -> bool:
        """Put an answer in; whether it is a new one."""
        key = answer_key(instance.sop_instance_uid, scored.pixel_digest, self._scorer.model.digest)
        instance.pixel_digest, instance.answer_key = scored.pixel_digest, key
        if session.get(Answer, key) is not None:
            return False
        session.add(Answer(key=key, content=scored.answer.model_dump(mode="json"), made_at=now()))
        return True

    def _again(self, lease: Lease, code: str, reason: str, limited: bool = False) -> None:
        if limited and lease.attempts >= _MOST_ATTEMPTS:
            self._settle(lease, "dead", code, reason)
            return
        with self._database.session() as session:
            state = self._queue.retry(session, lease, code, reason)
            if state == "dead":
                session.get_one(Instance, lease.subject).state = "dead"
        logs.trouble("not_scored", job=lease.id, code=code, state=state)
