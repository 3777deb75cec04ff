"""What goes once it is delivered: pixels, headers, results and what they say of a patient. Digests and states stay."""

from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from hospital import logs
from hospital.adt.corrections import forget
from hospital.database import Answer, Instance, Job, Result, Version, is_alone_with, now
from hospital.parts import Parts
from hospital.spool import INCOMING, RESULTS

_AT_ONCE = 200
"""Studies that are purged in one transaction."""
_OPEN = ("waiting", "leased", "dead")
"""Jobs that may still need the bytes: a dead letter keeps them until a person retries or drops it."""


def purge(parts: Parts, hours: float) -> int:
    """Purge studies whose last delivery was confirmed `hours` ago or more; how many there were.

    What the feed of ADT messages said of patients of whom nothing is held goes after as many hours.

    A study with a job that is not done keeps everything. The rows go first: a file without a row is removed by `sweep`,
    a row without its file would be a result that is lost.
    """
    names: list[str] = []
    count = 0
    with parts.database.session() as session:
        if not is_alone_with(session.connection(), "retention"):
            return 0  # another gateway purges
        forget(session, now() - hours * 3600)
        for instances in _candidates(session, now() - hours * 3600):
            names += _forget(session, instances)
            count += 1
            if count == _AT_ONCE:
                break
    for name in names:
        parts.spool.remove(name)
    if count:
        logs.event("purged", studies=count, files=len(names))
    return count


def sweep(parts: Parts) -> int:
    """Remove files that are half-written or that no row names, left by a process that was killed; how many there were.

    Only before anything is received: a file comes before its row. In a shared spool others receive: what no row names
    has to be a day old there.
    """
    return _sweep_unnamed(parts, old_only=parts.spool.is_shared) + parts.spool.clear_partial()


def tidy(parts: Parts) -> int:
    """Remove what nobody needs and is a day old, while objects are received; how many files there were.

    That is what a gateway left half-written that never starts again, a result whose lease was lost, and the files of a
    study that another gateway on the same database has purged.
    """
    return _sweep_unnamed(parts, old_only=True) + parts.spool.clear_forsaken()


def _sweep_unnamed(parts: Parts, old_only: bool) -> int:
    candidates = [name for kind in (INCOMING, RESULTS) for name in parts.spool.names(kind, old_only)]
    # The rows are read after the files: whatever came in between is named.
    with parts.database.reading() as session:
        named = {*session.scalars(select(Instance.path)), *session.scalars(select(Result.path))}
    found = [name for name in candidates if name not in named]
    for name in found:
        parts.spool.remove(name)
    return len(found)


def _candidates(session: Session, before: float) -> Iterator[Sequence[Instance]]:
    """The instances of each study that may go; those that belong to no study one by one."""
    old = select(Instance.study_uid).where(Instance.path != "", Instance.received_at <= before).distinct()
    for study_uid in session.scalars(old).all():
        instances = session.scalars(select(Instance).where(Instance.study_uid == study_uid)).all()
        for group in [instances] if study_uid else [[one] for one in instances if one.path]:
            if all(one.received_at <= before for one in group) and _is_settled(session, study_uid, group, before):
                yield group


def _is_settled(session: Session, study_uid: str, instances: Sequence[Instance], before: float) -> bool:
    versions = session.scalars(select(Version.id).where(Version.study_uid == study_uid)).all() if study_uid else []
    concerned = (
        (Job.kind == "score") & Job.subject.in_([one.id for one in instances])
        | (Job.kind == "assemble") & (Job.key == study_uid)
        | (Job.kind == "deliver") & Job.subject.in_(versions)
    )
    jobs = session.execute(select(Job.state, Job.done_at).where(concerned)).all()
    return all(state not in _OPEN and (done_at or 0) <= before for state, done_at in jobs)


def _forget(session: Session, instances: Sequence[Instance]) -> list[str]:
    """Clear rows of everything but digests and states; the names of their files."""
    names = [one.path for one in instances if one.path]
    for instance in instances:
        answer = session.get(Answer, instance.answer_key) if instance.answer_key else None
        if answer is not None:
            session.delete(answer)
        instance.path = instance.reason = ""
    studies = {one.study_uid for one in instances if one.study_uid}
    for version in session.scalars(select(Version).where(Version.study_uid.in_(studies))):
        version.patient, version.summary = {}, {"statement": "", "views": []}
        for result in session.scalars(select(Result).where(Result.version_id == version.id, Result.path != "")):
            names.append(result.path)
            result.path = ""
    return names
