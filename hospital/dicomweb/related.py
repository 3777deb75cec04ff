"""multipart/related (RFC 2387) to files as its bytes come: DICOMweb's way to carry objects, in both directions."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

DICOM = "application/dicom"
RELATED = "multipart/related"
_LONGEST_BOUNDARY = 200  # RFC 2046, 5.1.1, allows 70; Orthanc sends 73


class RelatedError(Exception):
    """A body that is none, or more than is taken; `code` is stable, the message says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class RelatedBounds:
    """What one body may hold: bytes of a part, bytes of all, parts."""

    part_bytes: int
    body_bytes: int
    parts: int


@dataclass(frozen=True)
class Part:
    """A part in a file, which is removed unless whoever is given it renames it; empty where it is `over_size`."""

    path: Path
    content_type: str
    over_size: bool


class RelatedReader:
    """Writes each part to a file in `folder`, and hands it to `taken` when it is complete; `parts` have begun."""

    def __init__(self, content_type: str, folder: Path, bounds: RelatedBounds, taken: Callable[[Part], None]) -> None:
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._value,
            "on_header_end": self._header,
            "on_headers_finished": self._open,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._ended,
        }
        self._parser = MultipartParser(boundary_of(content_type), callbacks)
        self._folder, self._bounds, self._taken = folder, bounds, taken
        self.parts = self._bytes = self._part_bytes = 0
        self._name = self._text = b""
        self._content_type = ""
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._complete = False

    def feed(self, content: bytes) -> None:
        """Take the next bytes; RelatedError where they are not well-formed or too many, and whatever `taken` raises."""
        self._bytes += len(content)
        if self._bytes > self._bounds.body_bytes:
            raise RelatedError("body_size", f"more than {self._bounds.body_bytes >> 20} MiB in one body")
        try:
            self._parser.write(content)
        except FormParserError:
            raise RelatedError("malformed_multipart", "the multipart body is not well-formed") from None

    def finish(self) -> None:
        """RelatedError where the body ended before its last boundary."""
        if not self._complete:
            raise RelatedError("truncated_multipart", "the multipart body ends early")

    def close(self) -> None:
        """Remove what is half-written."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _begin(self) -> None:
        self.parts += 1
        if self.parts > self._bounds.parts:
            raise RelatedError("too_many_parts", f"more than {self._bounds.parts} parts in one body")
        self._name = self._text = b""
        self._content_type, self._part_bytes = "", 0

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._text += data[start:end]

    def _header(self) -> None:
        if self._name.lower() == b"content-type":
            self._content_type = self._text.decode("latin-1").partition(";")[0].strip().lower()
        self._name = self._text = b""

    def _open(self) -> None:
        self._path = new_partial(self._folder)
        self._file = self._path.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._part_bytes += end - start
        if self._file is None:
            return
        if self._part_bytes > self._bounds.part_bytes:
            self._file.truncate(0)
            self._file.close()
            self._file = None
            return
        self._file.write(data[start:end])

    def _end(self) -> None:
        over_size = self._file is None
        if self._file is not None:
            self._file.close()
            self._file = None
        try:
            if self._path is not None:
                self._taken(Part(self._path, self._content_type, over_size))
        finally:
            self.close()

    def _ended(self) -> None:
        self._complete = True


def boundary_of(content_type: str) -> str:
    """The boundary that a Content-Type names; RelatedError where it is no multipart/related of DICOM objects."""
    kind, options = parse_options_header(content_type)
    root = options.get(b"type", DICOM.encode()).decode("latin-1").lower()
    if kind != RELATED.encode() or root != DICOM:
        raise RelatedError("media_type", f'the body is no {RELATED}; type="{DICOM}"')
    boundary = options.get(b"boundary", b"").decode("latin-1")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise RelatedError("malformed_multipart", "the Content-Type names no boundary")
    return boundary


def new_partial(folder: Path) -> Path:
    """The name of a file that is not there yet."""
    return folder / f"web-{os.getpid()}-{os.urandom(8).hex()}"
