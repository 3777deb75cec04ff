"""An exported page in headless Chromium, asked as a device would be."""

import functools
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
_ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update")
_NO_GPU = ("--disable-gpu",)
_SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
"""An adapter for WebGPU that is a program: it shows whether the page runs and answers with one, not how fast."""
PATIENCE_MS = 120_000
READY = """async () => {
  if (window.onDevice) return;
  const { service } = await import(document.querySelector('script[src$="web/app.js"]').src);
  window.onDevice = service;
  const asked = document.createElement("input");
  document.body.append(Object.assign(asked, { type: "file", multiple: true, hidden: true, id: "asked" }));
}"""
ASK = """(given) => Promise.all(Array.from(given ?? document.querySelector("#asked").files, async (file) => {
  try {
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error("no answer")), 180_000));
    const asked = window.onDevice.predict(file, { signal: new AbortController().signal });
    const found = await Promise.race([asked, late]);
    const { preview: _, explanation: { heatmap: __, ...explanation }, ...answer } = found;
    return { answer: { ...answer, explanation } };
  } catch (error) {
    return { error: { code: error.code ?? error.name, message: error.message } };
  }
}))"""


class Quiet(SimpleHTTPRequestHandler):
    """A plain server of static files."""

    extensions_map: Mapping[str, str] = {  # type: ignore[assignment]
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".webmanifest": "application/manifest+json",
    }

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """Serve a folder of static files on a port of this machine; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    running = threading.Thread(target=server.serve_forever, daemon=True)
    running.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        running.join()


@contextmanager
def chromium(*, webgpu: bool = False) -> Iterator[Browser]:
    """Start Chromium, with an adapter for WebGPU or without."""
    with sync_playwright() as playwright:
        arguments = [*_ARGUMENTS, *(_SOFTWARE_GPU if webgpu else _NO_GPU)]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@dataclass(frozen=True)
class Device:
    """A page that is installed and open."""

    page: Page

    def ask(self, content: bytes) -> dict[str, Any]:
        """What the page answers to a file: {"answer": ...} without its pictures, or {"error": {code, message}}."""
        return self.ask_together([content])[0]

    def ask_together(self, contents: list[bytes]) -> list[dict[str, Any]]:
        """What the page answers to files that it is asked about at the same time, each as in `ask`."""
        self.page.evaluate(READY)
        with tempfile.TemporaryDirectory() as name:
            paths = [Path(name) / f"image{number}" for number in range(len(contents))]
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            self.page.set_input_files("#asked", paths)
            found: list[dict[str, Any]] = self.page.evaluate(ASK)
        return found

    def memory(self) -> int:
        """Bytes that the process of the page and its worker holds: resident, its share of what is shared."""
        return max(_proportional(int(one["id"])) for one in _processes(self.page.context) if one["type"] == "renderer")

    def processor_seconds(self) -> float:
        """Processor time that the browser took: unlike time on a clock, other work adds little to it."""
        return processor_seconds(self.page.context)


def processor_seconds(context: BrowserContext) -> float:
    """Processor time that the living processes of a context's browser have taken."""
    return sum(float(one["cpuTime"]) for one in _processes(context))


def _processes(context: BrowserContext) -> list[dict[str, Any]]:
    browser = context.browser
    assert browser is not None  # noqa: S101  a context of a launched browser has one
    found: list[dict[str, Any]] = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return found


def _proportional(process: int) -> int:
    """Pss of a process, in bytes (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def open_page(context: BrowserContext, address: str, run: str = "") -> Device:
    """Visit the page for the first time, or again, and wait until it is there.

    `run` says how its network runs, as network.js names it; empty lets it choose. Nothing is loaded before it is asked.
    """
    page = context.new_page()
    page.goto(f"{address}?run={run}")
    page.wait_for_selector("#welcome", timeout=PATIENCE_MS)
    page.wait_for_selector("#open-about:not([hidden])", timeout=PATIENCE_MS)
    return Device(page)
