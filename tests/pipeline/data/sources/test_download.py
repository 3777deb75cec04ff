"""Downloading a published file, against a server on this machine that can misbehave in every way asked for."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from pipeline.data.sources.download import fetch, listing
from pipeline.errors import InputError

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Server:
    """Serves `content` at /file and a listing of it at /articles/1; the fields say how it misbehaves."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag = '"one"'
        self.cut_after: list[int] = []
        """How many bytes each of the next answers brings before the connection closes."""
        self.ignores_range = False
        self.busy = 0
        self.listing: bytes = b""
        self.asked: list[str | None] = []
        """The Range header of every request for the file."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            routes: ClassVar[dict[str, str]] = {"/articles/1": "listing", "/file": "file"}

            def do_GET(self) -> None:
                if self.path == "/moved":
                    self.send_response(302)
                    self.send_header("Location", "/file")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif self.path == "/away":
                    self.send_response(302)
                    self.send_header("Location", "ftp://127.0.0.1/file")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif self.path == "/file":
                    server.send_file(self)
                else:
                    known = self.path in self.routes
                    self.send_response(200 if known else 404)
                    self.send_header("Content-Length", str(len(server.listing)))
                    self.end_headers()
                    self.wfile.write(server.listing)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the overridden method
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.listing = json.dumps({"files": [self.entry()]}).encode()
        self._thread = Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def entry(self, **changes: object) -> dict[str, object]:
        """The listing's line about the file."""
        line = {
            "name": "set.zip",
            "size": len(CONTENT),
            "computed_md5": MD5,
            "supplied_md5": MD5,
            "download_url": f"{self.url}/file",
        }
        return {**line, **changes}

    def send_file(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        if self.busy:
            self.busy -= 1
            handler.send_response(503)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        same = handler.headers.get("If-Range", self.etag) == self.etag
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and same and not self.ignores_range else 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        handler.send_header("ETag", self.etag)
        rest = self.content[start:]
        handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        if self.cut_after:
            handler.wfile.write(rest[: self.cut_after.pop(0)])
            handler.close_connection = True
        else:
            handler.wfile.write(rest)

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Server()
    yield running
    running.stop()


def get(server: Server, target: Path, path: str = "/file", size: int = len(CONTENT), md5: str = MD5) -> Path:
    return fetch(f"{server.url}{path}", target, size, md5, pause=0.001)


def test_the_file_arrives_whole_and_alone(server: Server, tmp_path: Path) -> None:
    target = get(server, tmp_path / "set.zip")
    assert target.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [target]


def test_a_kept_file_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path / "set.zip")
    get(server, tmp_path / "set.zip")
    assert len(server.asked) == 1


def test_a_kept_file_that_is_not_the_listed_one_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(CONTENT[::-1])
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT


def test_a_cut_connection_is_resumed_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1000, 2000]
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=3000-"]


def test_a_killed_download_is_resumed_by_the_next_one(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(CONTENT[:500])
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT
    assert server.asked == ["bytes=500-"]


def test_a_file_that_changed_meanwhile_is_begun_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(b"of an older version")
    (tmp_path / "set.zip.part.version").write_text('"older"')
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.ignores_range = True
    server.cut_after = [1000]
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.busy = 2
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT


def test_a_server_that_stays_busy_is_given_up_with_one_line(server: Server, tmp_path: Path) -> None:
    server.busy = 100
    with pytest.raises(InputError, match=r"broke off at 0 of 10240 bytes \(status 503\)"):
        get(server, tmp_path / "set.zip")


def test_a_redirect_is_followed(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path / "set.zip", "/moved").read_bytes() == CONTENT


def test_a_redirect_to_another_protocol_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be followed"):
        get(server, tmp_path / "set.zip", "/away")


def test_a_wrong_checksum_deletes_what_arrived(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wrong checksum and was deleted"):
        get(server, tmp_path / "set.zip", md5="0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_than_listed_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="offers 10240 bytes where the listing says 10000"):
        get(server, tmp_path / "set.zip", size=10000)
    assert not (tmp_path / "set.zip").exists()


def test_a_missing_file_is_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="answered with status 404"):
        get(server, tmp_path / "set.zip", "/nowhere")


def test_a_server_that_is_away_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/file: broke off at 0 of 3 bytes"):
        fetch("http://127.0.0.1:9/file", tmp_path / "set.zip", 3, MD5, pause=0.001)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "articles/1", "http://"])
def test_only_http_addresses_are_asked(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an http or https address"):
        fetch(url, tmp_path / "set.zip", 3, MD5)


def test_a_listing_gives_name_size_checksum_and_address(server: Server) -> None:
    (entry,) = listing(f"{server.url}/articles/1")
    assert (entry.name, entry.size, entry.md5, entry.url) == ("set.zip", len(CONTENT), MD5, f"{server.url}/file")


def test_a_listed_name_cannot_leave_the_download_folder(server: Server) -> None:
    server.listing = json.dumps({"files": [server.entry(name="../../set.zip")]}).encode()
    assert listing(f"{server.url}/articles/1")[0].name == "set.zip"


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"files": [{"name": "a"}]}', b'{"files": 3}'])
def test_an_answer_that_is_no_listing_is_one_line(server: Server, content: bytes) -> None:
    server.listing = content
    with pytest.raises(InputError, match="is not a listing of published files"):
        listing(f"{server.url}/articles/1")


def test_a_listing_that_is_not_there_is_one_line(server: Server) -> None:
    with pytest.raises(InputError, match="answered with status 404"):
        listing(f"{server.url}/articles/2")
