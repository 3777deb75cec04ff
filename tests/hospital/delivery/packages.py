"""What is sent of a version."""

from typing import Any

from hospital.delivery import Outgoing, Package
from tests.hospital.objects import PATIENT


def package(*objects: Outgoing, **facts: Any) -> Package:
    """A version of a study whose suspicion is high; `facts` replace fields."""
    given: dict[str, Any] = {
        "study_uid": "1.2.840.1.77",
        "number": 1,
        "made_at": 1795766400.0,  # 2026-11-27T08:00:00Z
        "suspicion": "high",
        "probability": 0.9731,
        "statement": "A fracture is likely.",
        "views": [
            {"sop_instance_uid": "1.2.840.1.77.1.1", "state": "scored", "label": "Fracture detected",
             "probability": 0.9731, "suspicion": "high", "statement": "A fracture is likely."},
            {"sop_instance_uid": "1.2.840.1.77.1.2", "state": "refused", "code": "out_of_scope", "reason": "a chest"},
        ],
        "patient": {"id": "47|11", "name": PATIENT, "birth_date": "19700101", "sex": "O", "accession_number": "A1",
                    "study_date": "20261127", "study_time": "081500"},
        "model": {"name": "fracatlas-mobilenet", "version": "1", "digest": "d" * 64},
        "objects": objects,
    }  # fmt: skip
    return Package(**{**given, **facts})
