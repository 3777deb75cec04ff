"""DICOMweb: every object once, however the archive pages; its bytes, without redirects."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.archive import web
from pipeline.archive.addresses import Roots, parse
from pipeline.archive.manifest import Sources
from pipeline.errors import InputError
from serving.errors import ImageError

TAGS = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}


class _Archive(BaseHTTPRequestHandler):
    """Two studies of a CR and a CT series with three objects each; a page has at most two."""

    failures = 0
    asked: list[str] = []  # noqa: RUF012  shared by the requests of one test

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        names = parts.path.removeprefix("/dicom-web/").split("/")
        type(self).asked.append(self.headers.get("Authorization", ""))
        if type(self).failures:
            type(self).failures -= 1
            self._answer(503, b"", "text/plain")
        elif not parts.path.startswith("/dicom-web/"):
            self._answer(404, b"", "text/plain")
        elif names[-1] in TAGS:
            offset = int(given.get("offset", 0))
            rows = self._rows(names)[offset : offset + 2]
            self._answer(200 if rows else 204, json.dumps(rows).encode() if rows else b"", "application/dicom+json")
        elif names[-1] == "moved":
            self.send_response(302)
            self.send_header("Location", "/dicom-web/studies/1/series/1.CR/instances/1.CR.0")
            self.end_headers()
        elif names[-1] == "gone":
            self._answer(404, b"", "text/plain")
        else:
            content = (
                b"--x y\r\nContent-Type: application/dicom\r\n\r\nDICM\r\n--\r\n" + names[-1].encode() + b"\r\n--x y--"
            )
            self._answer(200, content, 'multipart/related; type="application/dicom"; boundary="x y"')

    def _rows(self, names: list[str]) -> list[dict[str, Any]]:
        above = names[-2] if len(names) > 1 else ""
        uids = {"studies": ["1", "2", "3"], "series": [f"{above}.CR", f"{above}.CT"]}.get(
            names[-1], [f"{above}.{number}" for number in range(3)]
        )
        rows = []
        for uid in uids:
            row: dict[str, Any] = {TAGS[names[-1]]: {"vr": "UI", "Value": [uid]}}
            if names[-1] == "series":
                row["00080060"] = {"vr": "CS", "Value": [uid[-2:]]}
            rows.append(row)
        return rows

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run that archive on loopback; give its root."""
    monkeypatch.setattr(web.time, "sleep", lambda _: None)
    _Archive.failures, _Archive.asked = 0, []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Archive) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
        server.shutdown()


def _fetch(uri: str, root: str) -> bytes:
    return web.fetch(parse(uri), Roots.of([], [root]))


def test_every_object_of_the_modalities_is_listed_once(pacs: str) -> None:
    found = list(Sources((pacs,), roots=(pacs,), modalities=("CR",)).entries(lambda _: None))
    assert [entry.uri for entry in found] == [
        f"{pacs}/studies/{study}/series/{study}.CR/instances/{study}.CR.{number}"
        for study in (1, 2, 3)
        for number in range(3)
    ]
    assert len({entry.id for entry in found}) == 9


def test_an_object_has_the_same_id_wherever_it_lies(pacs: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{pacs}/copy/studies/9/series/8/instances/1.CR.0\n")
    (copy,) = Sources((), (tmp_path / "list",), roots=(pacs,)).entries(lambda _: None)
    first = next(Sources((pacs,), roots=(pacs,)).entries(lambda _: None))
    assert copy.id == first.id


def test_an_object_is_read_whole(pacs: str) -> None:
    assert _fetch(f"{pacs}/studies/1/series/1.CR/instances/1.CR.0", pacs) == b"DICM\r\n--\r\n1.CR.0"


def test_an_archive_that_is_busy_is_asked_again(pacs: str) -> None:
    _Archive.failures = 2
    assert _fetch(f"{pacs}/studies/1/series/1.CR/instances/1.CR.0", pacs).startswith(b"DICM")


def test_an_archive_that_stays_busy_is_told(pacs: str) -> None:
    _Archive.failures = 99
    with pytest.raises(ImageError, match=r"the archive does not answer \(status 503\)"):
        _fetch(f"{pacs}/studies/1/series/1.CR/instances/1.CR.0", pacs)


@pytest.mark.parametrize(("name", "code"), [("moved", "unreadable"), ("gone", "missing")])
def test_redirects_are_not_followed_and_missing_objects_are_told(pacs: str, name: str, code: str) -> None:
    with pytest.raises(ImageError) as found:
        _fetch(f"{pacs}/{name}", pacs)
    assert found.value.code == code


def test_the_token_of_the_environment_is_sent(pacs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(web.VARIABLE, "secret")
    _fetch(f"{pacs}/studies/1/series/1.CR/instances/1.CR.0", pacs)
    assert _Archive.asked == ["Bearer secret"]


def test_what_is_no_dicomweb_is_one_line(pacs: str) -> None:
    root = pacs.removesuffix("/dicom-web")
    with pytest.raises(InputError, match="is it the root of DICOMweb"):
        list(Sources((f"{root}/elsewhere",), roots=(root,)).entries(lambda _: None))
