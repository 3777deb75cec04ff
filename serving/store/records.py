"""The rows of the store, as they travel from a request to the database."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Opinion = Literal["agree", "disagree", "unsure", "withdrawn"]
"""What a reader says of an answer; `withdrawn` takes an earlier opinion back."""

CommentCode = Literal[
    "old_fracture",
    "hardware",
    "cast",
    "growth_plate",
    "artefact",
    "positioning",
    "exposure",
    "wrong_region",
    "outside_image",
    "other_finding",
]
COMMENTS: dict[CommentCode, str] = {
    "old_fracture": "a healed or old fracture",
    "hardware": "implant, screw or plate",
    "cast": "cast or splint",
    "growth_plate": "growth plate",
    "artefact": "artefact or foreign object",
    "positioning": "positioning or projection",
    "exposure": "exposure or noise",
    "wrong_region": "another body region than stated",
    "outside_image": "the fracture lies outside of this image",
    "other_finding": "another finding than a fracture",
}
"""Codes of a reader's comment, and what each says."""


@dataclass(frozen=True)
class AnswerRecord:
    """One image that was answered, or refused with the code `refused`; times are UTC.

    `patient` and `study` are keyed pseudonyms, None where unknown. `features` are those of `features.summary`, little
    endian float32.
    """

    answer_id: str
    at: datetime
    request_id: str
    route: str
    site: str
    caller: str
    model_name: str
    model_version: str
    model_sha256: str
    refused: str | None = None
    image_sha256: str | None = None
    label: str | None = None
    probability: float | None = None
    threshold: float | None = None
    suspicion: str | None = None
    region: str | None = None
    region_source: str | None = None
    statistics: dict[str, float] | None = None
    warnings: list[str] | None = None
    features: bytes | None = None
    patient: str | None = None
    study: str | None = None


@dataclass(frozen=True)
class FeedbackRecord:
    """What one reader says of one answer; the last row of a reader and an answer counts.

    `boxes` are x0, y0, x1, y1 as fractions of the upright image; `saw_answer` tells whether the reader had seen the
    answer before judging, None where unknown; `source` is `reader` or `report`.
    """

    answer_id: str
    at: datetime
    site: str
    reader: str
    source: str
    opinion: Opinion
    label: str | None = None
    boxes: list[list[float]] | None = None
    comments: list[str] | None = None
    text: str | None = None
    saw_answer: bool | None = None


@dataclass(frozen=True)
class ShadowRecord:
    """What a shadow bundle says of an image that has the answer `answer_id`; `seconds` is how long it took."""

    answer_id: str
    at: datetime
    site: str
    model_name: str
    model_version: str
    model_sha256: str
    refused: str | None = None
    label: str | None = None
    probability: float | None = None
    threshold: float | None = None
    suspicion: str | None = None
    region: str | None = None
    seconds: float | None = None
