"""A DICOMweb server on loopback that answers in order, or as badly as a test wants."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import pydicom

from tests.hospital.objects import encoded

BOUNDARY = "frontier"
_STUDY_TAGS = ("00080020", "00080050", "00100010", "00100020", "00100030", "0020000D")


@dataclass
class Answer:
    """What is sent back; `blocks` is an endless body, sent as long as the other side reads."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    blocks: Callable[[], Iterator[bytes]] | None = None


@dataclass
class Asked:
    """A request that came in; names of headers are in lower case."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


def related(*parts: bytes, boundary: str = BOUNDARY, kind: str = "application/dicom", end: bool = True) -> bytes:
    """A multipart body."""
    found = b"".join(
        b"--%s\r\nContent-Type: %s\r\n\r\n%s\r\n" % (boundary.encode(), kind.encode(), one) for one in parts
    )
    return found + (f"--{boundary}--\r\n".encode() if end else b"")


def related_type(boundary: str = BOUNDARY) -> str:
    """The Content-Type of `related`."""
    return f'multipart/related; type="application/dicom"; boundary={boundary}'


@dataclass
class DicomwebServer:
    """QIDO-RS and WADO-RS for `datasets`; `override` answers a request in place of it unless it gives None."""

    datasets: Sequence[pydicom.Dataset] = ()
    most: int = 1000  # entries of a page, whatever limit is asked for
    pages: bool = True  # whether `offset` is known
    skips_first: bool = False  # whether `offset` is applied to the first `limit` entries, as by Orthanc
    end: int = 204
    too_much: Callable[[Asked], bool] = lambda _: False
    counts: bool = True
    instance: Mapping[str, Any] = field(default_factory=dict)  # further attributes of each instance's entry
    override: Callable[[Asked], Answer | None] = lambda _: None
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                asked = Asked(
                    parts.path.removeprefix("/dicom-web"),
                    query,
                    {name.lower(): text for name, text in self.headers.items()},
                )
                outer.asked.append(asked)
                self._give(outer.override(asked) or outer.answer(asked))

            def _give(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.blocks is None:
                    if "Content-Length" not in answer.headers and answer.status != 204:
                        self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)
                    self.close_connection = "Content-Length" in answer.headers
                    return
                self.close_connection = True
                self.end_headers()
                try:
                    for block in answer.blocks():
                        self.wfile.write(block)
                except OSError:
                    return

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The address of the service."""
        return f"{self.origin}/dicom-web"

    def fetched(self) -> list[str]:
        """SOP Instance UIDs that were retrieved, in order."""
        return [one.path.rpartition("/")[2] for one in self.asked if "/series/" in one.path]

    def searched(self) -> list[Asked]:
        """Searches for studies."""
        return [one for one in self.asked if one.path == "/studies"]

    def answer(self, asked: Asked) -> Answer:
        """As the standard says."""
        words = asked.path.strip("/").split("/")
        if self.too_much(asked):
            return Answer(413)
        if words == ["studies"]:
            return self._page(asked, self._studies(asked.query))
        if len(words) == 3 and words[2] == "instances":
            return self._page(asked, [self._entry(one) for one in self.datasets if one.StudyInstanceUID == words[1]])
        if len(words) == 6:
            found = [one for one in self.datasets if one.SOPInstanceUID == words[5]]
            return Answer(200, {"Content-Type": related_type()}, related(encoded(found[0]))) if found else Answer(404)
        return Answer(404)

    def _studies(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        first, _, last = query.get("StudyDate", "00000000-99999999").partition("-")
        wanted = query.get("ModalitiesInStudy")
        found: dict[str, dict[str, Any]] = {}
        for one in self.datasets:
            if wanted not in {None, one.Modality} or not first <= one.StudyDate <= last:
                continue
            entry = {tag: value for tag, value in one.to_json_dict().items() if tag in _STUDY_TAGS}
            if self.counts:
                count = sum(other.StudyInstanceUID == one.StudyInstanceUID for other in self.datasets)
                entry["00201208"] = {"vr": "IS", "Value": [count]}
            found.setdefault(one.StudyInstanceUID, entry)
        return list(found.values())

    def _entry(self, one: pydicom.Dataset) -> dict[str, Any]:
        tags = ("00080016", "00080018", "0020000D", "0020000E")
        facts = {tag: {"vr": "UI", "Value": [str(one[tag].value)]} for tag in tags}
        return {**facts, **self.instance}

    def _page(self, asked: Asked, entries: Sequence[Mapping[str, Any]]) -> Answer:
        limit = min(self.most, int(asked.query.get("limit", 1000)))
        offset = int(asked.query.get("offset", 0)) if self.pages else 0
        chosen = entries[:limit][offset:] if self.skips_first else entries[offset : offset + limit]
        if not chosen and self.end == 204:
            return Answer(204)
        return Answer(200, {"Content-Type": "application/dicom+json"}, json.dumps(chosen).encode())
