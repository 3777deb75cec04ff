"""A key, a folder of radiographs with their labels, and a DICOMweb server on loopback."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pydicom
import pytest

from pipeline.data.layout import DatasetInfo
from pipeline.data.sources import dicom
from serving.imaging.dicom.deidentify.pseudonyms import VARIABLE
from tests.serving.imaging.dicom.deidentify.planted import KEY, ROOT, radiograph

Fill = Callable[..., DatasetInfo]


def image(number: int, study: int = 1, patient: str = "Doe^Jane", **values: Any) -> bytes:
    """The radiograph of a number, each with pixels of its own."""
    pixels = (np.arange(32 * 64, dtype="<u2") * 31 % (4000 - number)).tobytes()
    given: dict[str, Any] = {
        "Rows": 32,
        "Columns": 64,
        "BodyPartExamined": "HAND",
        "ViewPosition": "PA",
        "PixelData": pixels,
    }
    return radiograph(
        SOPInstanceUID=f"{ROOT}.1.{number}", StudyInstanceUID=f"{ROOT}.3.{study}", PatientID=patient, **given | values
    )


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY.secret.decode())


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Label study 1 as normal and study 2 as fractured."""
    path = tmp_path / "labels.csv"
    path.write_text(f"study_instance_uid,label\n{ROOT}.3.1,normal\n{ROOT}.3.2,fractured\n")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Write two images of one patient's study and one of another's; files are named as modalities name them."""
    folder = tmp_path / "Doe_Jane"
    (folder / "STUDY1").mkdir(parents=True)
    (folder / "STUDY1" / "IM1").write_bytes(image(1))
    (folder / "STUDY1" / "IM2.dcm").write_bytes(image(2))
    (folder / "1.2.840.9").write_bytes(image(3, study=2, patient="Roe^Richard"))
    return folder


@pytest.fixture
def fill(tmp_path: Path, labels: Path) -> Fill:
    """Give a function that fills data/ of a project."""

    def filled(source: Path | str, **options: Any) -> DatasetInfo:
        given = {"labels": labels, "name": "set", "private_dir": tmp_path / "private", **options}
        return dicom.fill(tmp_path / "data", str(source), **given)

    return filled


class Server:
    """A DICOMweb server whose answers a test can change; `asked` are the paths of all requests."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.authorizations: set[str] = set()
        self.status = 200
        self.failures = 0
        self.knows_offset = True
        self.content_type = 'multipart/related; type="application/dicom"; boundary="a b"'
        self.url = ""

    def add(self, *contents: bytes) -> None:
        for content in contents:
            self.objects[str(pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID)] = content

    def answer(self, path: str) -> tuple[int, str, bytes]:
        self.asked.append(path)
        if self.failures:
            self.failures -= 1
            return 503, "text/plain", b"busy"
        if self.status != 200:
            return self.status, "text/plain", b""
        parts = urlsplit(path)
        names = parts.path.strip("/").split("/")[1:]
        headers = {uid: pydicom.dcmread(io.BytesIO(one)) for uid, one in self.objects.items()}
        if len(names) == 6:
            return 200, self.content_type, self._wrapped(self.objects[names[5]])
        found = list(headers.values())
        if len(names) == 1:
            found = list({one.StudyInstanceUID: one for one in found}.values())
        else:
            found = [one for one in found if one.StudyInstanceUID == names[1]]
        query = parse_qs(parts.query)
        first = int(query["offset"][0]) if self.knows_offset else 0
        page = found[first : first + min(2, int(query["limit"][0]))]
        return (
            (200, "application/dicom+json", json.dumps([_entry(one) for one in page]).encode())
            if page
            else (204, "", b"")
        )

    def _wrapped(self, content: bytes) -> bytes:
        if not self.content_type.startswith("multipart"):
            return content
        return b"--a b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--a b--\r\n"


def _entry(header: pydicom.Dataset) -> dict[str, Any]:
    tags = {
        "00080016": header.SOPClassUID,
        "00080018": header.SOPInstanceUID,
        "0020000D": header.StudyInstanceUID,
        "0020000E": header.SeriesInstanceUID,
    }
    return {tag: {"vr": "UI", "Value": [str(value)]} for tag, value in tags.items()}


@pytest.fixture
def server() -> Iterator[Server]:
    """Start a server on loopback; it pages by two whatever limit is asked for."""
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.authorizations.add(self.headers.get("authorization", ""))
            status, content_type, body = made.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            if 300 <= status < 400:
                self.send_header("Location", f"{made.url}/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{listening.server_port}/dicom-web"
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    listening.shutdown()
    listening.server_close()
