"""Objects to files, rows and jobs."""

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from sqlalchemy import select

from hospital.database import Instance, Job
from hospital.intake import Arrival, Intake
from hospital.parts import Parts
from tests.hospital.objects import radiograph

STUDY, SERIES = "1.2.3.4", "1.2.3.4.5"


def limb(**values: Any) -> FileDataset:
    return radiograph(np.zeros((8, 8), np.uint8), StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, **values)


def taken(parts: Parts, given: FileDataset, syntax: UID = ExplicitVRLittleEndian) -> Instance:
    """What is known of an object that came in with a transfer syntax."""
    given.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    explicit, little = not syntax.is_implicit_VR, syntax.is_little_endian
    pydicom.dcmwrite(buffer, given, enforce_file_format=True, implicit_vr=not explicit, little_endian=little)
    partial = parts.spool.partial / "arriving"
    partial.write_bytes(buffer.getvalue())
    intake = Intake(parts, "gateway", 0)
    assert intake.take(Arrival(partial, str(given.SOPInstanceUID), str(given.SOPClassUID), "MODALITY")) == "new"
    with parts.database.reading() as session:
        return session.scalars(select(Instance)).one()


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_study_and_series_are_found_in_each_encoding(parts: Parts, syntax: UID) -> None:
    found = taken(parts, limb(), syntax)
    assert (found.study_uid, found.series_uid) == (STUDY, SERIES)


def test_series_that_the_object_refers_to_is_not_taken_for_its_own(parts: Parts) -> None:
    other = Dataset()
    other.SeriesInstanceUID = "9.9"
    found = taken(parts, limb(ReferencedSeriesSequence=[other]))
    assert (found.study_uid, found.series_uid) == (STUDY, SERIES)


def test_words_that_look_like_the_series_uid_are_passed_over(parts: Parts) -> None:
    found = taken(parts, limb(StudyDescription="\x20\x00\x0e\x00UI\xff\xff"))
    assert (found.study_uid, found.series_uid) == (STUDY, SERIES)


def test_new_object_has_a_job_that_scores_it_at_once(parts: Parts) -> None:
    found = taken(parts, limb())
    with parts.database.reading() as session:
        job = session.scalars(select(Job)).one()
    assert (job.kind, job.subject, job.state, job.holder) == ("score", found.id, "waiting", "gateway")
    assert job.key == f"{found.sop_instance_uid}:{found.digest}"
    assert job.due_at == pytest.approx(found.received_at, abs=5)
