"""Jobs with leases: each is done by one process at a time, survives a crash, and ends as done, dead or dropped."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import CursorResult, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from hospital import logs
from hospital.database import Database, Instance, Interruption, Job, Setting, Taker, now

Kind = Literal["score", "assemble", "deliver"]
STATES = ("waiting", "leased", "dead", "done", "dropped")
_PAUSED = "paused"
_OF = ":"
"""Between a gateway and its process in the owner of a lease; no name holds it."""
INTERRUPTED = "gateway_ended"
MOST_INTERRUPTIONS = 5
"""Of a job at work when its process ends: then a person has to look at it."""

# Made once: to put a statement together takes longer than to execute it.
_DUE = (
    Job.kind == bindparam("kind"),
    Job.destination == bindparam("destination"),
    Job.holder == bindparam("holder"),
    ((Job.state == "waiting") & (Job.due_at <= bindparam("moment")))
    | ((Job.state == "leased") & (Job.lease_until < bindparam("moment"))),  # the lease has expired
)
_LOOK = select(Job.id).where(*_DUE, ~exists().where(Setting.name == _PAUSED, Setting.value == "yes")).limit(1)
_CLAIM = select(Job).where(*_DUE).order_by(Job.due_at, Job.id).limit(1).with_for_update(skip_locked=True)
_UNINTERRUPTED = delete(Interruption).where(Interruption.job_id == bindparam("job"))
_JOB = insert(Job.__table__)  # type: ignore[arg-type]  # a table, as those of all classes here


@dataclass(frozen=True)
class Backoff:
    """Waits between attempts, in seconds: doubled each time, with jitter, up to `longest`; dead after `dead_after`."""

    first: float = 5
    longest: float = 900
    dead_after: float = 86400

    def wait(self, attempts: int) -> float:
        """Before the next attempt: between half and all of first * 2^(attempts - 1)."""
        full = min(self.longest, self.first * 2 ** min(attempts - 1, 30))
        return float(full * random.uniform(0.5, 1))  # noqa: S311  spreads load, keeps no secret


@dataclass(frozen=True)
class Lease:
    """A job that this process may work on until the lease ends."""

    id: int
    kind: str
    key: str
    subject: int
    destination: str
    attempts: int
    owner: str


class Queue:
    """The jobs of one gateway: it takes those whose bytes it holds, or the spool that it shares."""

    def __init__(
        self,
        database: Database,
        gateway: str,
        owner: str,
        lease_seconds: float,
        backoff: Backoff,
        *,
        shared_spool: str = "",
    ) -> None:
        """`owner` is this process, `shared_spool` the identity of the spool where it is a shared one."""
        self._database = database
        self._gateway = gateway
        self._is_shared = bool(shared_spool)
        self.holder = shared_spool or gateway
        self._owner = f"{gateway}{_OF}{owner}"
        self._lease_seconds = lease_seconds
        self._backoff = backoff
        self._taken = threading.local()

    def adopt(self, lease_seconds: float, backoff: Backoff) -> None:
        """Lease and wait by other times from now on."""
        self._lease_seconds, self._backoff = lease_seconds, backoff

    def add(
        self,
        session: Session,
        kind: Kind,
        key: str,
        subject: int,
        *,
        due_at: float | None = None,
        destination: str = "",
    ) -> Job:
        """Put a job in, in the caller's transaction; one of the same kind and key starts anew.

        `key` names the work among those of its kind, `subject` the row that it is about (`Job.subject` says of which
        table), `due_at` when it may begin (seconds since 1970; at once by default), `destination` whose delivery it is.
        """
        due = now() if due_at is None else due_at
        job = Job(
            kind=kind,
            key=key,
            subject=subject,
            destination=destination,
            holder=self.holder,
            created_at=now(),
            due_at=due,
        )
        known = select(Job).where(Job.kind == kind, Job.key == key).with_for_update()
        found = session.scalar(known)
        if found is None:
            try:
                with session.begin_nested():
                    session.add(job)
            except IntegrityError:  # another process put it in meanwhile
                found = session.scalars(known).one()
        if found is not None:
            job = found
            session.execute(_UNINTERRUPTED, {"job": job.id})
            # A lease that is held now belongs to older facts: whoever holds it finds that it is gone, and starts again.
            job.subject, job.state, job.due_at, job.attempts = subject, "waiting", due, 0
            job.lease_owner, job.failing_since, job.code, job.reason = "", None, "", ""
        return job

    def begin(self, connection: Connection, kind: Kind, key: str, subject: int) -> None:
        """Put in a job that is due at once and certainly new."""
        moment = now()
        facts = {"kind": kind, "key": key, "subject": subject, "gateway": self.holder}
        connection.execute(_JOB, {**facts, "created_at": moment, "due_at": moment})

    def release_own(self) -> int:
        """Free the leases of earlier processes of this gateway; how many there were.

        A job whose process has ended `MOST_INTERRUPTIONS` times in a row while it was at work is put aside: it may be
        what ends it. After the first time it waits longer each time, so that the others are done before it.
        """
        with self._database.session() as session:
            left = select(Job).where(Job.state == "leased", Job.holder == self.holder, Job.lease_owner != self._owner)
            if self._is_shared:  # those of the others are at work
                left = left.where(Job.lease_owner.startswith(f"{self._gateway}{_OF}", autoescape=True))
            found = session.scalars(left.with_for_update()).all()
            for job in found:
                count = self._interrupted(session, job)
                if count < MOST_INTERRUPTIONS:
                    job.state, job.lease_owner = "waiting", ""
                    job.attempts = max(0, job.attempts - 1)  # it did not fail: its process ended
                    if count > 1:
                        job.due_at = now() + self._backoff.wait(count - 1)
            return len(found)

    def _interrupted(self, session: Session, job: Job) -> int:
        """Count that a job's process ended while it was at work; how often in a row. The last time puts it aside."""
        interrupted = session.get(Interruption, job.id) or Interruption(job_id=job.id, count=0)
        interrupted.count += 1
        if interrupted.count < MOST_INTERRUPTIONS:
            session.add(interrupted)
        else:
            session.execute(_UNINTERRUPTED, {"job": job.id})
            self._put_aside(session, job)
        return interrupted.count

    def _put_aside(self, session: Session, job: Job) -> None:
        """Mark a job as dead during which its process ended; an image's study goes on without it."""
        job.state, job.done_at, job.lease_owner = "dead", now(), ""
        job.code, job.reason = INTERRUPTED, f"the gateway ended {MOST_INTERRUPTIONS} times while it worked on this"
        instance = session.get(Instance, job.subject) if job.kind == "score" else None
        if instance is not None:
            instance.state, instance.code, instance.reason = "dead", job.code, job.reason
            if instance.study_uid and not instance.superseded:
                self.add(session, "assemble", instance.study_uid, instance.id)
        logs.trouble("put_aside", job=job.id, kind=job.kind, code=INTERRUPTED)

    def claim(self, kind: Kind, destination: str = "") -> Lease | None:
        """Take the job of a kind that is due the longest; None where there is none or the queue is paused."""
        moment = now()
        facts = {"kind": kind, "destination": destination, "holder": self.holder, "moment": moment}
        with self._database.looking() as connection:
            # Each object that comes in wakes all workers; those that find nothing hold up nobody.
            if connection.scalar(_LOOK, facts) is None:
                return None
        with self._database.session() as session:
            job = session.scalar(_CLAIM, facts)
            if job is None:
                return None
            if job.state != "leased":  # of a process that ended with its lease, the try goes on
                job.attempts += 1
            elif self._is_anothers(job) and self._interrupted(session, job) >= MOST_INTERRUPTIONS:
                return None
            if self._is_shared and kind == "deliver":
                session.merge(Taker(job_id=job.id, gateway=self._gateway))
            job.state, job.lease_owner, job.lease_until = "leased", self._owner, moment + self._lease_seconds
            lease = Lease(job.id, job.kind, job.key, job.subject, job.destination, job.attempts, self._owner)
        self._taken.lease = lease
        return lease

    def _is_anothers(self, job: Job) -> bool:
        """Whether another gateway has ended at work on it, which does not count at its start what it no longer has.

        Not of a delivery: a slow destination may take longer than a lease.
        """
        ended = self._is_shared and job.kind != "deliver"
        return ended and not job.lease_owner.startswith(f"{self._gateway}{_OF}")

    def give_back(self) -> None:
        """Free the job that this thread took last, if it could not be settled.

        A database that was away or a disk that was full for a moment would hold it up until the lease ends.
        """
        lease: Lease | None = getattr(self._taken, "lease", None)
        if lease is not None:
            with self._database.session() as session:
                self.wait(session, lease, 0)
            self._taken.lease = None

    def finish(self, session: Session, lease: Lease) -> bool:
        """Mark as done, in the caller's transaction; False where the lease went to somebody else: then roll back."""
        return self._settle(session, lease, "done", done_at=now(), code="", reason="", failing_since=None)

    def bury(self, session: Session, lease: Lease, code: str, reason: str) -> bool:
        """Mark as dead, with the reason."""
        return self._settle(session, lease, "dead", done_at=now(), code=code, reason=reason[:300])

    def wait(self, session: Session, lease: Lease, seconds: float) -> bool:
        """Put back without a failure, to be looked at again after `seconds`."""
        return self._settle(session, lease, "waiting", due_at=now() + seconds, attempts=max(0, lease.attempts - 1))

    def retry(self, session: Session, lease: Lease, code: str, reason: str, after: float | None = None) -> str:
        """Put back after a failure, with a growing wait, or mark as dead after a day of them; the new state.

        `after` are seconds to wait instead. `lost` where the lease went to somebody else: then nothing is changed.
        """
        moment = now()
        job = session.get_one(Job, lease.id)
        since = job.failing_since or moment
        if moment - since >= self._backoff.dead_after:
            is_dead = self._settle(session, lease, "dead", done_at=moment, code=code, reason=reason[:300])
            return "dead" if is_dead else "lost"
        due = moment + (self._backoff.wait(lease.attempts) if after is None else after)
        waits = self._settle(session, lease, "waiting", due_at=due, failing_since=since, code=code, reason=reason[:300])
        return "waiting" if waits else "lost"

    def _settle(self, session: Session, lease: Lease, state: str, **values: Any) -> bool:
        result: CursorResult[Any] = session.execute(  # type: ignore[assignment]
            update(Job)
            .where(Job.id == lease.id, Job.state == "leased", Job.lease_owner == lease.owner)
            .values(state=state, lease_owner="", **values)
        )
        if result.rowcount:
            session.execute(_UNINTERRUPTED, {"job": lease.id})
        return bool(result.rowcount)


def is_paused(session: Session) -> bool:
    """Whether no job is to be started; objects are still received."""
    found = session.get(Setting, _PAUSED)
    return found is not None and found.value == "yes"


def pause(session: Session, paused: bool) -> None:
    """Pause or resume all gateways that share the database."""
    session.merge(Setting(name=_PAUSED, value="yes" if paused else "no"))


def listed(session: Session, states: Sequence[str], limit: int) -> list[Job]:
    """Jobs in some states, the oldest first."""
    return list(session.scalars(select(Job).where(Job.state.in_(states)).order_by(Job.id).limit(limit)))


def counts(session: Session) -> dict[tuple[str, str, str], int]:
    """Jobs by kind, destination and state."""
    rows = session.execute(
        select(Job.kind, Job.destination, Job.state, func.count()).group_by(Job.kind, Job.destination, Job.state)
    )
    return {(kind, destination, state): count for kind, destination, state, count in rows}


def oldest_waiting(session: Session) -> float | None:
    """When the oldest job that is not yet done was created."""
    return session.scalar(select(func.min(Job.created_at)).where(Job.state.in_(("waiting", "leased"))))


def retry_by_hand(job: Job) -> None:
    """Start a dead or waiting job again at once, as if it were new."""
    job.state, job.due_at, job.attempts, job.failing_since, job.lease_owner = "waiting", now(), 0, None, ""


def drop_by_hand(session: Session, job: Job) -> None:
    """Never do a job; its row stays. An image that is not to be scored holds up its study no longer."""
    job.state, job.done_at, job.lease_owner, job.code, job.reason = "dropped", now(), "", "dropped", "by hand"
    instance = session.get(Instance, job.subject) if job.kind == "score" else None
    if instance is not None:
        instance.state, instance.code, instance.reason = "dead", "dropped", "by hand"
