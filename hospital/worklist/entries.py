"""Studies in the order in which they are to be read: by suspicion, then the one that waits the longest.

None is left out. What has no answer (still pending, out of the model's scope, failed) says why, and stands before the
studies without suspicion: nothing is known of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Row, Select, String, case, cast, func, select
from sqlalchemy.orm import Session

from hospital.adt.corrections import corrections_for
from hospital.database import Instance, Job, Version
from hospital.headers import header_of
from hospital.parts import Parts

State = Literal["answered", "pending", "no_answer", "failed"]
RANKS = {"high": 0, "possible": 1, "": 2, "none": 3}
"""The order; the empty one is that of studies without an answer."""
PATIENT = {
    "id": "PatientID",
    "name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
    "accession_number": "AccessionNumber",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "study_description": "StudyDescription",
}
"""What is shown of patient and study, and where it comes from."""
_LONE = "instance:"
"""Begins the key of an image that belongs to no study that could be read."""
_MOST_VIEWS, _MOST_HEADERS = 50, 3
_AT_ODDS = "patient_conflict"
_PENDING_TEXT = "waits for its answer"


@dataclass(frozen=True)
class Reason:
    """Why something has no answer."""

    code: str
    text: str
    images: int = 1


@dataclass(frozen=True)
class Entry:
    """A study of the worklist; times are in seconds since 1970, UTC."""

    key: str
    study_uid: str
    state: State
    version: int | None
    suspicion: str
    probability: float | None
    statement: str
    patient: dict[str, str]
    images: int
    answered: int
    first_received_at: float
    last_received_at: float
    made_at: float | None = None
    model: dict[str, str] | None = None
    views: Sequence[dict[str, Any]] = ()
    reasons: Sequence[Reason] = ()
    delivery: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A part of the list: `total` studies in all, of which `counts` have a suspicion."""

    entries: Sequence[Entry]
    number: int
    pages: int
    total: int
    counts: dict[str, int]


def page(parts: Parts, number: int, size: int) -> Page:
    """The page of that number, or the nearest one."""
    with parts.database.session() as session:
        counts, pages, number, rows = _rows(session, number, size)
        known = _known(session, rows)
    # Files are read while the database is free.
    found = [_entry(row, one, parts) for row, one in zip(rows, known, strict=True)]
    return Page(found, number, pages, sum(counts.values()), counts)


def _rows(session: Session, number: int, size: int) -> tuple[dict[str, int], int, int, Sequence[Row[Any]]]:
    """Studies by suspicion, pages, the number of the page that is shown, and its rows."""
    counts = dict.fromkeys(RANKS, 0)
    found = _studies().subquery()
    suspicions = {rank: suspicion for suspicion, rank in RANKS.items()}
    for rank, count in session.execute(select(found.c.rank, func.count()).group_by(found.c.rank)):
        counts[suspicions[rank]] = count
    pages = max(1, -(-sum(counts.values()) // size))
    number = min(max(1, number), pages)
    rows = session.execute(
        select(found)
        .order_by(found.c.rank, found.c.first_received_at, found.c.key)
        .limit(size)
        .offset((number - 1) * size)
    ).all()
    return counts, pages, number, rows


def _studies() -> Select[Any]:
    """A row for each study that has not been purged, with its newest version where there is one."""
    key = case((Instance.study_uid != "", Instance.study_uid), else_=_LONE + cast(Instance.id, String))
    images = (
        select(key.label("key"), Instance.received_at)
        .where(Instance.path != "", Instance.superseded.is_(False))
        .subquery()
    )
    held = (
        select(
            images.c.key,
            func.min(images.c.received_at).label("first_received_at"),
            func.max(images.c.received_at).label("last_received_at"),
        )
        .group_by(images.c.key)
        .subquery()
    )
    newest = select(Version.study_uid, func.max(Version.number).label("number")).group_by(Version.study_uid).subquery()
    rank = case(RANKS, value=func.coalesce(Version.suspicion, ""), else_=RANKS[""])
    return (
        select(held, Version.id.label("version_id"), rank.label("rank"))
        .outerjoin(newest, newest.c.study_uid == held.c.key)
        .outerjoin(Version, (Version.study_uid == newest.c.study_uid) & (Version.number == newest.c.number))
    )


@dataclass(frozen=True)
class _Known:
    """What there is of a study."""

    instances: Sequence[Instance]
    version: Version | None
    dead: Job | None
    delivery: dict[str, str]


def _known(session: Session, rows: Sequence[Row[Any]]) -> list[_Known]:
    ids, keys = [row.version_id for row in rows], [row.key for row in rows]
    versions = {one.id: one for one in session.scalars(select(Version).where(Version.id.in_(ids)))}
    instances = _instances(session, keys)
    failed = select(Job).where(Job.kind == "assemble", Job.state == "dead", Job.key.in_(keys))
    dead = {job.key: job for job in session.scalars(failed)}
    delivery: dict[int, dict[str, str]] = {}
    sent = select(Job.subject, Job.destination, Job.state).where(Job.kind == "deliver", Job.subject.in_(versions))
    for subject, destination, state in session.execute(sent):
        delivery.setdefault(subject, {})[destination] = state
    return [
        _Known(instances[row.key], versions.get(row.version_id), dead.get(row.key), delivery.get(row.version_id, {}))
        for row in rows
    ]


def _instances(session: Session, keys: Sequence[str]) -> dict[str, list[Instance]]:
    """The images of studies, by their key."""
    lone = [int(key.removeprefix(_LONE)) for key in keys if key.startswith(_LONE)]
    chosen = select(Instance).where(
        Instance.path != "",
        Instance.superseded.is_(False),
        Instance.study_uid.in_([key for key in keys if not key.startswith(_LONE)]) | Instance.id.in_(lone),
    )
    found: dict[str, list[Instance]] = {key: [] for key in keys}
    for one in session.scalars(chosen.order_by(Instance.sop_instance_uid)):
        found[one.study_uid or f"{_LONE}{one.id}"].append(one)
    return found


def _entry(row: Row[Any], known: _Known, parts: Parts) -> Entry:
    instances, version = known.instances, known.version
    told = version.patient if version is not None else {}
    if not told and (known.dead is None or known.dead.code != _AT_ODDS):
        told = _patient(instances, parts)
    return Entry(
        key=row.key,
        study_uid="" if row.key.startswith(_LONE) else row.key,
        state=_state(version, instances, known.dead),
        version=version.number if version else None,
        suspicion=version.suspicion if version else "",
        probability=version.probability if version else None,
        statement=version.summary.get("statement", "") if version and version.suspicion else "",
        patient={**dict.fromkeys(PATIENT, ""), **told} if told else {},
        images=len(instances),
        answered=sum(one.state == "scored" for one in instances),
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        made_at=version.made_at if version else None,
        model=version.summary.get("model") if version else None,
        views=version.summary.get("views", []) if version else [_view(one) for one in instances[:_MOST_VIEWS]],
        reasons=_reasons(instances, known.dead),
        delivery=known.delivery,
    )


def _state(version: Version | None, instances: Iterable[Instance], dead: Job | None) -> State:
    if version is not None and version.suspicion:
        return "answered"
    states = {one.state for one in instances}
    if "received" in states:
        return "pending"
    if dead is not None or "dead" in states:
        return "failed"
    return "pending" if version is None else "no_answer"


def _reasons(instances: Sequence[Instance], dead: Job | None) -> list[Reason]:
    """Each reason once, with the number of images that it holds for; that of the whole study first."""
    found = [Reason(dead.code, dead.reason, 0)] if dead is not None else []
    counted: dict[tuple[str, str], int] = {}
    for one in instances:
        if one.state == "received":
            told = ("pending", _PENDING_TEXT)
        elif one.state in {"refused", "dead"}:
            told = (one.code, one.reason)
        else:
            continue
        counted[told] = counted.get(told, 0) + 1
    return found + [Reason(code, text, count) for (code, text), count in counted.items()]


def _view(instance: Instance) -> dict[str, Any]:
    """An image of a study that has no version, in the form of `hospital.summary`."""
    return {
        "sop_instance_uid": instance.sop_instance_uid,
        "state": instance.state,
        "code": instance.code,
        "reason": instance.reason,
    }


def _patient(instances: Sequence[Instance], parts: Parts) -> dict[str, str]:
    """Patient and study as images and feed say, in the form of `hospital.summary`; empty where they are at odds."""
    headers = [header for one in instances[:_MOST_HEADERS] if (header := header_of(parts.spool, one.path))]
    corrections = corrections_for(parts, headers)
    for header in headers:
        corrections.correct(header)
    if len({str(header.get("PatientID", "")).strip() for header in headers}) != 1:
        return {}
    told = {name: str(headers[0].get(keyword, "")) for name, keyword in PATIENT.items()}
    return told if any(told.values()) else {}
