"""Rows of the store of answers for what the gateway's own processes answer."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from hospital.scoring import ModelFacts
from serving.bundle import Bundle
from serving.predictor import Prediction
from serving.store import features
from serving.store.pseudonyms import pseudonyms_of
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
        region = found.region
        return self._row(
            opened.manifest.name, opened.manifest.version, opened.sha256,
            image_sha256=found.sha256,
            label=found.label,
            probability=found.probability,
            threshold=found.threshold,
            suspicion=found.suspicion,
            region=region.name if region else None,
            region_source=region.source if region else None,
            statistics=found.statistics(),
            warnings=[note.code for note in found.warnings],
            features=features.packed(features.summarise(found.features, opened.reference)),
            patient=names.patient,
            study=names.study,
        )  # fmt: skip

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
