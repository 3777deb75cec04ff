"""The worklist in a real browser: login, refresh, and that everybody can read it on any screen."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from hospital.parts import Parts
from hospital.worklist.server import WorklistServer
from tests.hospital.worklist.rows import PASSWORD, START, Browser, add_images, add_study
from tests.ports import free_port

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=document.title=1>"
VIEWER = "https://pacs.example.org/viewer?StudyInstanceUIDs={study_uid}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """Start Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


class Site:
    """A worklist that is served, and pages on it; what the page's policy blocks fails the test."""

    def __init__(self, chromium: Chromium, parts: Parts, folder: Path) -> None:
        self._chromium, self.parts = chromium, parts
        self.port = free_port()
        self.browser = Browser(parts, folder, port=self.port, viewer=VIEWER, refresh_seconds=1)
        self._server = WorklistServer(self.browser.settings, parts, self.browser.access)
        self._server.start()
        self.complaints: list[str] = []

    def open(self, width: int = 1280, scheme: Any = "light") -> Page:
        size = ViewportSize(width=width, height=800)
        page = self._chromium.new_context(viewport=size, color_scheme=scheme).new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if "Security" in line.text else None)
        page.goto(f"http://127.0.0.1:{self.port}/")
        return page

    def log_in(self, page: Page) -> None:
        page.get_by_label("Name").fill("reader")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("As of")).to_be_visible()

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def served(chromium: Chromium, parts: Parts, tmp_path: Path) -> Iterator[Site]:
    """Serve a worklist with a study of every kind in it, one of them hostile."""
    add_study(parts, "1.1", "high", START, study_description=HOSTILE, name="Long" * 15)
    add_study(parts, "1.2", "possible", START + 60)
    add_study(parts, "1.3", "none", START + 120)
    add_study(parts, "1.4", "", START + 180)
    add_images(parts, "1.5", "received", "scored", "dead", StudyDescription="Wrist")
    site = Site(chromium, parts, tmp_path)
    yield site
    site.close()
    assert site.complaints == []


def violations(page: Page) -> list[str]:
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run(document, { resultTypes: ['violations'] })).violations")
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize(
    ("width", "scheme"), [(360, "light"), (1280, "dark"), pytest.param(1280, "light", marks=pytest.mark.slow)]
)
def test_everybody_can_read_it_without_scrolling_sideways(served: Site, width: int, scheme: str) -> None:
    page = served.open(width, scheme)
    assert violations(page) == []
    served.log_in(page)
    assert page.locator(".study").count() == 5
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_header_of_an_image_is_only_text(served: Site) -> None:
    page = served.open()
    served.log_in(page)
    expect(page.get_by_text(HOSTILE)).to_be_visible()
    assert page.title() == "Worklist"


def test_link_opens_the_viewer_and_says_whose_study(served: Site) -> None:
    page = served.open()
    served.log_in(page)
    link = page.get_by_role("link", name="Open the study of Doe, Jane, in a new tab").first
    expect(link).to_have_attribute("href", VIEWER.format(study_uid="1.2"))


def test_new_study_appears_by_itself_and_the_focus_stays(served: Site) -> None:
    page = served.open()
    served.log_in(page)
    page.locator(".button").first.focus()
    add_study(served.parts, "1.6", "high", START - 60)
    expect(page.locator(".study")).to_have_count(6, timeout=15_000)
    assert page.evaluate("document.activeElement.closest('.study').dataset.key") == "1.1"


def test_page_whose_session_ended_shows_the_login_instead(served: Site) -> None:
    page = served.open()
    served.log_in(page)
    served.browser.access.sessions._open.clear()
    expect(page.get_by_label("Password")).to_be_visible(timeout=15_000)
    assert page.get_by_text("Doe, Jane").count() == 0


def test_page_that_cannot_be_updated_says_so(served: Site) -> None:
    page = served.open()
    served.log_in(page)
    served.close()
    expect(page.get_by_text("Not updated since")).to_be_visible(timeout=20_000)


def test_logout_leads_to_the_login(served: Site) -> None:
    page = served.open()
    served.log_in(page)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible()
