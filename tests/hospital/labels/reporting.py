"""A FHIR server of reports, which answers as a test says."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class ReportServer:
    """Gives its reports, page by page; `status`, `location`, `next_page` and `body` replace what it says."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}/fhir"
        self.reports: list[dict[str, Any]] = []
        self.others: list[dict[str, Any]] = []
        self.asked: list[dict[str, list[str]]] = []
        self.authorizations: list[str] = []
        self.status, self.location, self.next_page = 200, "", ""
        self.body: bytes | None = None

    def answer(self, target: str) -> bytes:
        """The body for a request."""
        if self.body is not None:
            return self.body
        found = urlsplit(target)
        if found.path == "/fhir/metadata":
            return json.dumps({"resourceType": "CapabilityStatement"}).encode()
        assert found.path == "/fhir/DiagnosticReport"
        asked = parse_qs(found.query)
        self.asked.append(asked)
        start, count = int(asked.get("page", ["0"])[0]), int(asked["_count"][0])
        page = self.reports[start : start + count]
        link = []
        if start + count < len(self.reports):
            url = self.next_page or f"{self.address}/DiagnosticReport?_count={count}&page={start + count}"
            link = [{"relation": "next", "url": url}]
        entry = [{"resource": one} for one in (*page, *self.others)]
        return json.dumps({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entry}).encode()


@contextmanager
def reporting() -> Iterator[ReportServer]:
    """Run a server without reports."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.authorizations.append(self.headers.get("authorization", ""))
            content = told.answer(self.path)
            self.send_response(told.status)
            if told.location:
                self.send_header("location", told.location)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = ReportServer(found.server_address[1])
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield told
    finally:
        found.shutdown()
        found.server_close()
