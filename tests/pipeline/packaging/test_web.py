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

from pipeline.errors import InputError
from pipeline.packaging import web, web_constants
from serving import bundle, decision, signature
from serving.bundle import Bundle
from serving.imaging.canonical import field
from serving.imaging.canvas import Preprocessing, Steps
from tests.signer import Signer

ROOT = Path(__file__).parents[3]
KEY = Signer().public


@pytest.fixture(scope="module")
def released() -> Bundle:
    return bundle.read(sorted(ROOT.glob("models/*/bundle"))[0])


@pytest.fixture(scope="module")
def page(released: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of the release, which trusts KEY, with an empty runtime: nothing here runs it in a browser."""
    folder = tmp_path_factory.mktemp("page")
    runtime = folder / "runtime"
    for name in (
        "@litertjs/core/dist/index.js", "@litertjs/wasm-utils/dist/index.js",
        *(f"@litertjs/core/wasm/{variant}.{suffix}" for variant in web._VARIANTS for suffix in ("js", "wasm")),
        *(f"@cornerstonejs/codec-{codec}/dist/{codec}wasm_decode.{suffix}"
          for codec in ("charls", "openjpeg") for suffix in ("js", "wasm")),
    ):  # fmt: skip
        path = runtime / "node_modules" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('import { createWasmLib } from "@litertjs/wasm-utils";\n')
    web.write_page(released, runtime, folder / "page", [KEY])
    return folder / "page"


def _release(page: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((page / "release.json").read_text())
    return found


def _content(page: Path, name: str) -> bytes:
    entry = _release(page)["files"][name]
    content = (page / entry["file"]).read_bytes()
    content = gzip.decompress(content) if entry["packed"] else content
    return _joined(content) if entry["planes"] else content


def _joined(content: bytes) -> bytes:
    """The inverse of `web_network.by_planes`, as the service worker has it."""
    whole = len(content) & ~3
    return np.frombuffer(content, np.uint8, whole).reshape(4, -1).T.tobytes() + content[whole:]


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
    namespaces |= {signature._STATEMENT, signature._PREDICATE}
    for text in texts:
        assert set(re.findall(r"https?://[\w./-]+", text)) <= namespaces | {"https://"}


def test_every_script_and_style_sheet_has_its_hash(page: Path) -> None:
    for text in ((page / "index.html").read_text(), _content(page, "index.html").decode()):
        named = re.findall(r'<(?:script type="module" src|link rel="stylesheet" href)="[^>]+>', text)
        assert named
        assert [one for one in named if "integrity=" not in one and "release.js" not in one] == []


def test_the_release_says_in_which_number_format_the_network_lies(page: Path) -> None:
    assert _release(page)["weights"].startswith("float32 with 13 of 23 bits of the mantissa; a probability differs by")


def test_what_only_dicom_objects_need_is_no_part_of_the_first_visit(page: Path) -> None:
    later = [name for name, entry in _release(page)["files"].items() if entry["later"]]
    assert "web/device/imaging/dicom/objects.js" in later
    assert "codecs/openjpegwasm_decode.wasm" in later
    assert "web/device/imaging/dicom/prefix.js" not in later
    assert not [name for name in later if name.startswith("bundle/")]


def test_a_first_visit_fetches_the_runtime_that_its_browser_runs_and_not_the_one_with_threads(page: Path) -> None:
    found = {name: (entry["relaxed"], entry["later"]) for name, entry in _release(page)["files"].items()}
    assert {name: facts for name, facts in found.items() if facts[0] is not None} == {
        f"runtime/litert_wasm_{variant}internal.{suffix}": (relaxed, later)
        for variant, relaxed, later in (("", True, False), ("compat_", False, False), ("threaded_", True, True))
        for suffix in ("js", "wasm")
    }


def test_what_has_to_be_signed_names_every_file_of_the_bundle(page: Path) -> None:
    release, manifest = _release(page), (page / web.SIGNED / "model.json").read_bytes()
    assert release["keys"] == [KEY.for_browser()]
    assert hashlib.sha256(manifest).hexdigest() == release["model_json"]
    named = json.loads(manifest)["files"]
    assert named == {
        name.removeprefix("bundle/"): entry["sha256"]
        for name, entry in release["files"].items()
        if name.startswith("bundle/") and name != "bundle/model.json"
    }


def test_the_service_worker_holds_the_check_of_signatures_and_imports_nothing(page: Path) -> None:
    text = (page / "sw.js").read_text()
    assert "async function checkSignature(" in text
    assert re.findall(r"^(?:import|export)\b.*", text, re.MULTILINE) == []


def test_the_bundle_leaves_room_for_the_runtime_within_fifteen_megabytes(page: Path) -> None:
    files = _release(page)["files"]
    bundle_bytes = sum(entry["transferred"] for name, entry in files.items() if name.startswith("bundle/"))
    assert bundle_bytes + 3_500_000 < 15_000_000


def test_an_exported_page_may_be_shared_with(page: Path) -> None:
    target = json.loads((page / "manifest.webmanifest").read_text())["share_target"]
    assert (target["action"], target["method"]) == ("./share", "POST")


def test_the_same_bundle_gives_the_same_page(released: Bundle, page: Path, tmp_path: Path) -> None:
    web.write_page(released, page.parent / "runtime", tmp_path / "again", [KEY])
    first, second = ({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
                     for folder in (page, tmp_path / "again"))  # fmt: skip
    assert first == second


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
