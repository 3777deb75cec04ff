"""What a version says of a study in the worklist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydicom

from hospital.database import Instance
from hospital.results.version import Edition
from serving import study
from serving.decision import Suspicion
from serving.http.schemas import Prediction


@dataclass(frozen=True)
class _Answered:
    """What `serving.study` asks of a view."""

    label: str
    probability: float
    threshold: float
    suspicion: Suspicion
    statement: str
    truncated: bool

    @classmethod
    def of(cls, answer: Prediction) -> "_Answered":
        truncated = any(note.code == "truncated" for note in answer.warnings)
        return cls(answer.label, answer.probability, answer.threshold, answer.suspicion, answer.statement, truncated)


def told(
    edition: Edition,
    instances: Sequence[Instance],
    answers: Mapping[str, Prediction],
    headers: Sequence[pydicom.Dataset],
) -> dict[str, Any]:
    """The fields of a `Version` that its reader sees; the most suspicious view decides (`serving.study`)."""
    answered = [(number, _Answered.of(view.answer)) for number, view in enumerate(edition.views)]
    judged = study.assess(answered, len(instances) - len(answered))
    beyond = sorted({note for view in edition.views for note in notes_of_scope(view.answer)})
    said = [judged.statement, *(note for note in beyond if note not in judged.statement)] if judged else []
    return {
        "suspicion": judged.suspicion if judged else "",
        "probability": judged.probability if judged else None,
        "summary": {
            "model": {"name": edition.model.name, "version": edition.model.version, "digest": edition.model.digest},
            "statement": " ".join(said) or "No view has an answer.",
            "views": [_entry(one, answers.get(one.answer_key)) for one in instances],
        },
        "patient": patient_of(headers),
    }


def with_scope(answer: Prediction) -> Prediction:
    """The answer to an image that the model is not for, with that said wherever its statement is shown."""
    notes = notes_of_scope(answer)
    return answer.model_copy(update={"statement": " ".join([answer.statement, *notes])}) if notes else answer


def notes_of_scope(answer: Prediction) -> list[str]:
    """What is said of an image that the model is not for; nothing of others."""
    return [note.message for note in answer.warnings if note.code == "out_of_scope"]


def patient_of(headers: Sequence[pydicom.Dataset]) -> dict[str, str]:
    """What the worklist shows of patient and study."""
    first = headers[0] if headers else pydicom.Dataset()
    return {
        "id": str(first.get("PatientID", "")),
        "name": str(first.get("PatientName", "")),
        "birth_date": str(first.get("PatientBirthDate", "")),
        "sex": str(first.get("PatientSex", "")),
        "accession_number": str(first.get("AccessionNumber", "")),
        "study_date": str(first.get("StudyDate", "")),
        "study_time": str(first.get("StudyTime", "")),
        "study_description": str(first.get("StudyDescription", "")),
    }


def _entry(instance: Instance, answer: Prediction | None) -> dict[str, Any]:
    """A view of the study in the worklist: its answer, or why it has none."""
    view: dict[str, Any] = {"sop_instance_uid": instance.sop_instance_uid, "state": instance.state}
    if answer is None:
        return {**view, "code": instance.code, "reason": instance.reason}
    # The label never stands alone: it says "Normal" below the threshold, also where a fracture is possible.
    told = ("label", "probability", "suspicion", "statement")
    return {**view, **{key: getattr(answer, key) for key in told}}
