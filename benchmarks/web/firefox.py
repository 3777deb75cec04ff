"""`python -m benchmarks.web.firefox`: does the page in Firefox answer as the service does.

Firefox is spoken to over WebDriver BiDi (https://w3c.github.io/webdriver-bidi/), which needs no driver beside it.
"""

import argparse
import asyncio
import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import measure
from benchmarks.web import parity
from benchmarks.web.browser import ASK, PATIENCE_MS, READY, served
from pipeline.files import project_root
from pipeline.packaging import web
from serving import bundle
from serving.predictor import Predictor

FIREFOX = "firefox"
_PREFERENCES = {
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",  # nothing is asked for but the page
}
_THERE = """() => document.querySelector("#welcome") !== null
  && document.querySelector("#open-about:not([hidden])") !== null"""

# Not input.setFiles: the page could not read what it had set.
_ASK_ABOUT = f"""(encoded) => {{
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  return ({ASK})([new File([bytes], "image")]);
}}"""


class Bidi:
    """A connection to a browser: commands in, results out."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last = 0

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command; RuntimeError with the browser's words where it fails."""
        self._last += 1
        await self._socket.send_json({"id": self._last, "method": method, "params": params})
        while True:
            told: dict[str, Any] = await self._socket.receive_json()
            if told.get("id") != self._last:
                continue  # an event, of which none is awaited
            if told["type"] == "error":
                raise RuntimeError(f"{method}: {told['error']}: {told['message']}")
            result: dict[str, Any] = told["result"]
            return result


class Firefox:
    """An open tab, asked as `benchmarks.web.browser.Device` is."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bidi: Bidi, tab: str) -> None:
        self._loop, self._bidi, self._tab = loop, bidi, tab

    def open_page(self, address: str) -> None:
        """Visit the page, and wait until it is there; TimeoutError where it does not come."""
        self._do(self._bidi.send("browsingContext.navigate", context=self._tab, url=f"{address}?run=", wait="complete"))
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not self.evaluate(_THERE):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{address}: the page did not come")
            time.sleep(0.2)

    def evaluate(self, function: str, *arguments: object) -> Any:
        """What a function of the page, given as text, returns; values go in and come out as JSON."""
        call = f"({function})(...{json.dumps(arguments)})"
        found = self._evaluated(f"Promise.resolve({call}).then((value) => JSON.stringify(value ?? null))")
        return json.loads(found["value"])

    def ask(self, content: bytes) -> dict[str, Any]:
        """What the page answers to a file, as `benchmarks.web.browser.Device.ask` gives it."""
        self.evaluate(READY)
        found: dict[str, Any] = self.evaluate(_ASK_ABOUT, base64.b64encode(content).decode())[0]
        return found

    def processor_seconds(self) -> float:
        """Nothing: Firefox does not tell."""
        return 0.0

    def _evaluated(self, expression: str) -> dict[str, Any]:
        told = self._do(
            self._bidi.send(
                "script.evaluate", expression=expression, target={"context": self._tab}, awaitPromise=True,
            )
        )  # fmt: skip
        if told["type"] == "exception":
            raise RuntimeError(told["exceptionDetails"]["text"])
        result: dict[str, Any] = told["result"]
        return result

    def _do(self, command: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._loop.run_until_complete(command)
        return found


@contextmanager
def firefox(program: str = FIREFOX) -> Iterator[Firefox]:
    """Start Firefox with a profile of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in _PREFERENCES.items())
        (Path(profile) / "user.js").write_text("\n".join(lines))
        said = Path(profile) / "said"
        with said.open("w") as errors:
            running = subprocess.Popen(
                [program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"],
                stderr=errors,
            )
        loop = asyncio.new_event_loop()
        try:
            yield from _tab_of(loop, _address(running, said))
        finally:
            running.terminate()
            running.wait()
            loop.close()


def _tab_of(loop: asyncio.AbstractEventLoop, address: str) -> Iterator[Firefox]:
    """Connect to a browser, and close the connection behind its use."""
    session = loop.run_until_complete(_session())
    try:
        socket = loop.run_until_complete(session.ws_connect(f"{address}/session", max_msg_size=0))
        bidi = Bidi(socket)
        loop.run_until_complete(bidi.send("session.new", capabilities={}))
        tree = loop.run_until_complete(bidi.send("browsingContext.getTree"))
        yield Firefox(loop, bidi, tree["contexts"][0]["context"])
    finally:
        loop.run_until_complete(session.close())


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


def _address(running: subprocess.Popen[bytes], said: Path) -> str:
    """Where Firefox listens, which it says among its errors."""
    while running.poll() is None:
        if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", said.read_text(errors="replace")):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError("Firefox ended before it listened")


def main() -> None:
    """Print the table of `python -m benchmarks.web` for Firefox."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="folder of a bundle; by default the one that would be served")
    parser.add_argument("--data", type=Path, default=Path("data/images"), help="folder of radiographs")
    parser.add_argument("--images", type=int, default=60, help="how many of them to compare")
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="folders of further files to compare")
    parser.add_argument("--firefox", default=FIREFOX, help="the program")
    given = parser.parse_args()
    if shutil.which(given.firefox) is None:
        parser.error(f"{given.firefox}: not found; name Firefox with --firefox")
    root = project_root()
    opened = bundle.read(given.bundle or bundle.find_default(root))
    predictor = Predictor(opened)
    version = subprocess.run([given.firefox, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{measure.machine(['ai-edge-litert'])}, {version}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "page"
        web.write_page(opened, web.install_runtime(root / web.RUNTIMES), folder)
        with served(folder) as address, firefox(given.firefox) as device:
            device.open_page(address)
            print(parity.HEAD, flush=True)
            found: list[parity.Compared] = []
            for files in (parity.radiographs(given.data, given.images), *map(parity.of_folder, given.files)):
                rows = list(parity.compare(predictor, device, files))
                found += rows
                print("\n".join(parity.rows(rows)), flush=True)
            print("\n".join(parity.summary(found)))


if __name__ == "__main__":
    main()
