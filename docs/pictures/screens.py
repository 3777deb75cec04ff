"""Pictures of the web page, and its PNG icons from icon.svg: python docs/pictures/screens.py BUNDLE FOLDER.

BUNDLE is a bundle with samples; the pictures are written into FOLDER, the icons beside the SVG. Needs Chromium, and npm
for that of the page that answers on a device.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

import uvicorn
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from benchmarks.web.browser import open_page, served
from pipeline.files import project_root
from pipeline.packaging import web
from serving import bundle
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.settings import Settings

_WEB = Path(__file__).parents[2] / "serving/web"
_SIZES = {"phone": (360, 740), "screen": (1280, 800), "wall": (2560, 1440)}
_PORT = 3119


def _serve(folder: Path) -> None:
    app = create_app()
    app.state.engine = Engine(bundle.read(folder), Settings())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=_PORT, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)


def _draw_icons(browser: Browser) -> None:
    square = (_WEB / "icon.svg").read_text(encoding="utf-8")
    # Phones cut maskable icons to their own shapes: the ground fills the square, the mark keeps clear of its edge.
    full = square.replace(' rx="112"', "").replace('viewBox="0 0 512 512"', 'viewBox="-64 -64 640 640"')
    full = full.replace('width="512" height="512"', 'x="-64" y="-64" width="640" height="640"')
    for name, svg, side in (("192", square, 192), ("512", square, 512), ("maskable-512", full, 512)):
        page = browser.new_page(viewport=ViewportSize(width=side, height=side))
        page.set_content(f"<style>* {{ margin: 0; }} svg {{ display: block; width: {side}px; }}</style>{svg}")
        page.screenshot(path=_WEB / f"icon-{name}.png", omit_background=True)


def _photograph(browser: Browser, folder: Path) -> None:
    for size, (width, height) in _SIZES.items():
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport=ViewportSize(width=width, height=height),
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page.goto(f"http://127.0.0.1:{_PORT}/")
            page.locator(".sample").first.wait_for()
            page.screenshot(path=folder / f"page-{size}-{scheme}-empty.png")
            samples = page.locator(".sample").count()
            for number in range(samples):
                page.evaluate("number => document.querySelectorAll('.sample')[number].click()", number)
            for number in range(samples):
                page.locator("#cases li[data-state=answered]").nth(number).wait_for()
            # A picture drawn with a fracture, as the page is meant to be met.
            wanted = page.locator("#cases .case", has_text="Upper arm")
            (wanted if wanted.count() else page.locator("#cases .case")).first.click()
            page.screenshot(path=folder / f"page-{size}-{scheme}.png")


def _photograph_device(browser: Browser, folder: Path, target: Path) -> None:
    """The page that answers by itself, after its server is gone."""
    with tempfile.TemporaryDirectory() as name:
        page = Path(name) / "page"
        web.write_page(bundle.read(folder), web.install_runtime(project_root() / ".cache/web-runtime"), page)
        with served(page) as address:
            context = browser.new_context(viewport=ViewportSize(width=412, height=915), is_mobile=True, has_touch=True)
            tab = open_page(context, address).page
        tab.locator(".sample", has_text="Upper arm").click()
        tab.locator("#cases li[data-state=answered]").wait_for(timeout=60_000)
        tab.evaluate("scrollTo(0, 0)")
        tab.screenshot(path=target / "page-device.png")


def main(folder: Path, target: Path) -> None:
    """Draw the icons and write the pictures into `target`."""
    _serve(folder)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        _draw_icons(browser)
        _photograph(browser, target)
        _photograph_device(browser, folder, target)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
