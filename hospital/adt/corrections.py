"""What the feed has said of patients: kept as rows, put over what images say, and the studies that it concerns.

The feed is the authority: what it says holds for images that come later, too, until it says something else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pydicom
from sqlalchemy import select
from sqlalchemy.orm import Session

from hospital.adt.messages import Told
from hospital.database import Correction, Instance, Job, Version, now
from hospital.parts import Parts

_MOST_HOPS = 32
"""Merges that are followed from one patient on; a feed that merges in a circle ends here."""
_CONFLICT = "patient_conflict"


@dataclass(frozen=True)
class Corrections:
    """Rows by the Patient ID that they are about."""

    rows: Mapping[str, Correction]

    @classmethod
    def of(cls, session: Session, patient_ids: Iterable[str]) -> "Corrections":
        """What concerns some patients, with everyone that they were merged into."""
        rows: dict[str, Correction] = {}
        wanted = set(patient_ids)
        for _ in range(_MOST_HOPS):
            if not wanted:
                break
            found = session.scalars(select(Correction).where(Correction.patient_id.in_(wanted))).all()
            rows |= {one.patient_id: one for one in found}
            wanted = {one.merged_into for one in found} - rows.keys() - {""}
        return cls(rows)

    def patient(self, patient_id: str) -> str:
        """Whom a patient was merged into at last; the same one where nobody was."""
        for _ in range(_MOST_HOPS):
            row = self.rows.get(patient_id)
            if row is None or not row.merged_into:
                break
            patient_id = row.merged_into
        return patient_id

    def correct(self, header: pydicom.Dataset) -> None:
        """Put what the feed has said over a header in the form of `results.source`."""
        known = str(header.get("PatientID", "")).strip()
        patient_id = self.patient(known)
        if patient_id != known:
            header.PatientID = patient_id
        row = self.rows.get(patient_id) if known else None
        if row is None:
            return
        told = {"PatientName": row.name, "PatientBirthDate": row.birth_date, "PatientSex": row.sex}
        for keyword, value in told.items():
            if value is not None:
                setattr(header, keyword, value)


def corrections_for(parts: Parts, headers: Sequence[pydicom.Dataset]) -> Corrections:
    """What concerns the patients of some headers."""
    with parts.database.reading() as session:
        return Corrections.of(session, {str(one.get("PatientID", "")).strip() for one in headers} - {""})


def keep(parts: Parts, told: Sequence[Told]) -> list[str]:
    """Keep what a message says, and let the results of the studies that it concerns be made anew; their UIDs."""
    with parts.database.session() as session:
        for one in told:
            _keep(session, one)
        session.flush()
        concerned = {one.patient_id for one in told} | {one.prior_id for one in told} - {""}
        studies = _studies(session, concerned)
        if any(one.prior_id for one in told):
            studies |= _in_conflict(session)
        for study_uid in sorted(studies):
            newest = session.scalar(
                select(Instance.id).where(Instance.study_uid == study_uid).order_by(Instance.id.desc()).limit(1)
            )
            parts.queue.add(session, "assemble", study_uid, newest or 0)
    return sorted(studies)


def _keep(session: Session, told: Told) -> None:
    row = session.get(Correction, told.patient_id, with_for_update=True)
    if row is None:
        row = Correction(patient_id=told.patient_id, merged_into="")
        session.add(row)
    for name in ("name", "birth_date", "sex"):
        value = getattr(told, name)
        if value is not None:
            setattr(row, name, value)
    row.told_at = now()
    if told.prior_id:
        row.merged_into = ""  # who survives a merge is nobody else's any more
        session.merge(Correction(patient_id=told.prior_id, merged_into=told.patient_id, told_at=now()))


def _studies(session: Session, patient_ids: set[str]) -> set[str]:
    """Studies that are held and whose last version names one of the patients, or one merged into them."""
    earlier = set(patient_ids)
    for _ in range(_MOST_HOPS):
        found = set(session.scalars(select(Correction.patient_id).where(Correction.merged_into.in_(earlier))))
        if found <= earlier:
            break
        earlier |= found
    held = select(Instance.study_uid).where(Instance.path != "", Instance.superseded.is_(False))
    chosen = select(Version.study_uid).where(
        Version.patient["id"].as_string().in_(earlier), Version.study_uid.in_(held)
    )
    return set(session.scalars(chosen.distinct()))


def _in_conflict(session: Session) -> set[str]:
    """Studies put aside as their images name several patients: after a merge it may be one."""
    return set(
        session.scalars(select(Job.key).where(Job.kind == "assemble", Job.state == "dead", Job.code == _CONFLICT))
    )


def forget(session: Session, before: float) -> int:
    """Remove what was told before a time of patients of whom no study is held; how many rows there were."""
    old = session.scalars(select(Correction).where(Correction.told_at <= before)).all()
    if not old:
        return 0
    held = select(Instance.study_uid).where(Instance.path != "")
    patients = session.scalars(select(Version.patient).where(Version.study_uid.in_(held))).all()
    named = {patient.get("id", "") for patient in patients}
    rows = Corrections.of(session, {one.patient_id for one in old})
    gone = [one for one in old if rows.patient(one.patient_id) not in named and one.patient_id not in named]
    for one in gone:
        session.delete(one)
    return len(gone)
