"""A version of a study's result, as the objects that are made of it need to know it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pydicom
from pydicom.uid import UID

from hospital.config import Results
from hospital.results.source import Source
from hospital.results.uids import derived_uid
from hospital.scoring import ModelFacts
from serving.http.schemas import Box, Prediction

NOT_A_DIAGNOSIS = "AI decision support, not for diagnostic use"


@dataclass(frozen=True)
class View:
    """An image of the study with its answer."""

    source: Source
    answer: Prediction

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Where the evidence is, strongest first; none where the suspicion is none."""
        if self.answer.suspicion == "none" or self.answer.explanation is None:
            return ()
        return tuple(self.answer.explanation.boxes)


FORM = "2"
"""Of the objects' words and structure. Raise it with every change of these: a changed object needs another UID."""


@dataclass(frozen=True)
class Made:
    """An object that was made: what it is for, and its data set."""

    role: str
    dataset: pydicom.Dataset


@dataclass(frozen=True)
class Edition:
    """The views with an answer, who answered, and what the result replaces; `made_at` is aware of its time zone."""

    views: Sequence[View]
    model: ModelFacts
    settings: Results
    made_at: datetime
    number: int
    predecessors: Sequence[pydicom.Dataset]  # reports that this one replaces: study, series, class and instance UID

    @property
    def config_digest(self) -> str:
        """The part of the configuration that the objects depend on."""
        return self.settings.model_dump_json()

    def uid(self, role: str) -> UID:
        """The UID of an object or a series of this version.

        It follows from role, model, configuration, the sources' UIDs and pixels, what the result repeats of patient and
        study, and FORM: a corrected name or another wording changes the object, and so its UID.
        """
        sources = sorted(
            f"{view.source.header.SOPInstanceUID} {view.source.pixel_digest} {view.source.demographics_digest}"
            for view in self.views
        )
        # A version may hold again what an earlier one held, and yet names another predecessor.
        return derived_uid(FORM, role, self.model.digest, self.config_digest, str(self.number), *sources)

    @property
    def device_uid(self) -> UID:
        """The UID of the model as a device."""
        return derived_uid("device", self.model.digest)

    @property
    def timezone(self) -> str:
        """Offset of this version's times, as in TimezoneOffsetFromUTC (PS3.3, C.12.1.1.8)."""
        offset = self.made_at.utcoffset() or timedelta(0)
        minutes = round(offset.total_seconds() / 60)
        return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
