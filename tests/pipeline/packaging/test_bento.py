"""A bundle becomes a bento, and the bento answers in an environment of its own."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from pipeline.packaging.bento import build_bento
from serving import bundle
from serving.http.settings import packaged_page
from serving.predictor import Predictor
from serving.signature import VARIABLE
from tests.signer import Signer

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def bento(packaged_folder: Path) -> Path:
    """Give the folder of the built bento."""
    return packaged_folder / "build/bento/bone-fracture-1"


def test_the_bentos_labels_name_version_run_and_hashes(bento: Path) -> None:
    labels = YAML(typ="safe").load((bento / "bento.yaml").read_text())["labels"]
    manifest = bundle.read(bento / "src/bundle").manifest
    assert labels["registry_version"] == "1"
    assert labels["model_sha256"] == manifest.files["model.tflite"]
    assert labels["data_hash"] == manifest.origin.data_hash


def test_the_bento_holds_service_serving_bundle_and_lock_and_nothing_else(bento: Path) -> None:
    # Python leaves __pycache__ there once the bento has been served.
    assert {path.name for path in (bento / "src").iterdir()} - {"__pycache__"} == {
        "service.py", "bentofile.yaml", "serving", "bundle", "locks"
    }  # fmt: skip
    assert sorted(path.name for path in (bento / "src/locks").iterdir()) == [
        "service.txt", "store.txt", "verify.txt"
    ]  # fmt: skip


@pytest.mark.slow
def test_the_bento_of_a_signed_bundle_holds_its_signature(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, signer = Path(shutil.copytree(packaged / "build/bundle/bone-fracture-1", tmp_path / "bundle")), Signer()
    signer.sign(folder)
    build_bento(packaged, folder, tmp_path / "bento")
    monkeypatch.setenv(VARIABLE, str(signer.write_public(tmp_path / "key.pub")))
    assert bundle.read(bundle.find_default(tmp_path / "bento/src")).signed_by == signer.public


@pytest.mark.slow
def test_the_bento_that_is_packaged_with_a_page_for_devices_holds_it(packaged: Path, tmp_path: Path) -> None:
    page = tmp_path / "page"
    (page / "files").mkdir(parents=True)
    (page / "sw.js").write_text("const RELEASE = {};")
    (page / "files/0123.wasm.gz").write_bytes(b"packed")
    build_bento(packaged, packaged / "build/bundle/bone-fracture-1", tmp_path / "bento", page)
    found = packaged_page(tmp_path / "bento/src")
    assert found is not None
    assert (found / "files/0123.wasm.gz").read_bytes() == b"packed"


def test_the_bento_names_no_package_index(bento: Path) -> None:
    texts = [path for path in bento.rglob("*") if path.suffix in {".txt", ".yaml", ".in", ".sh", ".md", ".json", ".py"}]
    found = [
        f"{path.name}: {match}"
        for path in (*texts, bento / "env/docker/Dockerfile")
        for match in re.findall(r"--(?:extra-)?index-url|--find-links|https?://[^\s\"']*simple\b", path.read_text())
    ]
    assert found == []


def test_the_bento_needs_neither_tensorflow_nor_mlflow_nor_dvc(bento: Path) -> None:
    lock = (bento / "src/locks/service.txt").read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert "bentoml" in pinned
    assert not pinned & {"tensorflow", "tensorflow-cpu", "keras", "mlflow", "dvc", "pandas", "scikit-learn"}


@dataclass(frozen=True)
class Served:
    """A bento running in a fresh environment."""

    url: str
    workers: list[psutil.Process]
    environment: Path


@pytest.fixture(scope="module")
def served(bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Make an environment from the bento's own lock, with bytecode, and serve the bento from its own folder."""
    folder = tmp_path_factory.mktemp("served")
    environment, home = folder / "environment", folder / "home"
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    python = environment / "bin/python"
    lock = bento / "src/locks/service.txt"
    install = [uv, "pip", "install", "--quiet", "--python", str(python), "--compile-bytecode", "--require-hashes"]
    subprocess.run([*install, "--requirement", str(lock)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FRACTURE_"))}
    process = subprocess.Popen(
        [str(environment / "bin/bentoml"), "serve", ".", "--host", "127.0.0.1", "--port", str(port)],
        cwd=bento,
        env={**clean, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process)
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if "_bentoml_impl.worker" in " ".join(child.cmdline())]
        yield Served(url, workers, environment)
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert process.poll() is None, "the service ended"
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:  # noqa: S310  loopback
                if response.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    pytest.fail("the service was not ready within a minute")


def test_the_served_bento_answers_as_prediction_in_the_process_does(served: Served, bento: Path) -> None:
    predictor = Predictor(bundle.read(bento / "src/bundle"))
    for path in sorted((bento / "src/bundle/samples").iterdir()):
        content = path.read_bytes()
        request = urllib.request.Request(  # noqa: S310  loopback
            f"{served.url}/predict", data=content, headers={"content-type": "image/png"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer = json.load(response)
        assert answer["probability"] == pytest.approx(predictor.predict(content).probability, abs=1e-4)


def test_a_worker_stays_below_350_megabytes(served: Served) -> None:
    assert served.workers
    assert max(worker.memory_info().rss for worker in served.workers) < 350e6


def test_the_environment_stays_below_450_megabytes_with_bytecode(served: Served) -> None:
    files = {path.lstat().st_ino: path.lstat().st_size for path in served.environment.rglob("*") if path.is_file()}
    assert any(path.suffix == ".pyc" for path in served.environment.rglob("*"))
    assert sum(files.values()) < 450e6


def test_the_figures_are_those_of_all_workers(served: Served) -> None:
    with urllib.request.urlopen(f"{served.url}/metrics", timeout=10) as response:  # noqa: S310
        text = response.read().decode()
    assert "fracture_model_info{" in text
    assert "fracture_input_mean_bucket" in text


@pytest.mark.parametrize("path", ["/docs.json", "/static_content/index.css"])
def test_bentomls_own_pages_stay_hidden(served: Served, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(served.url + path, timeout=10)  # noqa: S310
    assert json.load(error.value)["code"] == "not_found"
