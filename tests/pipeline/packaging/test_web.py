"""The page that answers in a browser, as a folder of files."""

import gzip
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from pipeline.errors import InputError
from pipeline.packaging import web, web_constants
from serving import bundle, decision
from serving.bundle import MODEL, Bundle
from serving.imaging.canonical import field
from serving.imaging.canvas import Preprocessing, Steps
from serving.network import Network

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def released() -> Bundle:
    return bundle.read(sorted(ROOT.glob("models/*/bundle"))[0])


@pytest.fixture(scope="module")
def page(released: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of the release with an empty runtime: nothing here runs the network in a browser."""
    folder = tmp_path_factory.mktemp("page")
    runtime = folder / "runtime"
    for name in (
        "core/dist/index.js", "wasm-utils/dist/index.js", "core/wasm/litert_wasm_internal.js",
        "core/wasm/litert_wasm_internal.wasm",
    ):  # fmt: skip
        path = runtime / "node_modules/@litertjs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('import { createWasmLib } from "@litertjs/wasm-utils";\n')
    web.write_page(released, runtime, folder / "page")
    return folder / "page"


def _release(page: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((page / "release.json").read_text())
    return found


def _content(page: Path, name: str) -> bytes:
    entry = _release(page)["files"][name]
    content = (page / entry["file"]).read_bytes()
    return gzip.decompress(content) if entry["packed"] else content


def test_every_file_has_the_hash_that_the_release_lists(page: Path) -> None:
    for name, entry in _release(page)["files"].items():
        content = _content(page, name)
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        assert entry["file"].startswith(f"files/{entry['sha256'][:32]}")
        assert len(content) == entry["bytes"]


def test_the_service_worker_lists_the_files_of_the_release(page: Path) -> None:
    first = (page / "sw.js").read_text().splitlines()[0]
    assert json.loads(first.removeprefix("const RELEASE = ").removesuffix(";"))["files"] == _release(page)["files"]


def test_no_file_of_the_page_names_a_remote_address(page: Path) -> None:
    texts = [path.read_text() for path in page.iterdir() if path.suffix in {".js", ".html", ".css"}]
    texts += [
        _content(page, name).decode() for name in _release(page)["files"] if name.endswith((".js", ".html", ".css"))
    ]
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    for text in texts:
        assert set(re.findall(r"https?://[\w./-]+", text)) <= namespaces | {"https://"}


def test_every_script_and_style_sheet_has_its_hash(page: Path) -> None:
    for text in ((page / "index.html").read_text(), _content(page, "index.html").decode()):
        named = re.findall(r'<(?:script type="module" src|link rel="stylesheet" href)="[^>]+>', text)
        assert named
        assert [one for one in named if "integrity=" not in one and "release.js" not in one] == []


def test_the_same_bundle_gives_the_same_page(released: Bundle, page: Path, tmp_path: Path) -> None:
    web.write_page(released, page.parent / "runtime", tmp_path / "again")
    first, second = ({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
                     for folder in (page, tmp_path / "again"))  # fmt: skip
    assert first == second


def test_the_network_keeps_its_answers_without_a_batch_of_any_size(released: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "fixed.tflite"
    path.write_bytes(web.fixed_batch(released.content_of(MODEL)))
    details = Interpreter(model_path=str(path)).get_input_details()[0]
    size = released.preprocessing.image_size
    assert details["shape_signature"].tolist() == details["shape"].tolist() == [1, size, size, 1]
    pixels = np.random.default_rng(0).integers(0, 256, (size, size), np.uint8)
    ours, theirs = Network(path)(pixels), Network(released.network)(pixels)
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values)


@pytest.mark.parametrize(
    ("preprocessing", "named"),
    [
        (Preprocessing(denoise="median"), "denoise: median"),
        (Preprocessing(clahe=True), "clahe"),
        (Preprocessing(canonical=Steps(orientation=True)), "canonical: orientation"),
    ],
)
def test_a_bundle_with_other_preprocessing_is_refused_by_name(
    released: Bundle, preprocessing: Preprocessing, named: str
) -> None:
    with pytest.raises(InputError, match=f"trained with {named}"):
        web.check_supported(replace(released, preprocessing=preprocessing))


def test_npm_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="npm: not found"):
        web.install_runtime(tmp_path)


def test_the_lock_of_the_runtime_has_hashes_and_no_address() -> None:
    lock = json.loads((web.RUNTIME / "package-lock.json").read_text())
    packages = [facts for name, facts in lock["packages"].items() if name]
    assert packages
    assert all("integrity" in facts and "resolved" not in facts for facts in packages)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("FIELD", "SIDE", field._SIDE),
        ("FIELD", "ALONG", field._ALONG.tolist()),
        ("DECISION", "FRACTURED", decision.FRACTURED),
        ("DECODE", "PREVIEW_AT_LEAST", 56),
    ],
)
def test_the_browsers_constants_are_ours(module: str, name: str, value: object) -> None:
    assert web_constants.constants()[module][name] == value


def test_every_constant_that_the_browser_reads_is_written() -> None:
    written = web_constants.constants()
    for path in (web.WEB / "device").rglob("*.js"):
        text = path.read_text()
        names = re.search(r"import \{ ([A-Z_, ]+) \} from \"[./]+constants\.js\"", text)
        for module in names[1].split(", ") if names else []:
            for name in set(re.findall(rf"\b{module}\.([A-Z_]+)\b", text)):
                assert name in written[module], f"{path.name}: {module}.{name}"
