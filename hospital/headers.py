"""What an image in the spool says of its patient and study, where no result has said so yet."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import pydicom

from hospital.audit.messages import Study
from hospital.database import Instance
from hospital.spool import Spool
from serving.errors import ImageError
from serving.imaging import dicom
from serving.imaging.faults import faults

_HEAD = 1 << 18
"""Bytes in which patient and study are looked for."""


def header_of(spool: Spool, path: str) -> pydicom.Dataset:
    """The data set of a file of the spool as far as its first bytes give it; empty where they do not."""
    if not path:
        return pydicom.Dataset()
    with suppress(OSError, ImageError), spool.path(path).open("rb") as file, faults("the DICOM object is broken"):
        return dicom.read(file.read(_HEAD))
    return pydicom.Dataset()


def study_of(spool: Spool, study_uid: str, instances: Sequence[Instance]) -> Study:
    """A study for the audit trail, with its patient as the first image that is there says."""
    header = header_of(spool, next((one.path for one in instances if one.path), ""))
    return Study(
        study_uid or str(header.get("StudyInstanceUID", "")),
        str(header.get("PatientID", "")),
        str(header.get("PatientName", "")),
        str(header.get("AccessionNumber", "")),
        tuple(sorted(Counter(one.sop_class_uid for one in instances).items())),
    )
