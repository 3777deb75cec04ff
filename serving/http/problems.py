"""Everything that can go wrong for a caller, as RFC 9457 problem details: stable code, HTTP status and title."""

from collections.abc import Mapping
from typing import Any

MEDIA_TYPE = "application/problem+json"

PROBLEMS: Mapping[str, tuple[int, str]] = {
    "missing_image": (400, "No image was sent"),
    "malformed_multipart": (400, "The multipart body is broken"),
    "invalid_parameter": (400, "A parameter has an unusable value"),
    "empty": (400, "The file is empty"),
    "unauthorized": (401, "An API key is needed"),
    "feedback_refused": (403, "This feedback is not accepted"),
    "not_found": (404, "There is nothing at this address"),
    "method_not_allowed": (405, "The address does not answer this method"),
    "request_timeout": (408, "The request did not arrive in time"),
    "body_too_large": (413, "The request is too large"),
    "too_many_pixels": (413, "The image is too large"),
    "too_many_files": (413, "Too many files in one request"),
    "unsupported_media_type": (415, "The request's content type is not accepted"),
    "unsupported_format": (415, "The file is no image of a known format"),
    "undecodable": (422, "The image cannot be decoded"),
    "no_pixels": (422, "The DICOM object holds no image"),
    "unsupported_dicom": (422, "This kind of DICOM object is not supported"),
    "out_of_scope": (422, "The model is not meant for this image"),
    "too_small": (422, "The image is too small"),
    "too_many_frames": (422, "The file holds several frames"),
    "colour_photograph": (422, "The image is a colour photograph"),
    "blank": (422, "The image is blank"),
    "not_a_radiograph": (422, "The image is unlike a radiograph"),
    "invalid_feedback": (422, "The feedback cannot be used"),
    "too_many_requests": (429, "Too much feedback in a short time"),
    "internal": (500, "The service has failed"),
    "overloaded": (503, "The service is busy"),
    "timeout": (503, "The answer took too long"),
    "store_unavailable": (503, "The store of answers cannot be reached"),
}
REFUSED_BY_GUARD = frozenset({"not_a_radiograph", "colour_photograph", "blank", "too_small"})
"""Codes that say that the guard takes an image for no radiograph."""
RETRY_AFTER_SECONDS = 1


class ProblemError(Exception):
    """A request that gets no answer; `code` is one of PROBLEMS, `detail` one line for a person."""

    def __init__(self, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        """The HTTP status."""
        return PROBLEMS[self.code][0]

    def document(self, request_id: str) -> dict[str, Any]:
        """The problem details object."""
        status, title = PROBLEMS[self.code]
        return {
            "type": f"urn:fracture:problem:{self.code}",
            "title": title,
            "status": status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
        }
