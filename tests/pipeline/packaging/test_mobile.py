"""The folder for an app: its script finds what the golden vectors say, in a bare JavaScript engine."""

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from pipeline.packaging import mobile
from serving import bundle
from serving.bundle import Bundle

pytestmark = pytest.mark.node

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def released() -> Bundle:
    return bundle.read(sorted(ROOT.glob("models/*/bundle"))[0])


@pytest.fixture(scope="module")
def app(released: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mobile") / "app"
    mobile.write_app(released, folder)
    return folder


def _golden(app: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((app / "golden").glob("*.json"))}


@pytest.fixture(scope="module")
def found(app: Path) -> dict[str, Any]:
    """Ask the script about every golden picture, whose grey levels a decoder of this machine gives."""
    for name in _golden(app):
        picture = cv2.imread(str(app / f"golden/{name}.png"), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        (app / f"golden/{name}.grey").write_bytes(picture.tobytes())
    done = subprocess.run(
        ["node", Path(__file__).with_name("golden.mjs"), app], check=True, capture_output=True, text=True
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_every_sample_has_a_golden_vector(app: Path, released: Bundle) -> None:
    assert len(_golden(app)) == len(released.manifest.samples)


def test_the_script_makes_the_golden_input_of_a_picture(app: Path, found: dict[str, Any]) -> None:
    for name, golden in _golden(app).items():
        pixels = base64.b64decode(found[name]["pixels"])
        assert pixels == (app / f"golden/{name}.pixels").read_bytes()
        assert hashlib.sha256(pixels).hexdigest() == golden["pixels_sha256"]


def test_the_script_makes_the_golden_answer_of_the_networks_outputs(app: Path, found: dict[str, Any]) -> None:
    for name, golden in _golden(app).items():
        answer, wanted = found[name]["answer"], golden["answer"]
        assert answer["probability"] == pytest.approx(wanted["probability"], abs=1e-6)
        for key in ("label", "suspicion", "statement", "warnings"):
            assert answer[key] == wanted[key]
        assert answer["region"]["name"] == wanted["region"]["name"]
        assert answer["input"]["seen"] == pytest.approx(wanted["input"]["seen"], abs=1e-5)
        assert found[name]["explanation"]["peak"] == pytest.approx(golden["explanation"]["peak"], abs=0.01)
        assert len(found[name]["explanation"]["boxes"]) == len(golden["explanation"]["boxes"])


def test_the_network_has_a_batch_of_one_and_the_golden_outputs(app: Path) -> None:
    interpreter = Interpreter(model_path=str(app / "model.tflite"))
    run = interpreter.get_signature_runner()
    name, golden = next(iter(_golden(app).items()))
    pixels = np.frombuffer((app / f"golden/{name}.pixels").read_bytes(), np.uint8)
    side = int(pixels.size**0.5)
    outputs = run(pixels=pixels.reshape(1, side, side, 1))
    places = json.loads((app / "bundle.json").read_text())["outputs"]
    assert {key: list(outputs[key].shape) for key in places} == {key: place["shape"] for key, place in places.items()}
    for key in ("scores", "map"):
        np.testing.assert_allclose(outputs[key].reshape(-1), golden["outputs"][key], atol=1e-4)
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == [1, side, side, 1]


def test_the_script_refuses_what_the_service_refuses(found: dict[str, Any]) -> None:
    codes = {name: told["error"]["code"] for name, told in found["refused"].items()}
    assert codes == {"chest": "out_of_scope", "blank": "blank", "short": "undecodable"}


def test_the_script_gives_no_answer_for_a_picture_that_it_refused(found: dict[str, Any]) -> None:
    assert found["stale"].startswith("conclude: no picture is prepared")


def test_the_script_needs_no_browser_and_no_module_loader() -> None:
    text = mobile.script()
    for word in ("fetch(", "import ", "document.", "crypto.", "new Blob", "DecompressionStream"):
        assert word not in text.replace("// Generated", ""), word


def test_an_import_that_a_script_cannot_hold_is_named(tmp_path: Path) -> None:
    (tmp_path / "native.js").write_text("export default 3;\n")
    with pytest.raises(ValueError, match=r"native.js: export default 3;"):
        list(mobile._modules(tmp_path, Path("native.js"), {}))
