"""The description of the HTTP interface (OpenAPI 3.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.decision import FRACTURED, NONE_IN_PART, NORMAL, STATEMENTS
from serving.http.problems import MEDIA_TYPE, PROBLEMS
from serving.http.settings import MIB, Settings

Schema = dict[str, Any]

_FRACTION = {"type": "number", "minimum": 0, "maximum": 1}
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_SUSPICIONS = ["none", "possible", "high"]
_IMAGE_CODES = (
    "empty", "too_many_pixels", "unsupported_format", "undecodable", "no_pixels", "unsupported_dicom", "too_small",
    "too_many_frames", "colour_photograph", "blank", "not_a_radiograph",
)  # fmt: skip
_UPLOAD_CODES = (
    "missing_image", "malformed_multipart", "invalid_parameter", "unauthorized", "request_timeout", "body_too_large",
    "too_many_files", "unsupported_media_type", "internal", "overloaded", "timeout",
)  # fmt: skip


def description(classes: Sequence[str], settings: Settings) -> Schema:
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
        "paths": _paths(settings),
        "components": {"schemas": _schemas(classes), "securitySchemes": _SECURITY},
    }


_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Only where the service was started with API_KEYS."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def _paths(settings: Settings) -> Schema:
    explain = _flag("explain", "Also give a heatmap and boxes round its peaks.")
    preview = _flag("preview", "Also give the upright image as a JPEG, for a browser that cannot show the file.")
    study = _flag("study", "Also give one answer for all images: that of the most suspicious one.")
    single, several = _body("image", 1), _body("images", settings.max_files)
    return {
        "/predict": {"post": _operation(
            "predict", "Answer for one image", settings, _json("The answer.", "Prediction"),
            (*_UPLOAD_CODES, *_IMAGE_CODES), body=single, parameters=[explain, preview],
        )},
        "/explain": {"post": _operation(
            "explain", "The image with the evidence for a fracture drawn over it", settings,
            _content("The overlay.", "image/png"), (*_UPLOAD_CODES, *_IMAGE_CODES), body=single,
        )},
        "/predict/batch": {"post": _operation(
            "predict_batch", "An answer or an error for each of several images", settings,
            _json("In the order of the files.", "Batch"), _UPLOAD_CODES, body=several,
            parameters=[explain, preview, study],
        )},
        "/model": {"get": _operation(
            "model", "Which model answers, where it comes from and how good it is", settings,
            _json("The model.", "Model"), ("unauthorized", "internal"),
        )},
        "/samples/{name}": {"get": _operation(
            "sample", "A synthetic radiograph to try the service with", settings,
            _content("The picture.", "image/png"), ("not_found", "internal"), protected=False,
            parameters=[{"name": "name", "in": "path", "required": True, "schema": _TEXT}],
        )},
        "/": {"get": _operation("page", "The web page", settings, _content("HTML.", "text/html"), (), protected=False)},
        "/web/{file}": {"get": _operation(
            "asset", "A file of the web page", settings, {"description": "The file."}, ("not_found",), protected=False,
            parameters=[{"name": "file", "in": "path", "required": True, "schema": _TEXT}],
        )},
        "/docs": {"get": _operation(
            "docs", "This description for a person", settings, _content("HTML.", "text/html"), (), protected=False
        )},
        "/openapi.json": {"get": _operation(
            "openapi", "This description", settings, _content("OpenAPI 3.1.", "application/json"), ("internal",),
            protected=False,
        )},
        "/livez": {"get": _operation("livez", "The process lives", settings, _plain(), (), protected=False)},
        "/readyz": {"get": _operation(
            "readyz", "The model is loaded and has answered once", settings, _plain(), (), protected=False
        )},
        "/metrics": {"get": _operation(
            "metrics", "Figures for Prometheus", settings, _plain("Text exposition format."), ("internal",),
            protected=False,
        )},
    }  # fmt: skip


def _operation(
    name: str,
    summary: str,
    settings: Settings,
    success: Schema,
    codes: Sequence[str],
    *,
    body: Schema | None = None,
    parameters: Sequence[Schema] = (),
    protected: bool = True,
) -> Schema:
    operation: Schema = {"operationId": name, "summary": summary, "responses": {"200": success, **_problems(codes)}}
    if parameters:
        operation["parameters"] = list(parameters)
    if body:
        operation["requestBody"] = body
    if protected and settings.api_keys:
        operation["security"] = [{"bearer": []}, {"key": []}]
    return operation


def _flag(name: str, text: str) -> Schema:
    return {"name": name, "in": "query", "description": text, "schema": {"type": "boolean", "default": False}}


def _body(field: str, most: int) -> Schema:
    file = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    files = file if most == 1 else {"type": "array", "items": file, "minItems": 1, "maxItems": most}
    form = {"type": "object", "required": [field], "properties": {field: files}}
    raw = {"schema": {"type": "string", "format": "binary"}}
    return {
        "required": True,
        "description": "JPEG, PNG, BMP, TIFF or DICOM, as a form or as the body itself.",
        "content": {
            "multipart/form-data": {"schema": form},
            **dict.fromkeys(("image/jpeg", "image/png", "application/dicom", "application/octet-stream"), raw),
        },
    }


def _json(text: str, schema: str) -> Schema:
    return {"description": text, "content": {"application/json": {"schema": _ref(schema)}}}


def _content(text: str, media_type: str) -> Schema:
    schema: Schema = {} if media_type == "application/json" else {"type": "string"}
    return {"description": text, "content": {media_type: {"schema": schema}}}


def _plain(text: str = "Nothing but the status.") -> Schema:
    return _content(text, "text/plain")


def _problems(codes: Sequence[str]) -> Schema:
    """Responses by status, each with the codes that it may carry."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {PROBLEMS[code][1]}" for code in found),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"allOf": [_ref("Problem"), {"type": "object", "properties": {"code": {"enum": found}}}]}
                }
            },
            **({"headers": {"Retry-After": {"schema": _COUNT}}} if status == 503 else {}),
        }
        for status, found in sorted(by_status.items())
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Mapping[str, Any], optional: Sequence[str] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def _schemas(classes: Sequence[str]) -> Schema:
    label = {"enum": [NORMAL, FRACTURED]}
    suspicion = {
        "enum": _SUSPICIONS,
        "description": "none below the high-sensitivity point, high from the high-specificity point on",
    }
    statement = {"enum": sorted({*STATEMENTS.values(), NONE_IN_PART})}
    answer = {
        "label": label,
        "probability": {**_FRACTION, "description": "of a fracture, calibrated"},
        "threshold": {"type": "number", "description": "of the label"},
        "suspicion": suspicion,
        "statement": statement,
    }
    study = {
        **answer,
        "statement": {
            **_TEXT,
            "description": "as of one image; where the suspicion is none and views have no answer, of how many it is",
        },
        "index": {**_COUNT, "description": "of the most suspicious view, whose answer this is"},
        "images": {**_COUNT, "description": "views with an answer"},
        "unanswered": {**_COUNT, "description": "views without one; what they show is not known"},
    }
    picture = _object(
        {"media_type": _TEXT, "width": _COUNT, "height": _COUNT, "data": {**_TEXT, "description": "base64"}}
    )
    nullable = {"type": ["string", "null"]}
    facts = _object({"name": _TEXT, "version": _TEXT, "run_id": _TEXT, "sha256": _TEXT})
    corners = dict.fromkeys(("x0", "y0", "x1", "y1", "strength"), _FRACTION)
    return {
        "Prediction": _object(
            {
                **answer,
                "probabilities": _object(dict.fromkeys(classes, _FRACTION)),
                "model": facts,
                "warnings": {"type": "array", "items": _object({"code": _TEXT, "message": _TEXT})},
                "request_id": _TEXT,
                "schema_version": _COUNT,
                "input": _object({
                    "sha256": _TEXT, "width": _COUNT, "height": _COUNT, "sop_instance_uid": nullable,
                }),
                "explanation": _ref("Explanation"),
                "preview": picture,
            },
            optional=("explanation", "preview"),
        ),
        "Explanation": _object({
            "heatmap": picture,
            "peak": {"anyOf": [_object({"x": _FRACTION, "y": _FRACTION}), {"type": "null"}]},
            "boxes": {
                "type": "array", "items": _object(corners),
                "description": "round the peaks, as fractions of the upright image",
            },
        }),
        "Batch": _object(
            {
                "results": {
                    "type": "array",
                    "items": _object(
                        {
                            "index": _COUNT, "file": nullable, "prediction": _ref("Prediction"),
                            "error": _object({"code": _TEXT, "message": _TEXT, "status": _COUNT}),
                        },
                        optional=("prediction", "error"),
                    ),
                },
                "study": {"anyOf": [_object(study), {"type": "null"}]},
                "request_id": _TEXT,
                "schema_version": _COUNT,
            },
            optional=("study",),
        ),
        "Model": _object({
            "name": _TEXT, "version": _TEXT, "run_id": _TEXT, "sha256": _TEXT,
            "classes": {"type": "array", "items": _TEXT}, "threshold": {"type": "number"},
            "operating_points": {"type": "object"}, "quality": {"type": "object"}, "intended": {"type": "object"},
            "origin": {"type": "object"}, "trained_on": {"type": "object"},
            "samples": {"type": "array", "items": _TEXT}, "limits": {"type": "object"}, "schema_version": _COUNT,
        }),
        "Problem": _object({
            "type": _TEXT, "title": _TEXT, "status": _COUNT, "detail": _TEXT, "code": {"enum": sorted(PROBLEMS)},
            "request_id": _TEXT,
        }),
    }  # fmt: skip
