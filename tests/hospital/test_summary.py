"""What is told of a study: no view's label without its suspicion, and without the words that say both."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from hospital.config import Config, Results, Study
from hospital.database import Version
from hospital.delivery.fhir import transaction
from hospital.delivery.hl7 import oru
from hospital.delivery.settings import FhirForm
from hospital.delivery.ups import workitem
from hospital.operation import listed
from hospital.parts import Parts
from serving.decision import FRACTURED, NORMAL, SUSPICIOUS, Decision, LogisticCalibration, logit
from serving.wording import STATEMENTS
from tests.hospital.conftest import Scorer, Site
from tests.hospital.delivery.packages import package
from tests.hospital.objects import radiograph
from tests.hospital.worklist.rows import Browser

CERTAINTIES = {
    (NORMAL, "none"): lambda points: points.high_sensitivity / 2,
    (NORMAL, "possible"): lambda points: (points.high_sensitivity + points.high_specificity) / 2,
    (SUSPICIOUS, "high"): lambda points: (points.high_specificity + points.threshold) / 2,
    (FRACTURED, "high"): lambda points: (1 + points.threshold) / 2,
}
"""A probability for each label and suspicion that the release gives."""


def answering(probability: float) -> Scorer:
    """The release with one answer to every radiograph."""
    scorer = Scorer()
    bundle = scorer._predictor.bundle
    certain = replace(bundle.decision, calibration=LogisticCalibration(0, float(logit(probability))))
    scorer._predictor.bundle = replace(bundle, decision=certain)
    return scorer


def points() -> Decision:
    return Scorer()._predictor.bundle.decision


def labelled(document: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document that has a label."""
    if isinstance(document, dict):
        if "label" in document:
            yield document
        for value in document.values():
            yield from labelled(value)
    if isinstance(document, list):
        for value in document:
            yield from labelled(value)


@pytest.mark.parametrize("said", CERTAINTIES)
def test_label_of_a_view_stands_beside_its_suspicion_and_the_words_for_both(
    parts: Parts, tmp_path: Path, said: tuple[str, str]
) -> None:
    scorer = answering(CERTAINTIES[said](points()))
    site = Site(parts, scorer, Config(study=Study(stable_seconds=0), results=Results()))
    sent = radiograph()
    site.take(sent)
    site.take(radiograph(StudyInstanceUID=sent.StudyInstanceUID))
    site.work()
    browser = Browser(parts, tmp_path)
    browser.log_in()
    documents = [json.loads(browser.client.get("/worklist.json").text)]
    with parts.database.reading() as session:
        documents += [session.scalars(select(Version)).one().summary, listed(session)]
    for document in documents:
        views = list(labelled(document))
        assert [(view["label"], view["suspicion"]) for view in views] == [said] * 2
        assert [view["statement"] for view in views] == [STATEMENTS[said]] * 2  # type: ignore[index]


@pytest.mark.parametrize("said", STATEMENTS)
def test_what_is_delivered_bears_the_words_and_no_label_beside_them(said: tuple[str, str]) -> None:
    label, suspicion = said
    view = {"sop_instance_uid": "1.2", "state": "scored", "label": label, "suspicion": suspicion}
    sent = package(suspicion=suspicion, statement=STATEMENTS[said], views=[view])  # type: ignore[index]
    for text in (
        json.dumps(transaction(sent, FhirForm())),
        oru(sent, "FRACTURE", "RIS", ""),
        json.dumps(workitem(sent, "worklist").to_json_dict()),
    ):
        assert STATEMENTS[said] in text  # type: ignore[index]
        assert label not in text.replace(STATEMENTS[said], "")  # type: ignore[index]
