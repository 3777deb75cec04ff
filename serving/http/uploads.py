"""The files and parameters of a request."""

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.http.admission import Engine
from serving.http.problems import ProblemError

_RAW_TYPES = ("image/", "application/dicom", "application/octet-stream")
_MULTIPART = "multipart/form-data"
_MOST_PARTS = 256
_FILE_NAME = re.compile(rb";\s*filename\s*=", re.IGNORECASE)
_EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=\s*\"?([\w!#$%&+^`{}~-]*)'[^']*'([^;\"\s]*)", re.IGNORECASE)
_UNQUOTABLE = {ord(character): None for character in '"\\\r\n\0'}


@dataclass(frozen=True)
class Upload:
    """One file of a request; only the caller ever sees `name` again."""

    name: str
    content: bytes


class _InMemory(MultiPartParser):
    """Starlette's parser, but an upload is never written to disk, and a part with an image's type is one.

    Starlette takes a part for text unless it has a `filename`, and looks at no `filename*` (RFC 5987).
    """

    spool_max_size = 2**62

    def on_headers_finished(self) -> None:
        """Give a part that is a file by its other headers the name that the parser looks for."""
        part = self._current_part
        named = part.content_disposition or b""
        kinds = [value.decode("latin-1").strip().lower() for key, value in part.item_headers if key == b"content-type"]
        if not _FILE_NAME.search(named):
            extended = _EXTENDED_NAME.search(named)
            if extended or any(kind.startswith(_RAW_TYPES) for kind in kinds):
                part.content_disposition = named + b'; filename="' + (_name_of(extended) if extended else b"") + b'"'
        super().on_headers_finished()


def _name_of(extended: re.Match[bytes]) -> bytes:
    """The name of a `filename*` in UTF-8, without what would end the header's quotes; empty for an unknown charset."""
    try:
        name = unquote_to_bytes(extended[2]).decode(extended[1].decode("latin-1"))
    except (LookupError, ValueError):
        return b""
    return name.translate(_UNQUOTABLE).encode()


async def read_uploads(
    engine: Engine, request: Request, fields: tuple[str, ...]
) -> tuple[list[Upload], Mapping[str, str]]:
    """The files of a request, in order, and its other parameters (query and form).

    A multipart body's files stand in one of `fields`; any other accepted body is one file. Raises ProblemError.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _MULTIPART and kind and not kind.startswith(_RAW_TYPES):
        raise ProblemError(
            "unsupported_media_type",
            f"content type {kind[:80]!r}; send multipart/form-data with the field {fields[0]}, or the image itself as "
            "image/*, application/dicom or application/octet-stream",
        )
    body = await engine.body(request)
    if kind != _MULTIPART:
        if not body and not kind:
            raise ProblemError("missing_image", f"send the image as the body, or as the multipart field {fields[0]}")
        return [Upload("", body)], dict(request.query_params)
    form = await _parse(request.headers, body)
    files = [(name, value) for name, value in form.multi_items() if name in fields]
    if not files:
        raise ProblemError("missing_image", f"the multipart body has no field {fields[0]}")
    if any(not isinstance(value, UploadFile) for _, value in files):
        raise ProblemError(
            "missing_image", f"the field {fields[0]} holds text, not a file; addresses are never fetched"
        )
    uploads = [Upload(value.filename or "", await value.read()) for _, value in files if isinstance(value, UploadFile)]
    texts = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    return uploads, {**texts, **dict(request.query_params)}


async def _parse(headers: Headers, body: bytes) -> FormData:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        return await _InMemory(headers, stream(), max_files=_MOST_PARTS, max_fields=_MOST_PARTS).parse()
    except MultiPartException as error:
        code = "too_many_files" if "Too many files" in error.message else "malformed_multipart"
        raise ProblemError(code, f"the multipart body cannot be read: {error.message}") from None
    except (KeyError, ValueError, LookupError):
        raise ProblemError("malformed_multipart", "the multipart body cannot be read") from None


def flag(parameters: Mapping[str, str], name: str) -> bool:
    """A parameter that is true or false; Problem `invalid_parameter` for anything else."""
    text = parameters.get(name, "false").lower()
    if text not in {"true", "false", "1", "0"}:
        raise ProblemError("invalid_parameter", f"{name}: {text[:40]!r} is neither true nor false")
    return text in {"true", "1"}


def only(uploads: list[Upload]) -> Upload:
    """The one file of a request; Problem `too_many_files`."""
    if len(uploads) > 1:
        raise ProblemError("too_many_files", "send one image here; POST /predict/batch takes several")
    return uploads[0]
