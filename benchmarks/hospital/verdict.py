"""Whether anything was lost: by the gateway's database and files after each kill, by the destinations at the end."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from benchmarks.hospital.peers import Ledger
from hospital.database import Database, Instance, Job, Result, Version
from hospital.delivery import Outgoing, Package
from hospital.delivery.hl7 import control_id

MESSAGES = "RIS"
"""Name of the destination that is sent messages instead of objects."""
_SHOWN = 3
"""Names that a problem lists of those that have it."""


@dataclass
class Looked:
    """What was found at one moment; `problems` has a line for each kind of loss."""

    instances: Mapping[str, str]
    jobs: Counter[tuple[str, str]]
    versions: int
    problems: list[str] = field(default_factory=list)

    @property
    def unfinished(self) -> int:
        """Jobs that wait or are worked on."""
        return sum(count for (_, state), count in self.jobs.items() if state in {"waiting", "leased"})

    def told(self) -> str:
        """Counts for a line of progress."""
        scored = sum(state in {"scored", "refused"} for state in self.instances.values())
        delivered = self.jobs["deliver", "done"]
        return f"kept {len(self.instances)}, scored {scored}, results {self.versions}, deliveries {delivered}"


class Inspector:
    """Looks at a gateway that does not run; a file that was found whole once is only asked for afterwards."""

    def __init__(self, database: Database, spool: Path, ledgers: Sequence[Ledger]) -> None:
        self._database = database
        self._spool = spool
        self._ledgers = {ledger.name.lower(): ledger for ledger in ledgers}
        self._whole: set[str] = set()

    def look(self, acknowledged: Collection[str]) -> Looked:
        """Everything that must hold whenever the gateway is killed."""
        with self._database.reading() as session:
            problems = [f"the database is damaged: {line}" for line in _integrity(session) if line != "ok"]
            instances = session.execute(
                select(Instance.id, Instance.sop_instance_uid, Instance.state, Instance.path, Instance.digest,
                       Instance.study_uid, Instance.superseded)
            ).all()  # fmt: skip
            results = session.execute(select(Result.version_id, Result.sop_instance_uid, Result.path)).all()
            jobs = session.execute(select(Job.kind, Job.state, Job.key, Job.subject, Job.destination, Job.code)).all()
            versions = {version.id: version for version in session.scalars(select(Version))}
            wanted = _wanted(session, versions)
        kept = {one.sop_instance_uid: one.state for one in instances if not one.superseded}
        problems += _line("acknowledged, but not kept", set(acknowledged) - set(kept))
        files = {one.path: one.digest for one in instances} | {one.path: Path(one.path).name for one in results}
        problems += _line("files that are missing or damaged", self._damaged(files))
        problems += _line("jobs that nobody does", _without_a_job(instances, jobs))
        problems += _line("dead letters", {f"{one.kind} {one.key} ({one.code})" for one in jobs if one.state == "dead"})
        for job in jobs:
            if job.kind == "deliver" and job.state == "done":
                absent = wanted[job.destination, job.subject] - self._ledgers[job.destination].digests.keys()
                problems += _line(f"called delivered, but not at {job.destination}", absent)
        return Looked(kept, Counter((one.kind, one.state) for one in jobs), len(versions), problems)

    def expected(self) -> dict[str, set[str]]:
        """What each destination is to hold at the end: identities of all results."""
        found: dict[str, set[str]] = defaultdict(set)
        with self._database.reading() as session:
            versions = {version.id: version for version in session.scalars(select(Version))}
            for (destination, _), identities in _wanted(session, versions).items():
                found[destination] |= identities
        return found

    def _damaged(self, files: Mapping[str, str]) -> set[str]:
        found = set()
        for name, digest in files.items():
            path = self._spool / name
            if not name or (name in self._whole and path.exists()):
                continue
            if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                self._whole.add(name)
            else:
                found.add(name)
        return found


def judge(ledgers: Sequence[Ledger], expected: Mapping[str, set[str]], studies: Mapping[str, set[str]]) -> list[str]:
    """What is wrong at the destinations; `studies` are the acknowledged images of each study."""
    problems: list[str] = []
    for ledger in ledgers:
        held, wanted = set(ledger.digests), expected[ledger.name.lower()]
        problems += _line(f"missing at {ledger.name}", wanted - held)
        problems += _line(f"at {ledger.name}, but of no result", held - wanted)
        problems += _line(f"came to {ledger.name} with other bytes", ledger.changed)
        if ledger.reports:
            problems += _of_reports(ledger, studies)
    return problems


def _of_reports(ledger: Ledger, studies: Mapping[str, set[str]]) -> list[str]:
    """Each acknowledged image has to be the subject of exactly one report that no later one replaces."""
    replaced = {name for report in ledger.reports.values() for name in report.predecessors}
    effective: Counter[str] = Counter()
    for identity, report in ledger.reports.items():
        if identity not in replaced:
            effective.update(set(report.sources))
    images = {image for images in studies.values() for image in images}
    return [
        *_line(f"no effective report at {ledger.name}", {image for image in images if effective[image] == 0}),
        *_line(f"two effective reports at {ledger.name}", {image for image in images if effective[image] > 1}),
    ]


def _integrity(session: Session) -> list[str]:
    return [str(line) for line in session.scalars(text("PRAGMA integrity_check"))]


def _wanted(session: Session, versions: Mapping[int, Version]) -> dict[tuple[str, int], set[str]]:
    """Identities of what a destination is to hold of a version: SOP Instance UIDs, or the message's MSH-10."""
    objects: dict[int, list[Result]] = defaultdict(list)
    for row in session.scalars(select(Result).order_by(Result.id)):
        objects[row.version_id].append(row)
    found: dict[tuple[str, int], set[str]] = {}
    for destination, subject in session.execute(select(Job.destination, Job.subject).where(Job.kind == "deliver")):
        rows = objects[subject]
        is_message = destination == MESSAGES.lower()
        found[destination, subject] = (
            {_message(versions[subject], rows)} if is_message else {row.sop_instance_uid for row in rows}
        )
    return found


def _message(version: Version, rows: Sequence[Result]) -> str:
    """MSH-10 of a version's message, which depends on its first object alone."""
    objects = [Outgoing(Path(row.path), row.sop_class_uid, row.sop_instance_uid) for row in rows]
    return control_id(Package(version.study_uid, version.number, 0.0, "", None, "", (), {}, {}, objects))


def _without_a_job(instances: Sequence[Row], jobs: Sequence[Row]) -> set[str]:
    """Images that wait to be scored without a job that scores them, and scored ones whose study has no job."""
    open_jobs = {(one.kind, one.key) for one in jobs if one.state in {"waiting", "leased"}}
    known = {one.key for one in jobs if one.kind == "assemble"}
    found = set()
    for one in instances:
        if one.state == "received" and ("score", f"{one.sop_instance_uid}:{one.digest}") not in open_jobs:
            found.add(one.sop_instance_uid)
        if one.state in {"scored", "refused"} and one.study_uid not in known:
            found.add(one.sop_instance_uid)
    return found


def _line(what: str, names: Collection[str]) -> list[str]:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return [f"{what}: {len(names)} ({shown})"] if names else []
