"""STOW-RS to a server that answers as a test says."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hospital.delivery import Outgoing
from hospital.delivery.settings import Stow
from hospital.delivery.stow import StowSender
from hospital.errors import DeadLetterError, TryAgainError
from tests.hospital.delivery.packages import package

UID = "1.2.3.4"


@contextmanager
def server(status: int, body: object = None, location: str = "") -> Iterator[tuple[str, list[str]]]:
    """A DICOMweb server of one answer; yields its address and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("content-length", 0)))
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            if location:
                self.send_header("location", location)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{found.server_address[1]}/dicom-web", asked
    finally:
        found.shutdown()
        found.server_close()


def referenced(*uids: str) -> dict[str, object]:
    items = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in uids]
    return {"00081199": {"vr": "SQ", "Value": items}}


def send(folder: Path, url: str) -> bool:
    path = folder / "object.dcm"
    path.write_bytes(b"DICM")
    given = StowSender(Stow(kind="stow", name="archive", url=url, timeout_seconds=5))
    return given.send(package(Outgoing(path, "1.2.3", UID)), lambda _: None).kept


def test_referenced_object_is_delivered(tmp_path: Path) -> None:
    with server(200, referenced(UID)) as (url, asked):
        assert send(tmp_path, url)
    assert asked == ["/dicom-web/studies"]


@pytest.mark.parametrize("body", [None, {}, [], "taken", referenced("1.2.3.5")])
def test_success_that_does_not_name_the_object_is_a_failure(tmp_path: Path, body: object) -> None:
    with server(200, body) as (url, _), pytest.raises(TryAgainError, match="did not take 1 of 1"):
        send(tmp_path, url)


def test_redirect_is_not_followed(tmp_path: Path) -> None:
    with (
        server(200, referenced(UID)) as (elsewhere, asked),
        server(307, location=f"{elsewhere}/studies") as (url, _),
        pytest.raises(TryAgainError, match="307"),
    ):
        send(tmp_path, url)
    assert asked == []


@pytest.mark.parametrize(("status", "kind"), [(401, DeadLetterError), (503, TryAgainError)])
def test_status_says_whether_to_try_again(tmp_path: Path, status: int, kind: type[Exception]) -> None:
    with server(status) as (url, _), pytest.raises(kind, match=str(status)):
        send(tmp_path, url)


def test_server_that_is_away_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(TryAgainError, match="does not answer"):
        send(tmp_path, "http://127.0.0.1:9/dicom-web")
