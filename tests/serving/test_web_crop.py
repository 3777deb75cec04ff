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
from PIL.ExifTags import IFD, Base
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

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
def address(released: Path) -> Iterator[str]:
    with _serve(released) as found:
        yield found


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


def test_of_a_photograph_nobody_knows_how_often_an_answer_is_right(context: BrowserContext, address: str) -> None:
    page = context.new_page()
    page.goto(address)
    code = """async (code) => {
      const { isCalibrated } = await import(new URL("web/messages.js", location.href));
      return isCalibrated({ warnings: [{ code }] });
    }"""
    assert not page.evaluate(code, "photographed")  # the test set holds none
    assert page.evaluate(code, "recalibrated")


def _of_a_phone(content: bytes, *, big_endian: bool) -> bytes:
    """The picture as a phone writes it: a JPEG whose Exif has the camera, and the aperture of its lens."""
    exif = Image.Exif()
    exif.endian = ">" if big_endian else "<"
    exif[Base.Make], exif[Base.Orientation] = "Phone", 1
    exif.get_ifd(IFD.Exif)[Base.FNumber] = 1.8
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("big_endian", [True, False])
def test_the_corners_of_a_photograph_that_was_chosen_are_marked_before_it_is_answered(
    context: BrowserContext, address: str, photograph: bytes, released: Path, big_endian: bool
) -> None:
    page = context.new_page()
    page.goto(address)
    sample = sorted((released / "samples").iterdir())[0]
    taken: Any = {
        "name": "IMG_1.jpg",
        "mimeType": "image/jpeg",
        "buffer": _of_a_phone(photograph, big_endian=big_endian),
    }
    radiograph: Any = {"name": sample.name, "mimeType": "image/png", "buffer": sample.read_bytes()}
    page.set_input_files("#choose-files", [taken, radiograph])
    expect(page.locator("#crop")).to_be_visible()
    expect(page.locator("#cases li")).to_have_count(1)
    expect(page.locator("#cases")).to_contain_text(sample.name)


@pytest.mark.parametrize("size", [40, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 3, 4, 20, 60))])
def test_what_only_begins_as_a_photograph_is_refused_as_a_file(
    context: BrowserContext, address: str, photograph: bytes, size: int
) -> None:
    page = context.new_page()
    page.goto(address)
    cut: Any = {
        "name": "cut.jpg",
        "mimeType": "image/jpeg",
        "buffer": _of_a_phone(photograph, big_endian=True)[:size],
    }
    page.set_input_files("#choose-files", cut)
    expect(page.locator("#cases li[data-state=failed]")).to_have_count(1, timeout=30_000)


def test_an_image_that_is_called_a_photograph_behind_its_answer_is_marked_and_answered_anew(
    context: BrowserContext, address: str, released: Path
) -> None:
    page = context.new_page()
    page.goto(address)
    sample = sorted((released / "samples").iterdir())[0]
    page.set_input_files("#choose-files", sample)
    page.get_by_role("button", name="A photograph of a film or a screen?").click(timeout=30_000)
    page.get_by_role("button", name="Use this part").click()
    expect(page.locator("#result .warnings")).to_contain_text("This is a photograph", timeout=30_000)
    expect(page.locator("#cases li")).to_have_count(1)
    expect(page.get_by_role("button", name="A photograph of a film or a screen?")).to_have_count(0)


def test_a_photograph_that_was_refused_can_be_marked(context: BrowserContext, address: str) -> None:
    page = context.new_page()
    page.goto(address)
    buffer = io.BytesIO()
    Image.effect_noise((400, 400), 90).convert("RGB").save(buffer, "PNG")
    noise: Any = {"name": "noise.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    page.set_input_files("#choose-files", noise)
    expect(page.locator("#cases li[data-state=failed]")).to_have_count(1, timeout=30_000)
    page.get_by_role("button", name="Mark the radiograph in a photograph").click()
    expect(page.locator("#crop")).to_be_visible()


def test_the_dialogue_needs_no_scrolling_on_a_phone_on_its_side(
    browser: Browser, address: str, photograph: bytes
) -> None:
    context = browser.new_context(viewport=ViewportSize(width=800, height=360), has_touch=True, is_mobile=True)
    page = _photographed(context, address, photograph)
    assert page.locator("#crop").evaluate("(one) => one.scrollHeight - one.clientHeight") <= 1
    stage = page.locator(".crop-stage").bounding_box()
    assert stage is not None
    assert stage["height"] > 200
    context.close()


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
