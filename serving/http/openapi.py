"""The description of the HTTP interface (OpenAPI 3.1): the table of operations, and the schemas of the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from serving.http import schemas
from serving.http.problems import MEDIA_TYPE, PROBLEMS
from serving.http.settings import MIB, Settings

JsonSchema = dict[str, Any]

_UPLOAD_CODES = (
    "missing_image",
    "malformed_multipart",
    "invalid_parameter",
    "unauthorized",
    "request_timeout",
    "body_too_large",
    "too_many_files",
    "unsupported_media_type",
    "internal",
    "overloaded",
    "timeout",
)
_IMAGE_CODES = (
    "empty",
    "too_many_pixels",
    "unsupported_format",
    "undecodable",
    "no_pixels",
    "unsupported_dicom",
    "out_of_scope",
    "too_small",
    "too_many_frames",
    "colour_photograph",
    "blank",
    "not_a_radiograph",
)
_PARAMETERS: dict[str, tuple[str, str]] = {
    "explain": ("query", "Also give a heatmap and boxes round its peaks."),
    "preview": ("query", "Also give the upright image as a JPEG, for a browser that cannot show the file."),
    "region": ("query", "The region that the image shows, one of `intended.regions` of GET /model, where it is known."),
    "study": ("query", "Also give one answer for all images: that of the most suspicious one."),
    "name": ("path", ""),
    "file": ("path", ""),
}


@dataclass(frozen=True)
class Operation:
    """A path and its method. `gives` is a schema, a media type, or empty if the answer is a file of any type."""

    name: str
    path: str
    summary: str
    result: str
    gives: type[schemas.Schema] | str
    codes: tuple[str, ...] = ()
    method: str = "get"
    files: str = ""  # the form's field: `image` takes one, `images` several
    parameters: tuple[str, ...] = ()
    protected: bool = False
    takes: type[schemas.Schema] | None = None  # a JSON object

    @property
    def takes_images(self) -> bool:
        """Whether images are sent to it."""
        return bool(self.files)

    def described(self, settings: Settings) -> JsonSchema:
        """The operation object."""
        described: JsonSchema = {
            "operationId": self.name,
            "summary": self.summary,
            "responses": {"200": self._success(), **_problems(self.codes)},
        }
        if self.parameters:
            described["parameters"] = [_parameter(name) for name in self.parameters]
        if self.takes_images:
            described["requestBody"] = _body(self.files, settings.max_files)
        if self.takes:
            content = {"application/json": {"schema": _ref(self.takes.__name__)}}
            described["requestBody"] = {"required": True, "content": content}
        if self.protected and settings.api_keys:
            described["security"] = [{"bearer": []}, {"key": []}]
        return described

    def _success(self) -> JsonSchema:
        if not self.gives:
            return {"description": self.result}
        if isinstance(self.gives, str):
            schema = {} if self.gives == "application/json" else {"type": "string"}
            return {"description": self.result, "content": {self.gives: {"schema": schema}}}
        return {"description": self.result, "content": {"application/json": {"schema": _ref(self.gives.__name__)}}}


# A table with an operation a row, of which the formatter would make ten lines.
OPERATIONS = (
    Operation(
        "predict", "/predict", "Answer for one image", "The answer.", schemas.Prediction,
        (*_UPLOAD_CODES, *_IMAGE_CODES), "post", "image", ("explain", "preview", "region"), protected=True,
    ),
    Operation(
        "explain", "/explain", "The image with the evidence for a fracture drawn over it", "The overlay.", "image/png",
        (*_UPLOAD_CODES, *_IMAGE_CODES), "post", "image", protected=True,
    ),
    Operation(
        "predict_batch", "/predict/batch", "An answer or an error for each of several images",
        "In the order of the files.", schemas.Batch, _UPLOAD_CODES, "post", "images",
        ("explain", "preview", "region", "study"),
        protected=True,
    ),
    Operation(
        "feedback", "/feedback", "What a reader says of an answer", "It is kept.", schemas.Receipt,
        (
            "unauthorized", "feedback_refused", "not_found", "request_timeout", "body_too_large",
            "unsupported_media_type", "invalid_feedback", "too_many_requests", "internal", "overloaded",
            "store_unavailable",
        ),
        "post", takes=schemas.Feedback, protected=True,
    ),
    Operation(
        "model", "/model", "Which model answers, where it comes from and how good it is", "The model.", schemas.Model,
        ("unauthorized", "internal"), protected=True,
    ),
    Operation(
        "sample", "/samples/{name}", "A synthetic radiograph to try the service with", "The picture.", "image/png",
        ("not_found", "internal"), parameters=("name",),
    ),
    Operation("page", "/", "The web page", "HTML.", "text/html"),
    Operation("asset", "/web/{file}", "A file of the web page", "The file.", "", ("not_found",), parameters=("file",)),
    Operation("docs", "/docs", "This description for a person", "HTML.", "text/html"),
    Operation("openapi", "/openapi.json", "This description", "OpenAPI 3.1.", "application/json", ("internal",)),
    Operation("livez", "/livez", "The process lives", "Nothing but the status.", "text/plain"),
    Operation(
        "readyz", "/readyz", "The model is loaded and has answered once", "Nothing but the status.", "text/plain"
    ),
    Operation("metrics", "/metrics", "Figures for Prometheus", "Text exposition format.", "text/plain", ("internal",)),
)  # fmt: skip
"""Every operation, BentoML's own probes and the page's files included."""


def description(classes: Sequence[str], settings: Settings) -> JsonSchema:
    """The whole description, every route included, as an object for JSON."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bone fracture detection",
            "version": "1",
            "summary": "Decision support on radiographs. Not a diagnosis, not for clinical use.",
            "description": (
                "Send a radiograph, read a calibrated probability of a fracture, a label, a suspicion and where it "
                "comes from. An address (URL) is never fetched. Errors are RFC 9457 problem details with a stable "
                f"`code`. At most {settings.max_body / MIB:g} MiB a request, {settings.max_pixels / 1e6:g} million "
                "pixels an image."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {operation.path: {operation.method: operation.described(settings)} for operation in OPERATIONS},
        "components": {"schemas": _schemas(classes), "securitySchemes": _SECURITY},
    }


_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Only where the service was started with API_KEYS."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class _Untitled(GenerateJsonSchema):
    """Schemas without titles that repeat a name, and open to keys of later versions."""

    def field_title_should_be_set(self, _: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> JsonSchema:
        made = super().model_schema(schema)
        return {key: value for key, value in made.items() if key not in {"title", "additionalProperties"}}


def _schemas(classes: Sequence[str]) -> JsonSchema:
    answers: list[tuple[type[BaseModel], Any]] = [
        (schema, "validation") for schema in (*schemas.ANSWERS, *schemas.REQUESTS)
    ]
    _, made = models_json_schema(answers, ref_template=_ref("{model}")["$ref"], schema_generator=_Untitled)
    found: JsonSchema = made["$defs"]
    properties = found["Prediction"]["properties"]
    one = properties["probabilities"].pop("additionalProperties")
    properties["probabilities"] |= {"properties": dict.fromkeys(classes, one), "required": list(classes)}
    return found


def _parameter(name: str) -> JsonSchema:
    place, text = _PARAMETERS[name]
    if place == "path":
        return {"name": name, "in": place, "required": True, "schema": {"type": "string"}}
    schema = {"type": "string"} if name == "region" else {"type": "boolean", "default": False}
    return {"name": name, "in": place, "description": text, "schema": schema}


def _body(field: str, most: int) -> JsonSchema:
    file = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    files = file if field == "image" else {"type": "array", "items": file, "minItems": 1, "maxItems": most}
    form = {"type": "object", "required": [field], "properties": {field: files}}
    raw = {"schema": {"type": "string", "format": "binary"}}
    return {
        "required": True,
        "description": "JPEG, PNG, WebP, BMP, TIFF or DICOM, as a form or as the body itself.",
        "content": {
            "multipart/form-data": {"schema": form},
            **dict.fromkeys(("image/jpeg", "image/png", "application/dicom", "application/octet-stream"), raw),
        },
    }


def _problems(codes: Sequence[str]) -> JsonSchema:
    """Responses by status, each with the codes that it may carry."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    count = {"type": "integer", "minimum": 0}
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {PROBLEMS[code][1]}" for code in found),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"allOf": [_ref("Problem"), {"type": "object", "properties": {"code": {"enum": found}}}]}
                }
            },
            **({"headers": {"Retry-After": {"schema": count}}} if status in {429, 503} else {}),
        }
        for status, found in sorted(by_status.items())
    }


def _ref(name: str) -> JsonSchema:
    return {"$ref": f"#/components/schemas/{name}"}
