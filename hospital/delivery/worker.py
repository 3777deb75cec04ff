"""One destination's jobs: sent, waited for, tried again, or put aside, each on its own row."""

import threading
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from hospital import logs
from hospital.database import Commitment, Database, Job, Result, Version, now
from hospital.delivery import Outgoing, Package, Promise, Sender
from hospital.errors import DeadLetterError, TryAgainError
from hospital.metrics import Metrics
from hospital.parts import Parts
from hospital.queue import Lease


class Deliverer:
    """Delivers versions to one destination."""

    def __init__(
        self,
        name: str,
        sender: Sender,
        commitment_seconds: float,
        parts: Parts,
    ) -> None:
        self.name = name
        self._sender = sender
        self._commitment_seconds = commitment_seconds
        self._database, self._queue = parts.database, parts.queue
        self._spool, self._metrics = parts.spool, parts.metrics

    def step(self) -> bool:
        """Work on the next job that is due; False where there is none."""
        lease = self._queue.claim("deliver", self.name)
        if lease is None:
            return False
        try:
            promise = self._deliver(lease)
        except DeadLetterError as error:
            self._failed(lease, error.code, error.message, hopeless=True)
        except TryAgainError as error:
            self._failed(lease, error.code, error.message)
        except OSError as error:
            self._failed(lease, "disk", f"a result cannot be read ({error.strerror})")
        except Exception as error:  # a defect must not end the thread that serves a destination
            logs.exception("delivery_failed", destination=self.name, job=lease.id)
            self._failed(lease, "internal", f"the delivery failed ({type(error).__name__})")
        else:
            self._settle(lease, promise)
        return True

    def _deliver(self, lease: Lease) -> Promise:
        with self._database.reading() as session:
            if _is_committed(session, lease.id):
                return Promise(kept=True)
            version = session.get_one(Version, lease.subject)
            rows = session.scalars(select(Result).where(Result.version_id == version.id).order_by(Result.id)).all()
        return self._sender.send(self._package(version, rows), lambda transaction: self._announce(lease, transaction))

    def _package(self, version: Version, rows: Sequence[Result]) -> Package:
        return Package(
            study_uid=version.study_uid,
            number=version.number,
            made_at=version.made_at,
            suspicion=version.suspicion,
            probability=version.probability,
            statement=version.summary["statement"],
            views=version.summary["views"],
            patient=version.patient,
            model=version.summary["model"],
            objects=[Outgoing(self._spool.path(row.path), row.sop_class_uid, row.sop_instance_uid) for row in rows],
        )

    def _announce(self, lease: Lease, transaction_uid: str) -> None:
        with self._database.session() as session:
            session.add(Commitment(transaction_uid=transaction_uid, job_id=lease.id, asked_at=now()))

    def _settle(self, lease: Lease, promise: Promise) -> None:
        with self._database.session() as session:
            if promise.kept or _is_committed(session, lease.id):
                delivered(session, lease.id, self._metrics)
                return
            # As a failure: a destination that never confirms is not sent the same objects for ever.
            reason = "the destination has not confirmed to keep it"
            state = self._queue.retry(session, lease, "not_committed", reason, after=self._commitment_seconds)
        logs.event("commitment_asked", destination=self.name, job=lease.id, state=state)

    def _failed(self, lease: Lease, code: str, reason: str, hopeless: bool = False) -> None:
        with self._database.session() as session:
            state = "dead" if hopeless else self._queue.retry(session, lease, code, reason)
            if hopeless:
                self._queue.bury(session, lease, code, reason)
        self._metrics.attempts.labels(self.name, state).inc()
        logs.trouble("not_delivered", destination=self.name, job=lease.id, code=code, state=state)


class CommitmentLedger:
    """Takes reports on storage commitment, whichever association they come on."""

    def __init__(self, database: Database, metrics: Metrics, told: threading.Event) -> None:
        self._database = database
        self._metrics = metrics
        self._told = told

    def __call__(self, transaction_uid: str, kept: frozenset[str], lost: frozenset[str]) -> None:
        """Finish the job that a transaction belongs to, or start it again; a foreign one is only logged."""
        with self._database.session() as session:
            asked = session.get(Commitment, transaction_uid, with_for_update=True)
            if asked is None or asked.state != "asked":
                logs.event("commitment_unknown")
                return
            job = session.get_one(Job, asked.job_id, with_for_update=True)
            wanted = set(session.scalars(select(Result.sop_instance_uid).where(Result.version_id == job.subject)))
            if wanted <= kept and not wanted & lost:
                asked.state = "committed"
                if job.state != "dropped":
                    delivered(session, job.id, self._metrics)
                return
            asked.state = "refused"
            job.code, job.reason = "commitment", f"{len(wanted - kept)} of {len(wanted)} objects were not committed"
            job.failing_since = job.failing_since or now()
            if job.state == "waiting":
                job.due_at = min(job.due_at, now() + 60)
            logs.event("commitment_refused", destination=job.destination, job=job.id)
        self._told.set()


def delivered(session: Session, job_id: int, metrics: Metrics) -> None:
    """Mark a delivery as done, and its version as delivered where it was the last one."""
    job = session.get_one(Job, job_id, with_for_update=True)
    if job.state == "done":
        return
    moment = now()
    job.state, job.done_at, job.lease_owner, job.code, job.reason = "done", moment, "", "", ""
    version = session.get_one(Version, job.subject)
    others = session.scalars(
        select(Job.state).where(Job.kind == "deliver", Job.subject == job.subject, Job.id != job.id)
    ).all()
    if all(state == "done" for state in others):
        version.delivered_at = moment
    metrics.attempts.labels(job.destination, "delivered").inc()
    metrics.latency.labels(job.destination).observe(max(0.0, moment - version.last_received_at))
    logs.event("delivered", destination=job.destination, job=job.id, attempts=job.attempts)


def _is_committed(session: Session, job_id: int) -> bool:
    found = select(Commitment).where(Commitment.job_id == job_id, Commitment.state == "committed")
    return session.scalar(found.limit(1)) is not None
