"""The web page in a real browser: what a radiographer does with it, and what it does when something fails."""

import base64
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Request, Route, ViewportSize, expect, sync_playwright
from prometheus_client import CollectorRegistry
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from serving import bundle
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.problems import PROBLEMS
from serving.http.settings import Settings
from serving.predictor import Predictor

pytestmark = pytest.mark.browser

WEB = Path(__file__).parents[2] / "serving/web"
PHONE, SCREEN, WALL = (ViewportSize(width=w, height=h) for w, h in ((360, 740), (1280, 800), (2560, 1440)))
AT_EVERY_SIZE = pytest.mark.parametrize(
    "size",
    [
        pytest.param(PHONE, id="phone"),
        pytest.param(SCREEN, id="screen", marks=pytest.mark.slow),
        pytest.param(WALL, id="wall", marks=pytest.mark.slow),
    ],
)
"""The phone, where room is scarcest, in the quick part; the others in the slow one."""

OpenPage = Callable[..., Page]
Evident = Callable[[Page], dict[str, float]]
Files = dict[str, bytes]


@contextmanager
def _serve(folder: Path, **settings: Any) -> Iterator[str]:
    """Run the application in a thread; its address."""
    app = create_app()
    app.state.registry = CollectorRegistry()
    app.state.engine = Engine(bundle.read(folder), Settings(**settings), app.state.registry)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    running = threading.Thread(target=server.run, daemon=True)
    running.start()
    try:
        while not server.started:
            assert running.is_alive(), "the server did not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        running.join(timeout=30)
        app.state.engine.close()


@pytest.fixture(scope="module")
def address(bundle_folder: Path) -> Iterator[str]:
    """Serve the bundle; its address."""
    with _serve(bundle_folder) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[OpenPage]:
    """Give a function that opens an address in a tab of its own; whatever the page's policy blocks fails the test."""
    contexts = []
    complaints: list[str] = []

    def begin(
        path: str = "/", size: ViewportSize = SCREEN, scheme: Any = "light", phone: bool = False, base: str = address
    ) -> Page:
        context = browser.new_context(
            viewport=size, color_scheme=scheme, has_touch=phone, is_mobile=phone, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        page.goto(base + path)
        return page

    yield begin
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def radiographs(bundle_folder: Path) -> Files:
    """Read pictures that the guard accepts, by name."""
    return {path.name: path.read_bytes() for path in sorted((bundle_folder / "samples").iterdir())}


@pytest.fixture(scope="module")
def probabilities(bundle_folder: Path, radiographs: Files) -> dict[str, float]:
    """Ask the model itself: probability of a fracture by name."""
    predictor = Predictor(bundle.read(bundle_folder))
    return {name: predictor.predict(content).probability for name, content in radiographs.items()}


@pytest.fixture
def evident() -> Evident:
    """Give a function that puts a known spot of evidence in the answers of a tab; a small model may point nowhere."""
    box = {"x0": 0.25, "y0": 0.5, "x1": 0.5, "y1": 0.75, "strength": 1.0}
    layer = np.zeros((64, 48, 4), np.uint8)
    layer[32:48, 12:24] = (250, 200, 60, 255)
    buffer = io.BytesIO()
    Image.fromarray(layer).save(buffer, "PNG")
    heatmap: dict[str, Any] = {"media_type": "image/png", "width": 48, "height": 64}
    heatmap["data"] = base64.b64encode(buffer.getvalue()).decode()

    def point(page: Page) -> dict[str, float]:
        def answer(route: Route) -> None:
            found = route.fetch().json()
            found["explanation"] = {"heatmap": heatmap, "peak": {"x": 0.375, "y": 0.625}, "boxes": [box]}
            route.fulfill(json=found)

        page.route("**/predict?*", answer)
        return box

    return point


@pytest.fixture
def suspicious(radiographs: Files, probabilities: dict[str, float]) -> tuple[str, bytes]:
    """Pick the picture with the highest probability: name and content."""
    name = max(probabilities, key=lambda name: probabilities[name])
    return name, radiographs[name]


def _choose(page: Page, files: Files) -> None:
    given: Any = [{"name": name, "mimeType": "", "buffer": content} for name, content in files.items()]
    page.set_input_files("#choose-files", given)


def _send(page: Page, kind: str, files: Files) -> None:
    """Drop or paste files."""
    page.evaluate(
        """([kind, files]) => {
            const transfer = new DataTransfer();
            for (const [name, data] of files) {
                const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name));
            }
            const event = kind === "paste"
                ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
                : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
        }""",
        [kind, [[name, base64.b64encode(content).decode()] for name, content in files.items()]],
    )


def _wait_for_answers(page: Page, count: int) -> None:
    expect(page.locator("#cases li[data-state=answered]")).to_have_count(count, timeout=30_000)


def _answered(page: Page, files: Files) -> Page:
    _choose(page, files)
    _wait_for_answers(page, len(files))
    return page


def _result(page: Page) -> Locator:
    return page.get_by_role("region", name="Result")


def _download(page: Page, button: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button).click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def _pixels(content: bytes) -> npt.NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"), np.int64)


def _css(locator: Locator, name: str) -> str:
    return str(locator.evaluate(f"element => getComputedStyle(element).{name}"))


# What comes in.


def test_a_chosen_image_is_answered_in_words(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    page = open_page()
    with page.expect_response("**/predict?*") as waiting:
        _choose(page, dict([suspicious]))
    answer = waiting.value.json()
    result = _result(page)
    expect(result.get_by_text(answer["statement"], exact=True)).to_be_visible()
    expect(result.get_by_text("probability of a fracture").first).to_be_visible()
    expect(result.get_by_text(re.compile("Of 100 images with this probability"))).to_be_visible()
    for warning in answer["warnings"]:
        expect(result.get_by_text(warning["message"])).to_be_visible()


def _answered_with(page: Page, files: Files, **changes: Any) -> Page:
    """As `_answered`, with these keys of the answer changed."""

    def answer(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | changes)

    page.route("**/predict?*", answer)
    return _answered(page, files)


def test_the_body_part_that_was_found_is_told(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    region = {"name": "hand", "source": "image", "probability": 0.97}
    page = _answered_with(open_page(), dict([suspicious]), region=region, warnings=[])
    expect(_result(page).get_by_text("Body part: hand, as the image looks (97 %)")).to_be_visible()


def test_several_body_parts_are_told(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    also = [{"name": "hand", "probability": 0.91}]
    region = {"name": "shoulder", "source": "image", "probability": 0.97, "also": also}
    page = _answered_with(open_page(), dict([suspicious]), region=region, warnings=[])
    words = "Body part: several, as the image looks: shoulder (97 %) and hand (91 %)"
    expect(_result(page).get_by_text(words)).to_be_visible()


def test_the_outline_of_the_part_that_was_read_has_a_legend(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    page = _answered(open_page(), dict([suspicious]))
    legend = page.get_by_text("Dashed: the part that was read")
    expect(legend).to_be_hidden()
    found = {"sha256": "0", "width": 9, "height": 9, "sop_instance_uid": None}
    seen = {"x0": 0.2, "y0": 0.2, "x1": 0.8, "y1": 0.8, "turned": 0, "inverted": False}
    page.locator("#clear").click()
    _answered_with(page, dict([suspicious]), input=found | {"seen": seen})
    expect(legend).to_be_visible()


def test_a_frequency_is_told_only_of_images_like_those_it_was_measured_on(
    open_page: OpenPage, suspicious: tuple[str, bytes]
) -> None:
    note = {"code": "out_of_range", "message": "Contrast unlike any.", "detail": "Contrast 99, in training 24 to 90"}
    page = _answered_with(open_page(), dict([suspicious]), warnings=[note])
    expect(_result(page).get_by_text("is not known for an image like this one")).to_be_visible()
    expect(_result(page).get_by_text("Of 100 images")).to_have_count(0)
    expect(_result(page).get_by_text(note["detail"])).to_be_hidden()
    page.get_by_text("Technical details").click()
    expect(_result(page).get_by_text(note["detail"])).to_be_visible()


def test_several_dropped_images_are_listed_most_suspicious_first(
    open_page: OpenPage, radiographs: Files, probabilities: dict[str, float]
) -> None:
    page = open_page()
    _send(page, "drop", radiographs)
    _wait_for_answers(page, len(radiographs))
    wanted = sorted(radiographs, key=lambda name: -probabilities[name])
    assert page.locator("#cases .case-name").all_text_contents() == wanted


def test_a_pasted_image_is_answered(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    page = open_page()
    _send(page, "paste", {"image.png": suspicious[1]})
    _wait_for_answers(page, 1)
    expect(page.locator("#cases .case-name")).to_have_text(re.compile("Pasted image"))


def test_only_a_phone_is_offered_its_camera(open_page: OpenPage) -> None:
    expect(open_page(size=PHONE, phone=True).get_by_role("button", name="Take a photograph")).to_be_visible()
    expect(open_page().get_by_role("button", name="Take a photograph")).to_be_hidden()


def test_a_sample_is_marked_as_synthetic_and_answered(open_page: OpenPage) -> None:
    page = open_page()
    expect(page.get_by_role("heading", name="Or try a synthetic radiograph")).to_be_visible()
    page.locator(".sample").first.click()
    _wait_for_answers(page, 1)
    expect(page.locator("#cases .case-name")).to_have_text(re.compile(r"\(synthetic\)"))


def test_the_file_is_shown_before_the_answer_is_there(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    page = open_page()
    page.route("**/predict?*", lambda route: None)  # never answered
    _choose(page, dict([suspicious]))
    expect(_result(page).get_by_text("The model is reading the image.")).to_be_visible()
    expect(page.get_by_role("img", name=f"Radiograph {suspicious[0]}")).to_be_visible()


def test_a_dicom_image_is_shown_though_no_browser_knows_it(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    page = open_page()
    _choose(page, {"IM000001": _dicom(suspicious[1])})
    _wait_for_answers(page, 1)
    picture = page.get_by_role("img", name="Radiograph IM000001")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 0


def _dicom(content: bytes) -> bytes:
    pixels = _pixels(content).astype(np.uint16) * 16
    made = pydicom.Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = DigitalXRayImageStorageForPresentation
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.Modality, made.PhotometricInterpretation = "DX", "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PixelRepresentation = 1, 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PixelData = pixels.tobytes()
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_a_name_is_neither_sent_nor_read_as_html(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    page = open_page()
    name = "<img src=x onerror=alert(1)> Doe^John.png"
    with page.expect_request("**/predict?*") as waiting:
        _choose(page, {name: suspicious[1]})
    assert b"Doe" not in (waiting.value.post_data_buffer or b"")
    expect(_result(page).get_by_role("heading", name=name)).to_be_visible()
    assert page.locator("#result img, #cases img").count() == 0


# What is said.


def test_the_marks_stand_on_the_bar_where_the_model_has_its_operating_points(
    open_page: OpenPage, address: str, suspicious: tuple[str, bytes], bundle_folder: Path
) -> None:
    page = _answered(open_page(), dict([suspicious]))
    decision = bundle.read(bundle_folder).decision
    places = {
        shape: float(page.locator(f".scale .mark-{shape}").evaluate("mark => parseFloat(mark.style.left)"))
        for shape in ("circle", "diamond", "line")
    }
    wanted = {
        "circle": decision.high_sensitivity, "diamond": decision.high_specificity, "line": decision.threshold,
    }  # fmt: skip
    assert places == {shape: pytest.approx(100 * value, abs=0.01) for shape, value in wanted.items()}


def test_the_bar_says_its_value_to_a_screen_reader(
    open_page: OpenPage, suspicious: tuple[str, bytes], probabilities: dict[str, float]
) -> None:
    page = _answered(open_page(), dict([suspicious]))
    bar = page.get_by_role("meter", name="Probability of a fracture")
    assert bar.get_attribute("aria-valuenow") == str(round(100 * probabilities[suspicious[0]]))
    expect(page.locator("#announcer")).to_contain_text(suspicious[0])


def test_several_classes_are_listed_with_their_probabilities(
    open_page: OpenPage, suspicious: tuple[str, bytes]
) -> None:
    page = open_page()

    def more_classes(route: Route) -> None:
        answer = route.fetch().json()
        answer["probabilities"] = {"normal": 0.2, "spiral": 0.7, "oblique": 0.1}
        route.fulfill(json=answer)

    page.route("**/predict?*", more_classes)
    _answered(page, dict([suspicious]))
    rows = page.get_by_role("region", name="Probabilities of the classes").get_by_role("listitem")
    expect(rows).to_have_text([re.compile(r"spiral\s*70"), re.compile(r"normal\s*20"), re.compile(r"oblique\s*10")])


@AT_EVERY_SIZE
def test_it_is_always_said_that_this_is_no_diagnosis_and_the_model_synthetic(
    open_page: OpenPage, radiographs: Files, size: ViewportSize
) -> None:
    page = _answered(open_page(size=size), radiographs)
    page.mouse.move(size["width"] / 2, size["height"] - 20)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    for words in ("Decision support, not a diagnosis.", "Trained on synthetic pictures"):
        expect(page.get_by_text(words, exact=False).first).to_be_in_viewport()


def test_the_model_is_named_and_described(open_page: OpenPage, bundle_folder: Path) -> None:
    page = open_page()
    manifest = bundle.read(bundle_folder).manifest
    page.get_by_role("button", name=f"Model {manifest.name}, version {manifest.version}").click()
    about = page.get_by_role("dialog", name="About the model")
    expect(about.get_by_text(manifest.intended.not_for)).to_be_visible()
    page.keyboard.press("Escape")
    expect(about).to_be_hidden()


# The viewer.


def test_the_heatmap_lies_over_the_image_and_follows_its_slider(
    open_page: OpenPage, evident: Evident, suspicious: tuple[str, bytes]
) -> None:
    page = open_page()
    evident(page)
    _answered(page, dict([suspicious]))
    heatmap, picture = page.locator("#heatmap"), page.locator("#picture")
    page.get_by_role("checkbox", name="Heatmap").check()
    expect(heatmap).to_be_visible()
    assert heatmap.bounding_box() == picture.bounding_box()
    page.get_by_role("slider", name="Opacity of the heatmap").fill("80")
    assert float(_css(heatmap, "opacity")) == pytest.approx(0.8)
    page.get_by_role("checkbox", name="Heatmap").uncheck()
    expect(heatmap).to_be_hidden()


def test_boxes_are_drawn_where_the_answer_has_them(
    open_page: OpenPage, evident: Evident, suspicious: tuple[str, bytes]
) -> None:
    page = open_page()
    box = evident(page)
    _answered(page, dict([suspicious]))
    expect(page.locator("#boxes rect")).to_have_count(0)
    page.get_by_role("checkbox", name="Boxes").check()
    frame, drawn = page.locator("#picture").bounding_box(), page.locator("#boxes .box-line").first.bounding_box()
    assert frame is not None
    assert drawn is not None
    assert (drawn["x"] - frame["x"]) / frame["width"] == pytest.approx(box["x0"], abs=0.02)
    assert drawn["height"] / frame["height"] == pytest.approx(box["y1"] - box["y0"], abs=0.02)


def test_the_wheel_zooms_round_the_pointer_and_dragging_moves(
    open_page: OpenPage, suspicious: tuple[str, bytes]
) -> None:
    page = _answered(open_page(), dict([suspicious]))
    screen, picture = page.locator("#screen").bounding_box(), page.locator("#picture")
    before = picture.bounding_box()
    assert screen is not None
    assert before is not None
    x, y = screen["x"] + screen["width"] / 2 + 60, screen["y"] + screen["height"] / 2 - 80
    page.mouse.move(x, y)
    for _ in range(8):
        page.mouse.wheel(0, -120)
    page.wait_for_timeout(200)
    after = picture.bounding_box()
    assert after is not None
    assert after["width"] > 2 * before["width"]
    share = (y - before["y"]) / before["height"]
    assert (y - after["y"]) / after["height"] == pytest.approx(share, abs=0.01)
    page.mouse.down()
    page.mouse.move(x + 30, y + 50, steps=4)
    page.mouse.up()
    moved = picture.bounding_box()
    assert moved is not None
    assert (moved["x"] - after["x"], moved["y"] - after["y"]) == pytest.approx((30, 50), abs=1)
    page.mouse.dblclick(x, y)
    assert picture.bounding_box() == before


def test_dragging_with_the_window_tool_changes_brightness_and_contrast(
    open_page: OpenPage, suspicious: tuple[str, bytes]
) -> None:
    page = _answered(open_page(), dict([suspicious]))
    page.get_by_role("button", name="Window", exact=True).click()
    screen = page.locator("#screen").bounding_box()
    assert screen is not None
    x, y = screen["x"] + screen["width"] / 2, screen["y"] + screen["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 50, y - 100, steps=5)
    page.mouse.up()
    assert page.get_by_role("slider", name="Brightness").input_value() == "40"
    assert page.get_by_role("slider", name="Contrast").input_value() == "20"
    assert _css(page.locator("#picture"), "filter").startswith("invert(0) brightness(1.74")
    page.get_by_role("button", name="Reset").click()
    assert _css(page.locator("#picture"), "filter") == "invert(0) brightness(1) contrast(1)"


def test_two_fingers_zoom_on_a_phone(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    page = _answered(open_page(size=PHONE, phone=True), dict([suspicious]))
    before = page.locator("#picture").bounding_box()
    screen = page.locator("#screen").bounding_box()
    assert before is not None
    assert screen is not None
    touch = page.context.new_cdp_session(page)
    x, y = screen["x"] + screen["width"] / 2, screen["y"] + screen["height"] / 2
    for kind, gap in (("touchStart", 30), ("touchMove", 60), ("touchMove", 90), ("touchEnd", 0)):
        points = [{"x": x - gap, "y": y, "id": 0}, {"x": x + gap, "y": y, "id": 1}] if gap else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    after = page.locator("#picture").bounding_box()
    assert after is not None
    assert after["width"] / before["width"] == pytest.approx(3, rel=0.1)


def test_each_image_keeps_its_own_view(open_page: OpenPage, radiographs: Files) -> None:
    page = _answered(open_page(), radiographs)
    rows = page.locator("#cases .case")
    rows.nth(0).click()
    page.get_by_role("button", name="Invert").click()
    rows.nth(1).click()
    expect(page.get_by_role("button", name="Invert")).to_have_attribute("aria-pressed", "false")
    rows.nth(0).click()
    expect(page.get_by_role("button", name="Invert")).to_have_attribute("aria-pressed", "true")


def test_a_file_the_browser_cannot_show_does_not_change_the_view_of_the_image_before_it(
    open_page: OpenPage, suspicious: tuple[str, bytes]
) -> None:
    page = _answered(open_page(), dict([suspicious]))
    page.get_by_role("button", name="Invert").click()
    _choose(page, {"IM000001": _dicom(suspicious[1])})
    _wait_for_answers(page, 2)
    expect(page.get_by_role("img", name="Radiograph IM000001")).to_be_visible()
    expect(page.get_by_role("button", name="Invert")).to_have_attribute("aria-pressed", "false")


def test_the_focus_stays_on_its_image_while_the_list_is_sorted(open_page: OpenPage, radiographs: Files) -> None:
    page = open_page()
    held: list[Route] = []
    page.route("**/predict?*", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks the function
    _choose(page, dict(list(radiographs.items())[:2]))
    expect(page.locator("#cases li[data-state=reading]")).to_have_count(2)
    row = page.locator("#cases .case").last
    name = row.get_attribute("title")
    row.focus()
    for route in held:
        route.continue_()
    _wait_for_answers(page, 2)
    assert page.evaluate("document.activeElement.title") == name


def test_everything_can_be_done_with_the_keyboard_alone(open_page: OpenPage, evident: Evident) -> None:
    page = open_page()
    evident(page)
    expect(page.locator(".sample").first).to_be_visible()
    _tab_to(page, ".sample")
    page.keyboard.press("Enter")
    _wait_for_answers(page, 1)
    _tab_to(page, "#screen")
    level = page.locator("#zoom-level")
    before = level.text_content()
    page.keyboard.press("+")
    assert level.text_content() != before
    page.keyboard.press("0")
    assert level.text_content() == before
    page.keyboard.press("i")
    expect(page.get_by_role("button", name="Invert")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Shift+ArrowUp")
    assert page.get_by_role("slider", name="Brightness").input_value() == "5"
    shown = page.get_by_role("checkbox", name="Heatmap").is_checked()
    page.keyboard.press("h")
    assert page.get_by_role("checkbox", name="Heatmap").is_checked() is not shown
    _tab_to(page, "#opacity")
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("slider", name="Opacity of the heatmap").input_value() == "50"
    _tab_to(page, ".result-save button")
    with page.expect_download():
        page.keyboard.press("Enter")
    _tab_to(page, ".case-remove")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Choose images")).to_be_visible()


def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until the focus is there."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached with Tab")


# What fails.


def test_every_error_code_of_the_service_has_its_words(open_page: OpenPage) -> None:
    known = open_page().evaluate(
        "async () => Object.entries((await import('/web/messages.js')).PROBLEMS)"
        ".map(([code, { title, advice }]) => [code, title, advice])"
    )
    assert set(PROBLEMS) | {"network"} <= {code for code, _, _ in known}
    assert all(title and advice for _, title, advice in known)


def test_a_file_that_is_no_image_is_told_so(open_page: OpenPage) -> None:
    page = open_page()
    _choose(page, {"notes.pdf": b"%PDF-1.4"})
    expect(_result(page).get_by_text("This file cannot be read")).to_be_visible()
    expect(page.locator("#cases li")).to_have_attribute("data-state", "failed")


def test_a_refused_image_does_not_stop_the_others(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    page = open_page()
    _choose(page, {"empty.png": b"", "notes.pdf": b"%PDF-1.4", suspicious[0]: suspicious[1]})
    _wait_for_answers(page, 1)
    expect(page.locator("#cases li[data-state=failed]")).to_have_count(2)
    expect(page.locator("#cases .case-name").first).to_have_text(suspicious[0])


def test_a_service_out_of_reach_is_told_and_can_be_asked_again(
    open_page: OpenPage, suspicious: tuple[str, bytes]
) -> None:
    page = open_page()
    page.route("**/predict?*", lambda route: route.abort())
    _choose(page, dict([suspicious]))
    expect(_result(page).get_by_text("The service cannot be reached")).to_be_visible()
    expect(page.get_by_role("img", name=f"Radiograph {suspicious[0]}")).to_be_visible()
    page.unroute("**/predict?*")
    page.get_by_role("button", name="Try again").click()
    _wait_for_answers(page, 1)


def test_a_busy_service_is_asked_again(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    page = open_page()
    turned_away: list[str] = []

    def busy_twice(route: Route) -> None:
        if len(turned_away) == 2:
            route.continue_()
            return
        turned_away.append(route.request.url)
        route.fulfill(status=503, headers={"retry-after": "1"}, json={"code": "overloaded", "detail": "busy"})

    page.route("**/predict?*", busy_twice)
    _choose(page, dict([suspicious]))
    expect(_result(page).get_by_text("The service is busy.")).to_be_visible()
    _wait_for_answers(page, 1)


def test_at_most_two_images_are_sent_at_once(open_page: OpenPage, suspicious: tuple[str, bytes]) -> None:
    page = open_page()
    held: list[Route] = []
    released = threading.Event()
    page.route("**/predict?*", lambda route: route.continue_() if released.is_set() else held.append(route))
    _choose(page, {f"{number}.png": suspicious[1] for number in range(5)})
    expect(page.locator("#cases li[data-state=reading]")).to_have_count(2)
    page.wait_for_timeout(300)
    assert len(held) == 2
    released.set()
    for route in held:
        route.continue_()
    _wait_for_answers(page, 5)


def test_an_answer_of_something_in_between_is_not_taken_for_the_services(
    open_page: OpenPage, suspicious: tuple[str, bytes]
) -> None:
    page = open_page()
    page.route("**/predict?*", lambda route: route.fulfill(status=200, body="<h1>Log in</h1>"))
    _choose(page, dict([suspicious]))
    expect(_result(page).get_by_text("The answer cannot be read")).to_be_visible()


def test_a_service_with_keys_asks_for_one_and_keeps_it_in_the_tab(
    open_page: OpenPage, bundle_folder: Path, suspicious: tuple[str, bytes]
) -> None:
    with _serve(bundle_folder, api_keys=("right",)) as guarded:
        page = open_page(base=guarded)
        dialog = page.get_by_role("dialog", name="An API key is needed")
        dialog.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog.get_by_text("The service did not accept this key.")).to_be_visible()
        dialog.get_by_label("API key").fill("right")
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        page.reload()
        _answered(page, dict([suspicious]))
        expect(dialog).to_be_hidden()
        assert page.evaluate("localStorage.length") == 0


# What goes out.


def test_the_saved_picture_holds_the_image_and_a_strip_of_words(
    open_page: OpenPage, suspicious: tuple[str, bytes]
) -> None:
    page = _answered(open_page(), {"hand.png": suspicious[1]})
    page.get_by_role("checkbox", name="Heatmap").uncheck()
    name, content = _download(page, "Save picture")
    saved, given = _pixels(content), _pixels(suspicious[1])
    assert name == "hand-result.png"
    scale = saved.shape[1] / given.shape[1]
    height = round(given.shape[0] * scale)
    assert saved.shape[0] > height + 100
    small = np.asarray(Image.fromarray(saved[:height].astype(np.uint8)).resize(given.shape[::-1]), np.int64)
    assert np.abs(small - given).mean() < 6
    assert (saved[height:] > 200).mean() > 0.005  # the words


def test_the_picture_is_saved_as_it_is_shown(
    open_page: OpenPage, evident: Evident, suspicious: tuple[str, bytes]
) -> None:
    page = open_page()
    evident(page)
    _answered(page, dict([suspicious]))
    page.get_by_role("checkbox", name="Heatmap").uncheck()
    plain = _pixels(_download(page, "Save picture")[1])
    page.get_by_role("button", name="Invert").click()
    inverted = _pixels(_download(page, "Save picture")[1])
    top = int(plain.shape[0] * 0.5)
    assert np.abs(inverted[:top] - (255 - plain[:top])).max() <= 1
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("checkbox", name="Heatmap").check()
    height, width = int(plain.shape[1] * 4 / 3), plain.shape[1]
    # The strip below is not the image's, and the time that stands there may be another minute.
    change = np.abs(_pixels(_download(page, "Save picture")[1]) - plain)[:height]
    assert change.max() > 20
    assert change[: height // 3].max() == 0
    assert change[:, int(0.6 * width) :].max() == 0


def test_the_saved_answer_is_the_services_without_the_picture(
    open_page: OpenPage, suspicious: tuple[str, bytes]
) -> None:
    page = open_page()
    with page.expect_response("**/predict?*") as waiting:
        _choose(page, dict([suspicious]))
    _wait_for_answers(page, 1)
    wanted = {name: value for name, value in waiting.value.json().items() if name != "preview"}
    name, content = _download(page, "Save answer")
    assert name.endswith("-result.json")
    assert json.loads(content) == wanted


def test_removed_images_are_forgotten(open_page: OpenPage, browser: Browser, radiographs: Files) -> None:
    page = open_page()
    page.add_init_script(
        """
        const alive = window.alive = new Set();
        const { createObjectURL, revokeObjectURL } = URL;
        URL.createObjectURL = (blob) => { const url = createObjectURL(blob); alive.add(url); return url; };
        URL.revokeObjectURL = (url) => { alive.delete(url); revokeObjectURL(url); };
        """
    )
    page.reload()
    _answered(page, radiographs)
    assert page.evaluate("alive.size") > 0
    page.get_by_role("button", name="Remove all").click()
    expect(page.get_by_role("button", name="Choose images")).to_be_visible()
    assert page.evaluate("alive.size") == 0


def test_the_page_asks_nobody_but_the_service(open_page: OpenPage, address: str, radiographs: Files) -> None:
    asked: list[str] = []
    page = open_page()
    page.on("request", lambda request: asked.append(_origin(request)))
    page.reload()
    _answered(page, radiographs)
    assert set(asked) <= {address, "blob:", "data:"}


def _origin(request: Request) -> str:
    found = re.match(r"blob:|data:|https?://[^/]+", request.url)
    return found.group() if found else request.url


# For everybody.


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        pytest.param(PHONE, "dark", id="phone-dark"),
        pytest.param(PHONE, "light", id="phone-light", marks=pytest.mark.slow),
        pytest.param(WALL, "dark", id="wall-dark", marks=pytest.mark.slow),
        pytest.param(WALL, "light", id="wall-light", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing(open_page: OpenPage, radiographs: Files, size: ViewportSize, scheme: str) -> None:
    page = open_page(size=size, scheme=scheme)
    expect(page.locator(".sample").first).to_be_visible()
    assert _violations(page) == []
    _choose(page, {**radiographs, "notes.pdf": b"%PDF-1.4"})
    _wait_for_answers(page, len(radiographs))
    page.locator("#cases .case").first.click()
    for summary in page.locator("#result details:not([open]) summary").all():
        summary.click()
    assert _violations(page) == []
    page.locator("#cases .case").last.click()
    assert _violations(page) == []
    page.locator("#open-about").click()
    assert _violations(page) == []


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing_in_the_description_of_the_interface(open_page: OpenPage, scheme: str) -> None:
    page = open_page("/docs", scheme=scheme)
    expect(page.locator("#contents a").first).to_be_visible()
    assert _violations(page) == []


def _violations(page: Page) -> list[str]:
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run(document, { resultTypes: ['violations'] })).violations")
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("width", [360, *(pytest.param(width, marks=pytest.mark.slow) for width in (768, 1280, 2560))])
def test_nothing_is_wider_than_the_window(open_page: OpenPage, radiographs: Files, path: str, width: int) -> None:
    page = open_page(path, size=ViewportSize(width=width, height=900))
    if path == "/":
        _answered(page, {f"a-rather-long-name-without-any-space-{name}": one for name, one in radiographs.items()})
    else:
        expect(page.locator("#contents a").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width


@AT_EVERY_SIZE
def test_the_first_line_of_the_answer_is_seen_without_scrolling(
    open_page: OpenPage, suspicious: tuple[str, bytes], size: ViewportSize
) -> None:
    page = open_page(size=size)
    with page.expect_response("**/predict?*") as waiting:
        _choose(page, dict([suspicious]))
    _wait_for_answers(page, 1)
    labels = page.get_by_text(waiting.value.json()["label"], exact=True).locator("visible=true")
    expect(labels.first).to_be_in_viewport(ratio=1)


def test_the_page_is_light_or_dark_but_the_radiograph_always_lies_on_dark(
    open_page: OpenPage, suspicious: tuple[str, bytes]
) -> None:
    light, dark = (_answered(open_page(scheme=scheme), dict([suspicious])) for scheme in ("light", "dark"))
    assert _css(light.locator("body"), "backgroundColor") != _css(dark.locator("body"), "backgroundColor")
    grounds = {_css(page.locator("#screen"), "backgroundColor") for page in (light, dark)}
    assert grounds == {"rgb(5, 8, 10)"}


def test_a_phone_can_keep_the_page_on_its_home_screen(open_page: OpenPage, address: str) -> None:
    page = open_page()
    link = page.locator("link[rel=manifest]").evaluate("link => link.href")
    response = page.request.get(link)
    manifest = response.json()
    assert response.headers["content-type"].startswith("application/manifest+json")
    assert page.evaluate("([start, base]) => new URL(start, base).href", [manifest["start_url"], link]) == f"{address}/"
    for icon in manifest["icons"]:
        content = page.request.get(f"{address}/web/{icon['src']}").body()
        if icon["type"] == "image/png":
            assert "x".join(map(str, Image.open(io.BytesIO(content)).size)) == icon["sizes"]
    assert {"192x192", "512x512"} <= {icon["sizes"] for icon in manifest["icons"]}
    assert any(icon.get("purpose") == "maskable" for icon in manifest["icons"])


def test_the_description_shows_every_address_and_error_code(open_page: OpenPage, address: str) -> None:
    page = open_page("/docs")
    expect(page.locator("#contents a").first).to_be_visible()
    described = page.request.get(f"{address}/openapi.json").json()
    shown = page.locator("main").text_content() or ""
    assert all(path in shown for path in described["paths"])
    assert all(code in shown for code in PROBLEMS)


def test_the_page_holds_no_script_or_style_of_its_own() -> None:
    for path in WEB.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text), path.name
        assert not re.search(r"(src|href)=\"(https?:)?//", text), path.name
    for path in WEB.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), path.name


def test_every_style_sheet_is_linked_and_every_link_leads_to_a_file() -> None:
    linked = {
        file
        for path in WEB.glob("*.html")
        for file in re.findall(r'href="web/([\w.-]+\.css)"', path.read_text("utf-8"))
    }
    assert linked == {path.name for path in WEB.glob("*.css")}
