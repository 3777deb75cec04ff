"""A photograph of a film: its four corners are marked in a real browser, and the answer says that it is one."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from benchmarks.web.browser import chromium
from tests.serving.test_web import PHONE, _serve, _violations

pytestmark = pytest.mark.browser

WIDTH, HEIGHT = 900, 1200
CORNERS = np.array([[0.2, 0.1], [0.9, 0.15], [0.85, 0.9], [0.1, 0.8]])
"""Where the film lies in the photograph, in fractions, clockwise from the upper left."""


def _film() -> npt.NDArray[np.uint8]:
    """Four fields of their own grey, from the upper left: 60, 120, 240, 180."""
    return np.asarray(np.kron([[60, 120], [180, 240]], np.ones((150, 100))), np.uint8)


@pytest.fixture(scope="module")
def photograph() -> bytes:
    """A film lying aslant before a dark room."""
    film = _film()
    rows, columns = film.shape
    ends = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    place = cv2.getPerspectiveTransform(ends, (CORNERS * [WIDTH, HEIGHT]).astype(np.float32))
    buffer = io.BytesIO()
    Image.fromarray(cv2.warpPerspective(film, place, (WIDTH, HEIGHT))).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def released() -> Path:
    return sorted(Path(__file__).parents[2].glob("models/*/bundle"))[0]


@pytest.fixture(scope="module")
def address(released: Path) -> Iterator[str]:
    with _serve(released) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    yield made
    made.close()


def _photographed(context: BrowserContext, address: str, content: bytes) -> Page:
    page = context.new_page()
    page.goto(address)
    given: Any = {"name": "camera.png", "mimeType": "image/png", "buffer": content}
    page.set_input_files("#photograph", given)
    expect(page.locator("#crop")).to_be_visible()
    return page


def _drag_corners(page: Page) -> None:
    stage = page.locator(".crop-stage canvas").bounding_box()
    assert stage is not None
    for number, (x, y) in enumerate(CORNERS):
        handle = page.locator("[data-corner]").nth(number).bounding_box()
        assert handle is not None
        page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
        page.mouse.down()
        page.mouse.move(stage["x"] + x * stage["width"], stage["y"] + y * stage["height"])
        page.mouse.up()


def _sent(page: Page, button: str) -> npt.NDArray[np.uint8]:
    """The picture that is sent once a button of the dialogue is pressed."""
    found: list[bytes] = []

    def look(route: Any) -> None:
        body = route.request.post_data_buffer
        found.append(body[body.index(b"\r\n\r\n") + 4 :])
        route.continue_()

    page.route("**/predict?*", look)
    with page.expect_response("**/predict?*"):
        page.get_by_role("button", name=button).click()
    return np.asarray(Image.open(io.BytesIO(found[0])).convert("L"), np.uint8)


def test_the_part_between_the_corners_is_sent_as_seen_from_straight_ahead(
    context: BrowserContext, address: str, photograph: bytes
) -> None:
    page = _photographed(context, address, photograph)
    _drag_corners(page)
    sent = _sent(page, "Use this part")
    rows, columns = sent.shape
    fields = [
        sent[int(y * rows), int(x * columns)] for y, x in ((0.05, 0.05), (0.05, 0.95), (0.95, 0.95), (0.95, 0.05))
    ]
    np.testing.assert_allclose(np.asarray(fields, int), [60, 120, 240, 180], atol=6)
    assert rows / columns == pytest.approx(1.2 * HEIGHT / WIDTH, rel=0.3)  # the sides' own lengths, seen aslant


def test_the_whole_photograph_may_be_sent_as_it_is(context: BrowserContext, address: str, photograph: bytes) -> None:
    page = _photographed(context, address, photograph)
    assert _sent(page, "Use the whole picture").shape == (HEIGHT, WIDTH)


def test_a_photograph_that_is_not_wanted_is_not_sent(context: BrowserContext, address: str, photograph: bytes) -> None:
    page = _photographed(context, address, photograph)
    page.keyboard.press("Escape")
    expect(page.locator("#crop")).to_be_hidden()
    assert page.locator("#cases li").count() == 0


def test_corners_that_cross_cannot_be_used(context: BrowserContext, address: str, photograph: bytes) -> None:
    page = _photographed(context, address, photograph)
    corner = page.locator("[data-corner]").first
    corner.focus()
    for _ in range(20):
        page.keyboard.press("Shift+ArrowRight")
    expect(page.get_by_role("button", name="Use this part")).to_be_disabled()
    expect(page.locator("#crop-fault")).to_be_visible()


def test_the_answer_for_a_photograph_says_that_it_is_one(context: BrowserContext, address: str, released: Path) -> None:
    sample = sorted((released / "samples").iterdir())[0].read_bytes()
    page = _photographed(context, address, sample)
    page.get_by_role("button", name="Use the whole picture").click()
    expect(page.locator("#result .warnings")).to_contain_text("This is a photograph", timeout=30_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "size",
    [
        PHONE,
        *(pytest.param(ViewportSize(width=w, height=h), marks=pytest.mark.slow) for w, h in ((800, 360), (820, 1180))),
    ],
    ids=["portrait", "landscape", "tablet"],
)
def test_the_dialogue_fits_and_axe_finds_nothing(
    browser: Browser, address: str, photograph: bytes, size: ViewportSize, scheme: Any
) -> None:
    context = browser.new_context(viewport=size, has_touch=True, is_mobile=True, color_scheme=scheme)
    page = _photographed(context, address, photograph)
    assert _violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    stage = page.locator(".crop-stage").bounding_box()
    canvas = page.locator(".crop-stage canvas").bounding_box()
    assert stage == canvas
    context.close()
