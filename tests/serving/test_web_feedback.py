"""What a reader says on the page: by mouse and by keyboard, kept by the service and over a reload."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from serving.http import problems
from serving.store.database import Database
from serving.store.records import COMMENTS, FeedbackRecord
from tests.serving.test_web import PHONE, SCREEN, _serve, _violations

pytestmark = pytest.mark.browser


@dataclass(frozen=True)
class Site:
    """A service that takes feedback, and a tab with one answered image."""

    database: Database
    page: Page
    image: Path
    name: str

    def open(self) -> None:
        """Give the image to the page and wait for the answer."""
        self.page.set_input_files("#choose-files", str(self.image))
        expect(self.page.get_by_role("region", name="Your reading")).to_be_visible(timeout=30_000)

    def press(self, name: str) -> None:
        """Press a button of the reader's part."""
        self.page.get_by_role("region", name="Your reading").get_by_role("button", name=name, exact=True).click()

    def says(self, words: str) -> None:
        """Wait until the reader's part says this."""
        status = self.page.get_by_role("region", name="Your reading").get_by_role("status")
        expect(status).to_contain_text(words, timeout=20_000)

    @property
    def opinion(self) -> FeedbackRecord | None:
        """What the store holds now."""
        found = self.database.opinions()
        return found[-1] if found else None


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@contextmanager
def _site(bundle_folder: Path, folder: Path, browser: Browser, size: Any = SCREEN) -> Iterator[Site]:
    url = f"sqlite:///{folder / 'answers.db'}"
    database = Database(url)
    database.upgrade()
    with _serve(bundle_folder, store_url=url, feedback_key="f" * 32) as address:
        context = browser.new_context(viewport=size)
        page = context.new_page()
        page.goto(address)
        image = sorted((bundle_folder / "samples").iterdir())[0]
        site = Site(database, page, image, image.name)
        site.open()
        yield site
        context.close()
    database.close()


@pytest.fixture
def site(bundle_folder: Path, tmp_path: Path, browser: Browser) -> Iterator[Site]:
    """Serve with a store, and open an image."""
    with _site(bundle_folder, tmp_path, browser) as made:
        yield made


def test_an_opinion_is_kept_and_shown_in_the_list(site: Site) -> None:
    site.says("Not reviewed yet")
    site.press("Agree")
    site.says("Kept: you agree")
    assert site.opinion is not None
    assert (site.opinion.opinion, site.opinion.saw_answer) == ("agree", True)
    expect(site.page.locator("#cases")).to_contain_text("Reviewed: you agree")


def test_another_opinion_replaces_it_and_undo_brings_it_back(site: Site) -> None:
    site.press("Agree")
    site.says("Kept: you agree")
    site.press("Disagree")
    site.says("Kept: you disagree")
    site.press("Undo")
    site.says("Kept: you agree")
    assert site.opinion is not None
    assert site.opinion.opinion == "agree"
    site.press("Undo")
    site.says("Not reviewed yet")
    assert site.opinion is None


def test_label_and_reason_are_kept(site: Site) -> None:
    site.press("Disagree")
    site.page.get_by_label("Final label").select_option("fractured")
    site.page.get_by_text("Reason", exact=True).click()
    site.page.get_by_label("Cast or splint").check()
    site.says("Kept: you disagree")
    assert site.opinion is not None
    assert (site.opinion.label, site.opinion.comments) == ("fractured", ["cast"])


def _drag(page: Page, begin: tuple[float, float], end: tuple[float, float]) -> None:
    box = page.locator("#stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + begin[0] * box["width"], box["y"] + begin[1] * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=5)
    page.mouse.up()


def test_a_box_is_drawn_moved_and_resized_with_the_mouse(site: Site) -> None:
    site.press("Disagree")
    site.press("Mark a fracture")
    _drag(site.page, (0.3, 0.3), (0.5, 0.5))
    site.says("1 box")
    assert site.opinion is not None
    assert site.opinion.boxes is not None
    assert site.opinion.boxes[0] == pytest.approx([0.3, 0.3, 0.5, 0.5], abs=0.02)
    _drag(site.page, (0.4, 0.4), (0.5, 0.45))
    site.says("1 box")
    assert site.opinion.boxes is not None
    assert site.opinion.boxes[0] == pytest.approx([0.4, 0.35, 0.6, 0.55], abs=0.02)
    _drag(site.page, (0.6, 0.55), (0.7, 0.7))
    site.says("1 box")
    assert site.opinion.boxes is not None
    assert site.opinion.boxes[0] == pytest.approx([0.4, 0.35, 0.7, 0.7], abs=0.02)


def test_everything_can_be_said_with_the_keyboard_alone(site: Site) -> None:
    page = site.page
    page.get_by_role("region", name="Your reading").get_by_role("button", name="Disagree", exact=True).focus()
    page.keyboard.press("Space")
    site.says("Kept: you disagree")
    assert page.evaluate("document.activeElement.textContent") == "Disagree"
    page.locator(".reading-mark").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Shift+ArrowDown")
    site.says("1 box")
    assert site.opinion is not None
    assert site.opinion.boxes is not None
    assert site.opinion.boxes[0] == pytest.approx([0.35, 0.4, 0.55, 0.65], abs=1e-3)
    page.keyboard.press("Delete")
    site.says("Kept: you disagree.")
    assert site.opinion.boxes is None
    page.keyboard.press("Control+z")
    site.says("1 box")
    page.keyboard.press("Escape")
    assert page.get_by_role("button", name="Move", exact=True).get_attribute("aria-pressed") == "true"


def test_what_was_said_survives_a_reload_and_can_be_changed_after_it(site: Site) -> None:
    site.press("Disagree")
    site.says("Kept: you disagree")
    before = site.opinion
    site.page.reload()
    site.open()
    site.says("Kept: you disagree")
    site.press("Agree")
    site.says("Kept: you agree")
    assert before is not None
    assert site.opinion is not None
    assert (site.opinion.answer_id, site.opinion.opinion) == (before.answer_id, "agree")


def test_the_session_remembers_neither_image_nor_name(site: Site) -> None:
    site.press("Agree")
    site.says("Kept: you agree")
    kept = site.page.evaluate("sessionStorage.getItem('fracture-reviews')")
    assert site.name not in kept
    assert len(kept) < 600
    assert site.page.evaluate("localStorage.length") == 0


def test_a_store_that_is_away_is_told_and_the_opinion_can_be_sent_again(site: Site) -> None:
    page = site.page
    problem = {"code": "store_unavailable", "detail": "away", "status": 503, "request_id": "r"}
    page.route("**/feedback", lambda route: route.fulfill(status=503, json=problem))
    site.press("Agree")
    site.says("Your reading is not kept yet")
    page.unroute("**/feedback")
    site.press("Try again")
    site.says("Kept: you agree")


def test_a_token_that_is_not_accepted_is_told(site: Site) -> None:
    problem = {"code": "feedback_refused", "detail": "expired", "status": 403, "request_id": "r"}
    site.page.route("**/feedback", lambda route: route.fulfill(status=403, json=problem))
    site.press("Agree")
    site.says("Your reading was not accepted")


def test_a_remembered_token_that_has_expired_gives_way_to_the_new_one(site: Site) -> None:
    site.press("Disagree")
    site.says("Kept: you disagree")
    site.page.evaluate(
        """() => {
            const kept = JSON.parse(sessionStorage.getItem("fracture-reviews"));
            for (const review of Object.values(kept)) review.ids.feedback_token = "1.expired";
            sessionStorage.setItem("fracture-reviews", JSON.stringify(kept));
        }"""
    )
    site.page.reload()
    site.open()
    site.press("Agree")
    site.says("Kept: you agree")


def test_a_saved_answer_holds_no_token(site: Site) -> None:
    with site.page.expect_download() as waiting:
        site.page.get_by_role("button", name="Save answer").click()
    saved = json.loads(waiting.value.path().read_text())
    assert "answer_id" in saved
    assert "feedback_token" not in saved


@pytest.mark.parametrize("size", [SCREEN, PHONE], ids=["screen", "phone"])
def test_axe_finds_nothing_in_the_readers_part(
    bundle_folder: Path, tmp_path: Path, browser: Browser, size: Any
) -> None:
    with _site(bundle_folder, tmp_path, browser, size) as site:
        site.press("Disagree")
        site.says("Kept: you disagree")
        site.page.get_by_text("Reason", exact=True).click()
        site.press("Mark a fracture")
        site.page.keyboard.press("Enter")
        site.says("1 box")
        assert _violations(site.page) == []
        assert site.page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_the_page_has_words_for_every_comment_and_every_problem_of_feedback(site: Site) -> None:
    words = site.page.evaluate(
        "async () => { const m = await import('./web/messages.js'); return [m.COMMENTS, Object.keys(m.PROBLEMS)]; }"
    )
    assert set(words[0]) == set(COMMENTS)
    assert set(problems.PROBLEMS) <= set(words[1])


def test_without_a_store_the_page_asks_for_no_opinion(bundle_folder: Path, browser: Browser) -> None:
    with _serve(bundle_folder) as address:
        page = browser.new_page()
        page.goto(address)
        page.set_input_files("#choose-files", str(sorted((bundle_folder / "samples").iterdir())[0]))
        expect(page.locator("#cases li[data-state=answered]")).to_have_count(1, timeout=30_000)
        expect(page.get_by_role("region", name="Your reading")).to_have_count(0)
        expect(page.get_by_role("button", name="Mark a fracture")).to_be_hidden()
        page.close()
