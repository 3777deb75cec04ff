"""The answers in JSON, as models: what the routes send, and what `/openapi.json` says of it.

A key that an answer may lack is left unset, and is not written (`written`); `None` is written as null.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from serving.decision import LABELS, Suspicion
from serving.http.problems import PROBLEMS
from serving.store.records import COMMENTS, CommentCode, Opinion
from serving.wording import NONE_IN_PART, STATEMENTS, WARNINGS

# The bounds are described and not checked again: an answer is not lost to the last digit of a float.
Count = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0})]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _may_be_left_out() -> Any:
    """A field whose key may be missing, but whose value is never null."""
    return Field(default=None, json_schema_extra=_without_default)


class Schema(BaseModel):
    """A JSON object; the fields stand in the order of the answer's keys."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def written(self) -> bytes:
        """The JSON, without the keys that were left out."""
        return self.model_dump_json(exclude_unset=True).encode()


class Picture(Schema):
    """An encoded image."""

    media_type: str
    width: Count
    height: Count
    data: str
    """base64"""


class Peak(Schema):
    """The place with the most evidence, as fractions of the upright image."""

    x: Fraction
    y: Fraction


class Box(Schema):
    """A rectangle round a peak and how strong it is."""

    x0: Fraction
    y0: Fraction
    x1: Fraction
    y1: Fraction
    strength: Fraction


class Explanation(Schema):
    """Where a prediction comes from."""

    heatmap: Picture
    peak: Peak | None
    boxes: list[Box]
    """round the peaks, as fractions of the upright image"""


class Note(Schema):
    """Something a reader of the answer should know; `code` is stable."""

    code: Annotated[str, WithJsonSchema({"enum": sorted(WARNINGS)})]
    message: str
    detail: str | SkipJsonSchema[None] = _may_be_left_out()
    """the numbers behind it, where there are any"""


class Seen(Schema):
    """What of the upright image the network saw: a box of it, in fractions, turned and inverted as it says."""

    x0: Fraction
    y0: Fraction
    x1: Fraction
    y1: Fraction
    turned: Annotated[int, WithJsonSchema({"enum": [0, 90, 180, 270]})]
    """degrees, anticlockwise"""
    inverted: bool


class Input(Schema):
    """The file that was read; `width` and `height` are pixels of the upright image."""

    sha256: str
    width: Count
    height: Count
    sop_instance_uid: str | None
    seen: Seen


class Facts(Schema):
    """Which model answered."""

    name: str
    version: str
    run_id: str
    sha256: str


class Answer(Schema):
    """What the answers for one image and for a study have in common."""

    label: Annotated[str, WithJsonSchema({"enum": list(LABELS)})]
    probability: Fraction
    """of a fracture, calibrated"""
    threshold: float
    """of the label"""
    suspicion: Suspicion
    """none below the high-sensitivity point, high from the high-specificity point on"""


class RegionBeside(Schema):
    """A further region that the image shows."""

    name: str
    probability: Fraction


class Region(Schema):
    """The region of the image: what its sender or its header says, else what it seems to show."""

    name: str
    source: Literal["caller", "header", "image"]
    probability: Fraction | None
    """what the network says of this region; null where it knows none"""
    also: list[RegionBeside] | SkipJsonSchema[None] = _may_be_left_out()
    """further regions, the likeliest first, where the image shows several"""


class Prediction(Answer):
    """The answer for one image."""

    statement: Annotated[str, WithJsonSchema({"enum": sorted({*STATEMENTS.values(), NONE_IN_PART})})]
    probabilities: dict[str, Fraction]
    region: Region | None
    """null where nothing tells it"""
    warnings: list[Note]
    input: Input
    schema_version: Count
    model: Facts
    request_id: str
    answer_id: str
    """of this image's answer, made by the service: 32 hexadecimal digits"""
    feedback_token: str | SkipJsonSchema[None] = _may_be_left_out()
    """to send with feedback on this answer; only where the service takes any"""
    explanation: Explanation | SkipJsonSchema[None] = _may_be_left_out()
    preview: Picture | SkipJsonSchema[None] = _may_be_left_out()


class EntryError(Schema):
    """Why a file of a batch has no answer."""

    code: str
    message: str
    status: Count


class Entry(Schema):
    """The answer or the error of one file."""

    index: Count
    file: str | None
    prediction: Prediction | SkipJsonSchema[None] = _may_be_left_out()
    error: EntryError | SkipJsonSchema[None] = _may_be_left_out()


class Study(Answer):
    """One answer for all images of a batch."""

    statement: str
    """as for one image; where suspicion is none and a view is incomplete or unread, it says how many it covers"""
    index: Count
    """of the most suspicious view, whose answer this is"""
    images: Count
    """views with an answer"""
    unanswered: Count
    """views without an answer; nothing is known about them"""


class Batch(Schema):
    """The answer for several images, in their order."""

    results: list[Entry]
    request_id: str
    schema_version: Count
    study: Study | None = _may_be_left_out()


class FeedbackForm(Schema):
    """What feedback may hold."""

    comments: dict[str, str]
    """codes of comments and what they say"""
    free_text: bool


class RefusedScope(Schema):
    """What the header of an image may name that the model is not meant for."""

    modalities: dict[str, str]
    """codes of DICOM modalities and what they are"""
    body_parts: list[str]


class ScopeOfModel(Schema):
    """Which images the model is meant for, by what their header says; no header, or an unknown word, never refuses."""

    mode: Literal["refuse", "warn"]
    """whether other images get the error out_of_scope, or an answer with that warning"""
    regions: list[str]
    """that the model was trained for"""
    refused: RefusedScope


class Model(Schema):
    """GET /model; the description leaves out what a bundle says for its own use."""

    name: str
    version: str
    run_id: str
    sha256: str
    architecture: SkipJsonSchema[str]
    classes: list[str]
    preprocessing: SkipJsonSchema[dict[str, Any]]
    calibration: SkipJsonSchema[dict[str, Any]]
    threshold: float
    operating_points: dict[str, Any]
    guard: SkipJsonSchema[dict[str, Any]]
    number_format: SkipJsonSchema[str]
    map: SkipJsonSchema[str]
    intended: dict[str, Any]
    quality: dict[str, Any]
    trained_on: dict[str, Any]
    origin: dict[str, Any]
    recalibrated: SkipJsonSchema[dict[str, Any] | None]
    bundle_schema_version: SkipJsonSchema[int]
    schema_version: Count
    samples: list[str]
    limits: dict[str, Any]
    scope: ScopeOfModel
    feedback: FeedbackForm | None
    """null where the service takes no feedback"""


class Request(Schema):
    """A JSON object that a caller sends: "yes" is no boolean, and "0.5" no number."""

    model_config = ConfigDict(strict=True)


def _each_once(codes: list[CommentCode]) -> list[CommentCode]:
    twice = [code for code in COMMENTS if codes.count(code) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is given twice")
    return codes


class FeedbackBox(Request):
    """Where a reader sees a fracture, as fractions of the upright image; x0 < x1 and y0 < y1."""

    x0: Share
    y0: Share
    x1: Share
    y1: Share


class Feedback(Request):
    """POST /feedback: what a reader says of one answer; it replaces what the same reader said of it before."""

    answer_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    feedback_token: Annotated[str, Field(max_length=200)]
    """that came with the answer"""
    opinion: Opinion
    """withdrawn takes back what was said before"""
    label: Annotated[str, Field(max_length=64)] | None = None
    """the final one, a class of the model"""
    boxes: Annotated[list[FeedbackBox], Field(max_length=20)] = []
    comments: Annotated[
        list[CommentCode],
        Field(max_length=len(COMMENTS), json_schema_extra={"uniqueItems": True}),
        AfterValidator(_each_once),
    ] = []
    text: Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")] | None = None
    """only where the service takes free text; PostgreSQL keeps no NUL"""
    saw_answer: bool | None = None
    """whether the reader had seen the answer before judging"""


class Receipt(Schema):
    """That feedback is kept."""

    answer_id: str
    opinion: Opinion
    opinions: Count
    """of this reader on this answer so far; the last one counts"""
    request_id: str


class Problem(Schema):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: Count
    detail: str
    code: Annotated[str, WithJsonSchema({"enum": sorted(PROBLEMS)})]
    request_id: str


ANSWERS: tuple[type[Schema], ...] = (Prediction, Batch, Model, Receipt, Problem)
"""What a route answers; the others are parts of these."""
REQUESTS: tuple[type[Request], ...] = (Feedback,)
"""What a route takes as JSON."""
