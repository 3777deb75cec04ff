"""Radiographs that nobody has: the bundle's synthetic samples as CR objects, the same bytes for the same seed."""

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import UID, generate_uid

from hospital import demo
from serving import bundle as bundles

_ROOT = Path(__file__).parents[2]
_MOST_VIEWS = 4
"""Images of a study: one to four, as in radiography."""


def released_bundle() -> Path:
    """The model that is measured; BundleError where the release is not there."""
    return bundles.find_default(_ROOT)


@dataclass(frozen=True)
class Study:
    """Images that are sent on one association; they are made when they are asked for."""

    seed: int
    number: int
    count: int

    @property
    def uid(self) -> str:
        """Its Study Instance UID."""
        return _uid(self.seed, self.number)

    def image_uid(self, index: int) -> str:
        """SOP Instance UID of an image."""
        return _uid(self.seed, self.number, index)

    def image(self, index: int) -> FileDataset:
        """An image, ready to be sent."""
        drawn = _drawn()
        made = pydicom.dcmread(io.BytesIO(drawn[(self.number + index) % len(drawn)]))
        made.StudyInstanceUID, made.SeriesInstanceUID = self.uid, _uid(self.seed, self.number, "series")
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(self.image_uid(index))
        made.PatientName, made.PatientID = f"Synthetic^{self.number}", f"LOST-{self.seed}-{self.number}"
        made.StudyID, made.AccessionNumber = str(self.number), f"A{self.number}"
        made.InstanceNumber = index + 1
        return made


def draw_studies(objects: int, seed: int, views: int | None = None) -> Iterator[Study]:
    """Studies of one to four images each (or of `views`), `objects` images in all."""
    chance = random.Random(seed)  # noqa: S311  sizes of studies, not secrets
    number, left = 0, objects
    while left > 0:
        count = min(left, views or chance.randint(1, _MOST_VIEWS))
        yield Study(seed, number, count)
        number, left = number + 1, left - count


@cache
def _drawn() -> list[bytes]:
    """The samples as DICOM files, with times of their own: a run that goes on sends the same bytes again."""
    found = []
    for made in demo.studies(released_bundle()):
        made.StudyDate, made.StudyTime = "20261127", "081500"
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, made, enforce_file_format=True)
        found.append(buffer.getvalue())
    return found


def _uid(*parts: object) -> str:
    return str(generate_uid(entropy_srcs=[repr(parts)]))
