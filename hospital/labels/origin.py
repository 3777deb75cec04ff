"""Rows of the store of answers for what the gateway's own processes answer."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pydicom

from hospital.scoring import ModelFacts
from serving.bundle import Bundle
from serving.predictor import Prediction
from serving.store.answered import answered
from serving.store.pseudonyms import pseudonym_of_patient, pseudonyms_of
from serving.store.records import AnswerRecord

ROUTE = "gateway"
"""In the column `route`."""


@dataclass(frozen=True)
class Origin:
    """Where answers come from, and the key of the pseudonyms, empty where none are kept."""

    site: str
    gateway: str
    pseudonym_key: str = ""

    def answered(self, opened: Bundle, found: Prediction, content: bytes) -> AnswerRecord:
        """The row of a bundle's answer to the file `content`, with an id of its own."""
        names = pseudonyms_of(content, self.site, self.pseudonym_key)
        origin = self._row(opened.manifest.name, opened.manifest.version, opened.sha256)
        return answered(origin, found, opened.reference, names)

    def patient(self, header: pydicom.Dataset) -> str | None:
        """The pseudonym of the patient whom a header names; None where none is kept."""
        return pseudonym_of_patient(header, self.site, self.pseudonym_key)

    def refused(self, model: ModelFacts, code: str) -> AnswerRecord:
        """The row of an image without an answer."""
        return self._row(model.name, model.version, model.sha256, refused=code)

    def _row(self, name: str, version: str, sha256: str, **facts: Any) -> AnswerRecord:
        return AnswerRecord(
            answer_id=uuid4().hex,
            at=datetime.now(UTC),
            request_id="",
            route=ROUTE,
            site=self.site,
            caller=self.gateway,
            model_name=name,
            model_version=version,
            model_sha256=sha256,
            **facts,
        )
