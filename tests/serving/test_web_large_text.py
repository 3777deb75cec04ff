"""The page with text of twice the size: nothing is cut off, and nothing lies over its neighbour."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.serving.test_web import _serve

pytestmark = pytest.mark.browser

CUT = """(width) => [...document.querySelectorAll("body *")].filter((one) => {
  if (!one.checkVisibility() || one.closest(".visually-hidden, .skip, .sprite, .screen")) return false;
  const { left, right } = one.getBoundingClientRect();
  return left < -1 || right > width + 1;
}).map((one) => `${one.tagName} ${one.id || one.className}`)"""
OVER = """(selector) => {
  const words = [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility()).map((one) => {
    const range = document.createRange();
    range.selectNodeContents(one); // the text itself, which may be wider than its element
    return { name: one.id || one.tagName, box: range.getBoundingClientRect() };
  });
  const over = (one, other) => one.left < other.right - 1 && other.left < one.right - 1
    && one.top < other.bottom - 1 && other.top < one.bottom - 1;
  return words.flatMap((one, at) => words.slice(at + 1).filter(({ box }) => over(one.box, box))
    .map(({ name }) => [one.name, name]));
}"""
BESIDE = (
    ".page-bar > h1, .page-bar > button, .page-bar > a, #add > button",
    ".tools button, .tools output",
    ".layers label",
)
"""What stands beside each other, and would cover its neighbours where the words take more room."""


@pytest.fixture(scope="module")
def address(released: Path) -> Iterator[str]:
    with _serve(released) as found:
        yield found


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Callable[[int, int], Page]]:
    """Give a function that opens the page on a phone or tablet of that size, whose person wants text twice as large."""
    contexts = []

    def open_page(width: int, height: int) -> Page:
        size = ViewportSize(width=width, height=height)
        contexts.append(browser.new_context(viewport=size, has_touch=True, is_mobile=True))
        page = contexts[-1].new_page()
        page.goto(address)
        expect(page.locator("#open-about")).to_be_visible()
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        return page

    yield open_page
    for context in contexts:
        context.close()


def _cut(page: Page) -> list[str]:
    """What reaches beyond the screen; the browser of a phone widens the page for it, and shows it smaller."""
    assert page.viewport_size is not None
    found: list[str] = page.evaluate(CUT, page.viewport_size["width"])
    return found


def _faults(page: Page) -> list[object]:
    return [*_cut(page), *(found for selector in BESIDE for found in page.evaluate(OVER, selector))]


def _look_at_a_dialogue(page: Page) -> None:
    expect(page.locator("dialog[open]")).to_be_visible()
    assert [one for one in _cut(page) if "DIALOG" in one] == []
    assert page.locator("dialog[open]").evaluate("(one) => one.scrollWidth - one.clientWidth") == 0
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (360, 800),
        *(
            pytest.param(*size, marks=pytest.mark.slow)
            for size in [(412, 915), (800, 1280), (800, 360), (915, 412), (1280, 800)]
        ),
    ],
)
def test_every_part_of_the_page_holds_large_text(
    opened: Callable[[int, int], Page], released: Path, width: int, height: int
) -> None:
    page, sample = opened(width, height), sorted((released / "samples").iterdir())[0]
    assert _faults(page) == [], "the first page"
    page.set_input_files("#choose-files", sample)
    expect(page.locator("#cases li[data-state=answered]")).to_have_count(1, timeout=60_000)
    assert _faults(page) == [], "an answer"
    for opener in ("#open-about", "#open-help"):
        page.locator(opener).click()
        _look_at_a_dialogue(page)
    page.set_input_files(
        "#choose-files", {"name": "a-text-with-a-long-name.txt", "mimeType": "text/plain", "buffer": b"x"}
    )
    expect(page.locator("#cases li[data-state=failed]")).to_have_count(1, timeout=60_000)
    assert _faults(page) == [], "a refusal"
    page.set_input_files("#photograph", sample)
    _look_at_a_dialogue(page)
