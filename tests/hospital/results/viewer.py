"""OHIF before Orthanc, in a network namespace of its own: what it draws of a report; prints what it saw as JSON.

Orthanc listens on every address, whatever it is told. `unshare` starts this module where there is only a loopback.
"""

import io
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pydicom
from playwright.sync_api import Page, sync_playwright
from pydicom.uid import JPEG2000, JPEG2000Lossless

from hospital import demo
from tests.hospital.peers import Pacs, RunningGateway, dcmtk, dicom_destination, eventually

PAGES = Path(__file__).parents[1] / "ohif/node_modules/@ohif/app/dist"
PASSWORD = "orthanc"  # noqa: S105  of a server on the loopback of a namespace
_SIZE = (1280, 900)
_LOAD_SECONDS, _SETTLE_SECONDS = 120, 1
_PLACE = "element => { const at = element.getBoundingClientRect(); return [at.x, at.y, at.width, at.height]; }"
_SETTINGS = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "investigationalUseDialog": {"option": "never"},
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "defaultDataSourceName": "orthanc",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "orthanc",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "wadoUriRoot": "/dicom-web",
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "qidoSupportsIncludeField": False,
                "supportsReject": False,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "omitQuotationForMultipartRequest": True,
            },
        }
    ],
}


def _orthanc(path: str, **headers: str) -> httpx.Response:
    address = f"http://127.0.0.1:{demo._REST_PORT}{path}"
    return httpx.get(address, headers=headers, auth=("demo", PASSWORD), trust_env=False, timeout=30)


class _Pages(SimpleHTTPRequestHandler):
    """The viewer's built pages, its settings, and Orthanc's DICOMweb behind the same origin."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/app-config.js":
            self._answer(200, "text/javascript", f"window.config = {json.dumps(_SETTINGS)};".encode())
        elif path.startswith("/dicom-web/"):
            self._hand_on()
        else:
            if not (PAGES / path.lstrip("/")).is_file():
                self.path = "/index.html"  # a page of the application's own router
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Tell nothing."""

    def _hand_on(self) -> None:
        answer = _orthanc(self.path, accept=self.headers.get("accept", "*/*"))
        self._answer(answer.status_code, answer.headers.get("content-type", ""), answer.content)

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind or "application/octet-stream")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def _served() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: _Pages(*given, directory=str(PAGES)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@contextmanager
def _page(complaints: list[str]) -> Iterator[Page]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        page = chromium.new_page(viewport={"width": _SIZE[0], "height": _SIZE[1]})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        yield page
        chromium.close()


def main(words: list[str]) -> None:
    """Send files to both, wait for the results, and look at the reports; WORDS: Orthanc's program, folder of *.dcm."""
    program, pictures = words
    demo._loopback_up()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with demo._running([program, str(demo._orthanc(folder, PASSWORD))], folder / "orthanc.log"):
            demo._until("Orthanc", lambda: demo._asked("/statistics", PASSWORD) is not None)
            found = delivered(folder, sorted(Path(pictures).glob("*.dcm")))
    print(json.dumps(found))


def delivered(folder: Path, files: list[Path]) -> dict[str, Any]:
    """By file: what Orthanc holds of its study once a gateway has delivered there, and what OHIF shows of it."""
    port = demo._GATEWAY_PORT  # where Orthanc reports commitment to
    table = dicom_destination(Pacs(port=demo._PACS_PORT), timeout_seconds=60)
    with RunningGateway(folder, {"receiver": {"port": port}}, table) as gateway:
        for file in files:
            for title, at in (("PACS", demo._PACS_PORT), ("FRACTURE", port)):
                command = [dcmtk("storescu"), *_syntax(file), "-aet", "FRACTURE", "-aec", title, "127.0.0.1", str(at)]
                subprocess.run([*command, str(file)], check=True)
        eventually(lambda: [one["delivery"].get("pacs") for one in gateway.worklist()] == ["done"] * len(files))
    complaints: list[str] = []
    with _served() as address, _page(complaints) as page:
        return {file.stem: {**_stored(file), **_shown(page, address, file)} for file in files} | {"": complaints}


def _syntax(file: Path) -> list[str]:
    """How `storescu` is told to offer the transfer syntax of a file."""
    syntax = pydicom.dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID
    return ["-xv"] if syntax == JPEG2000Lossless else ["-xw"] if syntax == JPEG2000 else []


def _stored(file: Path) -> dict[str, Any]:
    study = pydicom.dcmread(file, stop_before_pixels=True).StudyInstanceUID
    return {"modalities": sorted(one["MainDicomTags"]["Modality"] for one in _series(study))}


def _series(study: str) -> list[dict[str, Any]]:
    studies = demo._asked("/studies?expand", PASSWORD)
    (found,) = (one for one in studies if one["MainDicomTags"]["StudyInstanceUID"] == study)
    return list(demo._asked(f"/studies/{found['ID']}/series", PASSWORD))


def _shown(page: Page, address: str, file: Path) -> dict[str, Any]:
    """Lines on the canvas, its place in the screenshot, and the lines of the report in pixels of the image."""
    header = pydicom.dcmread(file, stop_before_pixels=True)
    (series,) = (one for one in _series(header.StudyInstanceUID) if one["MainDicomTags"]["Modality"] == "SR")
    report = _object(series["Instances"][0])
    uid = series["MainDicomTags"]["SeriesInstanceUID"]
    page.goto(f"{address}/viewer?StudyInstanceUIDs={header.StudyInstanceUID}&initialSeriesInstanceUID={uid}")
    line = page.locator("svg.svg-layer polyline")
    line.first.wait_for(state="attached", timeout=_LOAD_SECONDS * 1000)
    for name in ("Skip all", "No"):  # a tour, and the question whether to edit the report
        button = page.get_by_text(name, exact=True)
        if button.count():
            button.click()
    page.wait_for_timeout(_SETTLE_SECONDS * 1000)
    page.screenshot(path=str(file.with_suffix(".png")))
    return {
        "image": [int(header.Columns), int(header.Rows)],
        "canvas": page.evaluate(f"(({_PLACE}))(document.querySelector('.cornerstone-canvas'))"),
        "words": page.locator("svg.svg-layer text").all_text_contents(),
        "drawn": line.evaluate_all("lines => lines.map(line => [...line.points].map(at => [at.x, at.y]))"),
        "report": [[float(value) for value in one] for one in _lines(report)],
    }


def _object(instance: str) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(_orthanc(f"/instances/{instance}/file").content))


def _lines(item: pydicom.Dataset) -> list[list[float]]:
    """Graphic Data of every region below an item."""
    own = [list(item.GraphicData)] if item.get("ValueType") == "SCOORD" else []
    return own + [found for one in item.get("ContentSequence", []) for found in _lines(one)]


if __name__ == "__main__":
    main(sys.argv[1:])
