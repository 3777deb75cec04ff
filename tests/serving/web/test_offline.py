"""The exported page in a real browser: the service's answers, without a network, whole or not at all."""

import base64
import gzip
import io
import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import cv2
import numpy as np
import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, expect
from prometheus_client import CollectorRegistry
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from benchmarks.web import parity
from benchmarks.web.browser import Device, Quiet, chromium, open_page, served
from benchmarks.web.parity import Compared, File
from pipeline.files import project_root
from pipeline.packaging import web
from serving import bundle
from serving.bundle import Bundle
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.settings import Settings
from serving.predictor import Predictor
from tests.serving.imaging.dicom.builders import coded, radiograph
from tests.signer import Signer

pytestmark = [pytest.mark.browser, pytest.mark.node]

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def released() -> Bundle:
    return bundle.read(sorted(ROOT.glob("models/*/bundle"))[0])


@pytest.fixture(scope="module")
def runtime() -> Path:
    return web.install_runtime(project_root(ROOT) / ".cache/web-runtime")


@pytest.fixture(scope="module")
def page(released: Bundle, runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of the release; copy it before changing anything in it."""
    folder = tmp_path_factory.mktemp("page") / "page"
    web.write_page(released, runtime, folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context()
    yield made
    made.close()


@pytest.fixture(scope="module")
def sample(released: Bundle) -> bytes:
    return (released.folder / released.manifest.samples[0]).read_bytes()


def _files(released: Bundle) -> Iterator[File]:
    """Radiographs as files of several kinds, and files that are refused."""
    for name in released.manifest.samples:
        yield File("samples", name, (released.folder / name).read_bytes())
    pixels = cv2.imread(str(released.folder / released.manifest.samples[1]), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    picture = Image.fromarray(np.asarray(pixels, np.uint8))
    for kind, options in (("JPEG", {}), ("WEBP", {"quality": 90}), ("WEBP", {"lossless": True}), ("BMP", {})):
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        yield File("formats", f"{kind} {options}", buffer.getvalue())
    deep = pixels.astype(np.int64) * 16
    for syntax in (ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless):
        yield File("dicom", syntax.name, coded(deep, syntax, 12, BodyPartExamined="HAND"))
    yield File("dicom", "another region stated", radiograph(deep, BodyPartExamined="SHOULDER"))
    yield File("dicom", JPEGBaseline8Bit.name, coded(pixels.astype(np.int64), JPEGBaseline8Bit, 8))
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    yield File("refused", "noise", cv2.imencode(".png", noise)[1].tobytes())
    yield File("refused", "text", b"no image")
    yield File("refused", "chest", radiograph(deep, BodyPartExamined="CHEST"))
    yield File("refused", "tomogram", radiograph(deep, Modality="CT"))


@pytest.fixture(scope="module")
def compared(released: Bundle, page: Path, browser: Browser) -> list[Compared]:
    """Ask the service and the device about the same files."""
    context = browser.new_context()
    with served(page) as address:
        device = open_page(context, address)
        found = list(parity.compare(Predictor(released), device, _files(released)))
    context.close()
    return found


def test_the_device_answers_as_the_service_does(compared: list[Compared]) -> None:
    answered = [one for one in compared if one.answered]
    assert len(answered) >= 14
    assert max(one.difference for one in answered) <= parity.CLOSE
    assert all(one.same_suspicion for one in answered)
    assert [(one.file.name, one.differing) for one in answered if one.differing] == []


def test_the_device_refuses_what_the_service_refuses(compared: list[Compared]) -> None:
    refused = [one for one in compared if one.file.group == "refused"]
    codes = ("not_a_radiograph", "unsupported_format", "out_of_scope", "out_of_scope")
    assert [one.codes for one in refused] == [(code, code) for code in codes]


def test_the_page_answers_after_the_server_is_gone(page: Path, context: BrowserContext, sample: bytes) -> None:
    with served(page) as address:
        open_page(context, address).page.close()
    device = open_page(context, address)
    assert "answer" in device.ask(sample)


def test_dicom_objects_are_answered_after_the_server_is_gone(
    page: Path, context: BrowserContext, sample: bytes
) -> None:
    pixels = cv2.imdecode(np.frombuffer(sample, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    files = json.loads((page / "release.json").read_text())["files"]
    # All but the runtime with threads, which comes last.
    kept = len({file["sha256"] for file in files.values() if file["relaxed"] is not False}) - 1
    with served(page) as address:
        device = open_page(context, address)
        count = "async () => (await (await caches.open((await caches.keys())[0])).keys()).length"
        deadline = time.monotonic() + 120
        while device.page.evaluate(count) < kept:
            assert time.monotonic() < deadline, "what only DICOM objects need did not come"
            time.sleep(0.1)
    assert "answer" in device.ask(coded(np.asarray(pixels, np.int64) * 16, JPEG2000Lossless, 12))


def test_what_could_not_be_loaded_is_loaded_with_the_next_image(
    copied: Path, context: BrowserContext, sample: bytes
) -> None:
    listed = json.loads((copied / "release.json").read_text())["files"][f"bundle/{bundle.MODEL}"]
    with served(copied) as address:
        device = open_page(context, address)
        # As if the browser had thrown it away, while the server cannot be reached.
        device.page.evaluate(
            """async (sha256) => (await caches.open((await caches.keys())[0]))
            .delete(new URL(`kept/${sha256}`, location.href))""",
            listed["sha256"],
        )
        away = (copied / listed["file"]).rename(copied / "away")
        assert device.ask(sample)["error"]["code"] == "internal"
        away.rename(copied / listed["file"])
        assert "answer" in device.ask(sample)


def test_an_image_that_another_app_shares_is_answered_once(page: Path, context: BrowserContext, sample: bytes) -> None:
    with served(page) as address:
        tab = open_page(context, address).page
        target = json.loads((page / "manifest.webmanifest").read_text())["share_target"]
        with tab.expect_navigation():
            tab.evaluate(
                """({ action, encoded }) => {
                  const form = Object.assign(document.createElement("form"),
                    { method: "POST", enctype: "multipart/form-data", action });
                  const input = Object.assign(document.createElement("input"), { type: "file", name: "images" });
                  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
                  const transfer = new DataTransfer();
                  transfer.items.add(new File([bytes], "Hand 1.png", { type: "image/png" }));
                  input.files = transfer.files;
                  form.append(input);
                  document.body.append(form);
                  form.submit();
                }""",
                {"action": target["action"], "encoded": base64.b64encode(sample).decode()},
            )
        expect(tab.locator("#cases li")).to_have_count(1, timeout=60_000)
        expect(tab.locator("#cases")).to_contain_text("Hand 1.png")
        expect(tab.locator(".scale .mark")).to_have_count(3, timeout=60_000)
        tab.reload()
        expect(tab.locator("#welcome")).to_be_visible()


def test_answers_are_kept_only_while_a_person_wants_it(page: Path, context: BrowserContext, sample: bytes) -> None:
    image: Any = {"name": "hand.png", "mimeType": "image/png", "buffer": sample}
    with served(page) as address:
        tab = open_page(context, address).page
        for count in (1, 2):
            tab.set_input_files("#choose-files", image)
            expect(tab.locator("#cases li[data-state=answered]")).to_have_count(count, timeout=60_000)
            tab.locator("#keep").check()  # the first is not kept: it came before
        tab.reload()
        expect(tab.locator("#cases li[data-state=answered]")).to_have_count(1, timeout=60_000)
        expect(tab.locator(".scale .mark")).to_have_count(3)
        tab.locator("#clear").click()
        tab.reload()
        expect(tab.locator("#open-about")).to_be_visible(timeout=60_000)
        expect(tab.locator("#welcome")).to_be_visible()
        assert tab.locator("#cases li").count() == 0


@pytest.mark.slow
def test_answers_are_kept_again_after_another_tab_has_erased_them(
    page: Path, context: BrowserContext, sample: bytes
) -> None:
    image: Any = {"name": "hand.png", "mimeType": "image/png", "buffer": sample}
    with served(page) as address:
        one, other = (open_page(context, address).page for _ in range(2))
        for count in (1, 2):
            one.set_input_files("#choose-files", image)
            expect(one.locator("#cases li[data-state=answered]")).to_have_count(count, timeout=60_000)
            one.locator("#keep").check()
        other.reload()
        expect(other.locator("#cases li[data-state=answered]")).to_have_count(1, timeout=60_000)
        other.locator("#clear").click()
        expect(other.locator("#welcome")).to_be_visible()
        one.set_input_files("#choose-files", image)
        expect(one.locator("#cases li[data-state=answered]")).to_have_count(3, timeout=60_000)
        expect(one.locator("#trouble")).to_be_hidden()
        other.reload()
        expect(other.locator("#cases li[data-state=answered]")).to_have_count(1, timeout=60_000)


def test_the_browser_is_asked_to_throw_nothing_away(page: Path, context: BrowserContext) -> None:
    context.add_init_script("navigator.storage.persist = async () => { window.persistAsked = true; return true; }")
    with served(page) as address:
        tab = open_page(context, address).page
        deadline = time.monotonic() + 120
        while not tab.evaluate("window.persistAsked ?? false"):
            assert time.monotonic() < deadline, "the browser may throw the page away"
            time.sleep(0.1)


@pytest.mark.parametrize(
    "path", ["release.json", *(pytest.param(one, marks=pytest.mark.slow) for one in ("icon.svg", "another/site.html"))]
)
def test_what_else_lies_below_the_pages_folder_is_left_to_the_server(
    path: str, copied: Path, context: BrowserContext
) -> None:
    (copied / "another").mkdir()
    (copied / "another/site.html").write_text("<title>Another site</title>")
    with served(copied) as address:
        tab = open_page(context, address).page
        response = tab.goto(f"{address}{path}")
        assert response is not None
        assert not response.from_service_worker
        assert response.body() == (copied / path).read_bytes()
        tab.goto(f"{address}index.html")
        expect(tab.locator("#open-about")).to_be_visible(timeout=60_000)


class _BreaksOff(Quiet):
    """Lets go of the connection where a file of this name is asked for."""

    names: ClassVar[set[str]] = set()

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        return None if self.path.rsplit("/", 1)[-1] in self.names else super().send_head()


class _Text(Quiet):
    """Sends scripts as text, as Python's own server does where Windows says so."""

    extensions_map: Mapping[str, str] = {**Quiet.extensions_map, ".js": "text/plain"}


@pytest.mark.parametrize("trouble", ["no network", pytest.param("no room", marks=pytest.mark.slow)])
def test_a_first_visit_that_fails_says_what_to_do_and_goes_on_later(
    trouble: str, page: Path, context: BrowserContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = json.loads((page / "release.json").read_text())["files"][f"bundle/{bundle.MODEL}"]["file"]
    if trouble == "no network":
        monkeypatch.setattr(_BreaksOff, "names", {Path(network).name})
    with served(page, _BreaksOff) as address:
        tab = context.new_page()
        quota = {"origin": address.rstrip("/")}
        devtools = context.new_cdp_session(tab)
        if trouble == "no room":
            devtools.send("Storage.overrideQuotaForOrigin", {**quota, "quotaSize": 3_000_000})
        tab.goto(address)
        words = "not enough free room" if trouble == "no room" else "the connection broke off"
        expect(tab.locator("#state")).to_contain_text(words, timeout=60_000)
        if trouble == "no room":
            devtools.send("Storage.overrideQuotaForOrigin", quota)
        monkeypatch.setattr(_BreaksOff, "names", set())
        tab.locator("#again").click()
        expect(tab.locator("#open-about")).to_be_visible(timeout=60_000)


@pytest.mark.slow
def test_a_server_that_sends_scripts_as_text_is_told_of(page: Path, context: BrowserContext) -> None:
    with served(page, _Text) as address:
        tab = context.new_page()
        tab.goto(address)
        expect(tab.locator("#state")).to_contain_text("It cannot be put on this device", timeout=30_000)


def test_the_page_shows_an_answer_with_the_operating_points_of_the_published_model(
    released: Bundle, page: Path, context: BrowserContext
) -> None:
    with served(page) as address:
        tab = open_page(context, address).page
        expect(tab.locator("#about")).to_contain_text(released.sha256)
        tab.locator("#samples button").first.click()
        expect(tab.locator(".scale .mark")).to_have_count(3, timeout=60_000)  # the label's threshold is one of them


def test_pages_in_two_folders_of_one_server_leave_each_other_alone(
    page: Path, tmp_path: Path, context: BrowserContext, sample: bytes
) -> None:
    for name in ("one", "other"):
        shutil.copytree(page, tmp_path / name)
    with served(tmp_path) as address:
        for name in ("one", "other"):
            open_page(context, f"{address}{name}/").page.close()
    assert "answer" in open_page(context, f"{address}one/").ask(sample)


def test_the_page_asks_nobody_but_its_own_server(page: Path, context: BrowserContext, sample: bytes) -> None:
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    with served(page) as address:
        open_page(context, address).ask(sample)
        assert [url for url in asked if not url.startswith((address, "blob:" + address, "data:"))] == []


def test_a_tab_killed_while_the_page_is_fetched_does_no_harm(
    page: Path, context: BrowserContext, sample: bytes
) -> None:
    with served(page) as address:
        tab = context.new_page()
        tab.goto(address)
        expect(tab.locator("#state")).to_contain_text("MB")
        tab.close()
        assert "answer" in open_page(context, address).ask(sample)


@pytest.mark.parametrize("name", ["bundle/model.tflite", "bundle/reference.npz", "web/device/decision.js"])
def test_a_changed_file_is_not_put_on_the_device(name: str, copied: Path, context: BrowserContext) -> None:
    listed = json.loads((copied / "release.json").read_text())["files"][name]
    place = copied / listed["file"]
    content = bytearray(gzip.decompress(place.read_bytes()) if listed["packed"] else place.read_bytes())
    content[len(content) // 2] ^= 1  # the network's planes too: a change of any byte changes the hash
    place.write_bytes(content)
    with served(copied) as address:
        tab = context.new_page()
        tab.goto(address)
        expect(tab.locator("#state")).to_contain_text("damaged or was changed", timeout=60_000)
        assert tab.locator("#welcome").count() == 0


def test_no_answer_is_given_with_another_model_than_the_published_one(
    page: Path, context: BrowserContext, sample: bytes
) -> None:
    with served(page) as address:
        device = open_page(context, address)
        network = json.loads((page / "release.json").read_text())["files"][f"bundle/{bundle.MODEL}"]
        # As if another program had changed what the browser keeps.
        device.page.evaluate(
            """async (sha256) => (await caches.open((await caches.keys())[0])).put(
            new URL(`kept/${sha256}`, location.href), new Response(new Uint8Array(1000)))""",
            network["sha256"],
        )
        for told in device.ask_together([sample, sample]):
            assert told["error"]["code"] == "bundle"
            assert "damaged or was changed" in told["error"]["message"]
        assert "answer" in device.ask(sample)  # fetched anew


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def asking(released: Bundle, runtime: Path, signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of the release that trusts one key, and do not sign it; copy it before changing anything in it."""
    folder = tmp_path_factory.mktemp("asking") / "page"
    web.write_page(released, runtime, folder, [signer.public])
    return folder


@pytest.fixture
def signed(asking: Path, signer: Signer, tmp_path: Path) -> Path:
    """Copy that page and sign it."""
    folder = Path(shutil.copytree(asking, tmp_path / "signed"))
    signer.sign(folder / web.SIGNED)
    return folder


@pytest.mark.slow
def test_a_signed_page_answers_without_the_server(signed: Path, context: BrowserContext, sample: bytes) -> None:
    with served(signed) as address:
        open_page(context, address).page.close()
    assert "answer" in open_page(context, address).ask(sample)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["nobody", "another key"])
def test_a_page_that_no_trusted_key_signed_is_not_put_on_the_device(
    by: str, signed: Path, context: BrowserContext
) -> None:
    (signed / "signed.sig").unlink()
    if by == "another key":
        Signer().sign(signed / web.SIGNED)
    with served(signed) as address:
        tab = context.new_page()
        tab.goto(address)
        words = "has to be signed" if by == "nobody" else "is not trusted"
        expect(tab.locator("#state")).to_contain_text(words, timeout=60_000)
        assert tab.locator("#welcome").count() == 0


@pytest.mark.slow
def test_no_answer_is_given_with_a_signature_that_was_changed_on_the_device(
    signed: Path, context: BrowserContext, sample: bytes
) -> None:
    other = signed.parent / "other"
    other.mkdir()
    (other / "model.json").write_text("{}")
    text = Signer().sign(other).read_text()
    with served(signed) as address:
        device = open_page(context, address)
        device.page.evaluate(
            """async (text) => {
              const cache = await caches.open((await caches.keys()).find((name) => name.startsWith("fracture http")));
              const place = (await cache.keys()).find(({ url }) => url.endsWith(".sig"));
              await cache.put(place, new Response(text));
            }""",
            text,
        )
        told = device.ask(sample)
        assert told["error"]["code"] == "bundle"
        assert "is not trusted" in told["error"]["message"]
        assert "answer" in device.ask(sample)  # fetched anew


@pytest.fixture(params=["unsigned", "signed with an unknown key"])
def strange(request: pytest.FixtureRequest, second: Bundle, runtime: Path, tmp_path: Path) -> Path:
    """Write the page of the second release without a signature of a key that devices know."""
    folder, stranger = tmp_path / "strange", Signer()
    if request.param == "unsigned":
        web.write_page(second, runtime, folder)
    else:
        web.write_page(second, runtime, folder, [stranger.public])
        stranger.sign(folder / web.SIGNED)
    return folder


@pytest.mark.slow
def test_a_device_that_has_a_signed_release_keeps_it_when_no_key_that_it_knows_signed_the_next(
    signed: Path, strange: Path, context: BrowserContext, sample: bytes
) -> None:
    with served(signed) as address:
        device = open_page(context, address)
        shutil.rmtree(signed)
        strange.rename(signed)
        tried = """async () => {
          const registration = await navigator.serviceWorker.getRegistration();
          const found = await registration.update().catch(() => null);
          const worker = found?.installing;
          if (!worker) return "redundant";
          return new Promise((resolve) => worker.addEventListener("statechange", () => resolve(worker.state)));
        }"""
        assert device.page.evaluate(tried) == "redundant"
        expect(device.page.locator("#device")).to_contain_text("A newer release was not taken")
        device.page.close()
        told = open_page(context, address).ask(sample)
        assert told["answer"]["model"]["version"] != "second"


@pytest.mark.slow
def test_a_device_takes_a_new_key_from_a_release_that_the_old_one_signed(
    signed: Path, signer: Signer, second: Bundle, runtime: Path, context: BrowserContext
) -> None:
    new = Signer()
    with served(signed) as address:
        device = open_page(context, address)
        web.write_page(second, runtime, signed, [new.public, signer.public])
        signer.sign(signed / web.SIGNED)
        device.page.evaluate("async () => (await navigator.serviceWorker.getRegistration()).update()")
        offer = device.page.get_by_role("button", name="Use it now")
        expect(offer).to_be_visible(timeout=60_000)
        with device.page.expect_navigation():
            offer.click()
        expect(device.page.locator("#open-about")).to_contain_text("version second", timeout=60_000)


@pytest.fixture
def copied(page: Path, tmp_path: Path) -> Path:
    """Copy the page, to be changed."""
    return Path(shutil.copytree(page, tmp_path / "page"))


@pytest.fixture
def second(released: Bundle, tmp_path: Path) -> Bundle:
    """Make the same model as another version."""
    folder = Path(shutil.copytree(released.folder, tmp_path / "bundle"))
    facts: dict[str, Any] = released.manifest.model_dump(mode="json", exclude={"files", "digest", "schema_version"})
    bundle.write(folder, {**facts, "version": "second"})
    return bundle.read(folder)


def test_an_open_page_keeps_its_release_until_a_person_takes_the_next(
    copied: Path, second: Bundle, runtime: Path, context: BrowserContext, sample: bytes
) -> None:
    with served(copied) as address:
        device = open_page(context, address)
        web.write_page(second, runtime, copied)
        device.page.evaluate("async () => (await navigator.serviceWorker.getRegistration()).update()")
        offer = device.page.get_by_role("button", name="Use it now")
        expect(offer).to_be_visible(timeout=60_000)
        assert device.ask(sample)["answer"]["model"]["version"] != "second"
        with device.page.expect_navigation():
            offer.click()
        expect(device.page.locator("#open-about")).to_contain_text("version second", timeout=60_000)
        assert device.ask(sample)["answer"]["model"]["version"] == "second"


def test_chromium_would_install_the_page(page: Path, context: BrowserContext) -> None:
    with served(page) as address:
        device = open_page(context, address)
        session = context.new_cdp_session(device.page)
        found = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    # Playwright's contexts are incognito ones, in which nothing is installed.
    assert [error["errorId"] for error in found if error["errorId"] != "in-incognito"] == []


def test_the_service_offers_the_page_below_its_own(
    released: Bundle, page: Path, context: BrowserContext, sample: bytes
) -> None:
    app = create_app()
    app.state.engine = Engine(released, Settings(offline=page), CollectorRegistry())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    running = threading.Thread(target=server.run, daemon=True)
    running.start()
    while not server.started:
        time.sleep(0.02)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    assert "answer" in open_page(context, f"{address}/offline/").ask(sample)
    server.should_exit = True
    running.join(timeout=30)
    app.state.engine.close()


def test_the_page_may_use_threads(page: Path, context: BrowserContext) -> None:
    with served(page) as address:
        assert open_page(context, address).page.evaluate("crossOriginIsolated") is True


@pytest.mark.slow
@pytest.mark.parametrize("run", ["single", "compat", "threads"])
def test_every_way_to_run_the_network_gives_the_services_answer(
    run: str, released: Bundle, page: Path, context: BrowserContext, sample: bytes
) -> None:
    with served(page) as address:
        device = open_page(context, address, run)
        (found,) = parity.compare(Predictor(released), device, [File("samples", run, sample)])
    assert found.answered, found.device
    assert (found.difference <= parity.CLOSE, found.differing) == (True, [])


@pytest.mark.slow
def test_the_page_gets_ready_before_an_image_comes_with_threads_once_their_runtime_is_on_the_device(
    page: Path, context: BrowserContext, sample: bytes
) -> None:
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    with served(page) as address:
        tab = context.new_page()
        tab.goto(address)
        until = time.monotonic() + 120
        while not any(url.endswith("litert_wasm_threaded_internal.js") for url in asked):
            assert time.monotonic() < until, "the runtime with threads was not started"
            tab.wait_for_timeout(100)  # which also hears of requests
        assert "answer" in Device(tab).ask(sample)
    assert not any(url.endswith("litert_wasm_internal.js") for url in asked)
