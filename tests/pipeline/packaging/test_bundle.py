"""A registered model becomes a bundle and a bento, and the bento answers in an environment of its own."""

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
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from ruamel.yaml import YAML

from pipeline.artifacts import ChangeMetrics, Robustness, TrainingRecord
from pipeline.packaging.conversion import Measured, compare
from serving import bundle
from serving.decision import Decision, LogisticCalibration
from serving.predictor import Predictor

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Project:
    """A copy of the project whose stages ran, with a registry of its own."""

    root: Path

    def run(self, *command: str, code: int = 0) -> str:
        """Run a command in it; stdout and stderr together."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.root / 'mlflow.db'}",
        }
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


def _set_gate(root: Path, auroc: float) -> None:
    yaml = YAML()
    values = yaml.load((root / "params.yaml").read_text())
    values["register"]["min_auroc"] = auroc
    values["register"]["min_sensitivity"] = 0.0
    with (root / "params.yaml").open("w") as file:
        yaml.dump(values, file)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, trained_folder: Path) -> Project:
    """Register the sample's model as version 1, which passes its gates, promote and package it."""
    root = tmp_path_factory.mktemp("packaging") / "project"
    shutil.copytree(trained_folder, root)
    for name in ("params.yaml", "dvc.yaml", "service.py", "bentofile.yaml"):
        shutil.copy(ROOT / name, root)
    for name in ("serving", "pipeline", "locks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "reports/validation.json").write_text("{}")
    (root / "reports/history.csv").write_text("epoch,loss\n1,0.5\n")
    _set_gate(root, 0.0)
    made = Project(root)
    made.run("python", "-m", "pipeline.register")
    made.run("fracture", "promote")
    (root / "package.log").write_text(made.run("fracture", "package"))
    return made


@pytest.fixture(scope="module")
def bento(project: Project) -> Path:
    """Give the folder of the built bento."""
    return project.root / "build/bento/bone-fracture-1"


def test_the_last_lines_say_where_bundle_and_bento_are_and_how_to_serve_them(project: Project) -> None:
    lines = (project.root / "package.log").read_text().splitlines()
    assert any(re.fullmatch(r"bundle: .*build/bundle/bone-fracture-1", line) for line in lines)
    assert any(re.fullmatch(r"bento:  .*build/bento/bone-fracture-1 \(bone-fracture:1-\w+\)", line) for line in lines)
    assert any(line.startswith("serve it: fracture serve --bundle") for line in lines)


def test_the_bundle_says_where_the_model_comes_from(project: Project) -> None:
    manifest = bundle.read(project.root / "build/bundle/bone-fracture-1").manifest
    training = json.loads((project.root / "build/model/training.json").read_text())
    assert manifest.origin.registry_version == manifest.version == "1"
    assert manifest.origin.data_hash == training["data_hash"]
    assert manifest.origin.weights_sha256 == training["weights_sha256"]
    assert (manifest.origin.gates, manifest.origin.forced) == ("passed", None)
    assert "hand" in manifest.intended.regions
    assert manifest.trained_on.synthetic
    assert len(manifest.samples) == 4


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
    assert sorted(path.name for path in (bento / "src/locks").iterdir()) == ["service.txt", "store.txt"]


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


def test_a_champion_that_failed_its_gates_is_not_packaged_until_it_is_forced(project: Project, tmp_path: Path) -> None:
    copy = Project(Path(shutil.copytree(project.root, tmp_path / "project")))
    # What a move in the MLflow UI leaves: an alias on a version that failed, and nobody who forced it.
    code = (
        "from pipeline.registry.mlflow import connect;"
        "connect().set_version_tags('bone-fracture', '1', {'gates': 'failed: AUROC 0.5'})"
    )
    copy.run("python", "-c", code)
    refused = copy.run("fracture", "package", code=1)
    assert "version 1 of bone-fracture failed: AUROC 0.5" in refused
    assert "Traceback" not in refused
    copy.run("fracture", "promote", "1", "--force", "--reason", "urgent")
    copy.run("fracture", "package", "--output", str(tmp_path / "out"))
    forced = bundle.read(tmp_path / "out/bundle").manifest.origin.forced
    assert forced is not None
    assert forced["reason"] == "urgent"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--model", "models:/bone-fracture@nobody"), "no version of bone-fracture has the alias nobody"),
        (("--model", "models:/bone-fracture/9"), "bone-fracture has no version 9; registered versions: 1"),
        (("--model", "models:/bone-fracture"), "is no model address"),
        (("--model", "nowhere"), "--model nowhere: is no bundle's folder"),
    ],
)
def test_a_wrong_model_is_one_line(project: Project, arguments: tuple[str, ...], line: str) -> None:
    printed = project.run("fracture", "package", *arguments, code=1)
    assert line in printed
    assert "Traceback" not in printed


def test_weights_that_are_not_the_registered_ones_are_refused(project: Project, tmp_path: Path) -> None:
    copy = Project(Path(shutil.copytree(project.root, tmp_path / "project")))
    found = next(copy.root.rglob("artifacts/package/*/decision.json"))
    found.write_text(found.read_text().replace('"threshold": 0.5', '"threshold": 0.4'))
    printed = copy.run("fracture", "package", code=1)
    assert "are not the ones that were registered" in printed


def test_a_format_that_differs_too_much_is_refused() -> None:
    assert Measured(0.019, 0.0019, 1.0, 1).faults == []
    assert "a probability differs by 0.0300" in Measured(0.03, 0.0, 1.0, 1).faults[0]
    assert "AUROC differs by 0.0030" in Measured(0.0, 0.003, 1.0, 1).faults[0]
    assert Measured(float("nan"), 0.0, 1.0, 1).faults


def test_formats_are_compared_by_raw_and_calibrated_probabilities() -> None:
    steep = Decision(LogisticCalibration(10.0, 0.0), 0.5, 0.2, 0.8, 0.5)
    ours, theirs = (np.array(values, np.float32)[:, None] for values in ([0.5, 0.51], [0.5, 0.50]))
    difference, auroc = compare(ours, theirs, np.array([0, 1]), steep)
    assert difference > 0.05
    assert auroc == pytest.approx(0.5)


@pytest.fixture(scope="module")
def released(project: Project) -> Path:
    """Give the folder of the sample's model as a release."""
    training = TrainingRecord.read(project.root / "build/model/training.json")
    figures = dict.fromkeys(
        set(ChangeMetrics.model_fields) - {"change", "never_trained", "images", "refused", "warned"}
    )
    plain = ChangeMetrics(change="none", never_trained=False, images=4, refused=0, warned=0, **figures)
    measured = Robustness(
        weights_sha256=training.weights_sha256, part="test", images=4, complete=True, changes=(plain,)
    )
    path = project.root / "reports/robustness.json"
    measured.model_copy(update={"weights_sha256": "another"}).write(path)
    assert "robustness.json: belongs to another model" in project.run("fracture", "release", "sample-cnn-1", code=1)
    measured.model_copy(update={"complete": False}).write(path)
    assert "robustness.json: some changes were left out" in project.run("fracture", "release", "sample-cnn-1", code=1)
    path.unlink()
    assert "robustness.json: not found" in project.run("fracture", "release", "sample-cnn-1", code=1)
    measured.write(path)
    printed = project.run("fracture", "release", "sample-cnn-1")
    assert "models/sample-cnn-1: bone-fracture version 1" in printed
    return project.root / "models/sample-cnn-1"


def test_a_release_holds_what_serves_trains_on_and_explains_it(released: Path) -> None:
    assert {path.name for path in released.iterdir()} == {
        "bundle", "model.keras", "training.json", "params.yaml", "metrics.json", "slices.csv", "history.csv",
        "split.csv", "MODEL_CARD.md", "robustness.json", "sha256sums",
    }  # fmt: skip
    done = subprocess.run(["sha256sum", "--check", "--quiet", "sha256sums"], cwd=released, check=False)
    assert done.returncode == 0
    assert bundle.read(released / "bundle").manifest.origin.registry_version == "1"
    assert bundle.find_default(released.parents[1]).parent in {released, released.parents[1] / "build/bundle"}


def test_the_card_has_every_section_and_the_figures_of_the_test_set(released: Path) -> None:
    card = (released / "MODEL_CARD.md").read_text()
    assert "Not shown to be good for" in card
    assert re.search(r"The guard (answers every image|takes \d+ test images)", card)
    assert "No patient and no near duplicate is in two parts." in card
    for section in ("For", "Not for", "Data", "Figures", "Shortcuts", "Known failures", "Make it again"):
        assert f"## {section}\n" in card, section
    figures = json.loads((released / "metrics.json").read_text())["test"]
    assert f"| auroc | {figures['auroc']['value']:.3f} (" in card
    assert f"| this model | {figures['auroc']['value']:.3f} |" in card
    assert "nan" not in card
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert f" value: {figures['auroc']['value']}\n" in card
    split = (released / "split.csv").read_text()
    missed = re.search(r"^- missed: (\S+) \(", card, re.MULTILINE)
    assert missed is not None
    assert f"\n{missed[1]},fractured,test," in split


def test_training_can_begin_from_a_release(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.errors import InputError
    from pipeline.params import TrainParams
    from pipeline.training import architectures

    monkeypatch.chdir(released.parents[1])
    theirs, _ = architectures.load_trained(released)
    ours = architectures.build(TrainParams(weights="release", seed=99), 96, 2)
    for name in ("convolution_1", "convolution_2", "features"):
        for mine, his in zip(ours.get_layer(name).get_weights(), theirs.get_layer(name).get_weights(), strict=True):
            assert np.array_equal(mine, his)
    assert not np.array_equal(ours.get_layer("logits").get_weights()[0], theirs.get_layer("logits").get_weights()[0])
    with pytest.raises(InputError, match="sample-cnn-1 is built otherwise"):
        architectures.build(TrainParams(weights="release"), 128, 2)


def test_a_training_from_a_release_is_not_judged_by_what_the_release_has_seen(
    released: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipeline.data import prepared
    from pipeline.errors import InputError
    from pipeline.training import architectures, leakage

    own = prepared.load(released.parents[1] / "prepared")
    with pytest.raises(InputError, match=r"of the validation set were used to make sample-cnn-1, so .* too good"):
        leakage.require(own, released)
    strangers = replace(own, images=255 - own.images)
    leakage.require(strangers, released)
    broken = tmp_path / "models/sample-cnn-1"
    shutil.copytree(released, broken)
    (broken / "model.keras").write_bytes((broken / "model.keras").read_bytes()[:-100])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"model.keras: is not the file that was released; restore it: git checkout"):
        architectures.newest_release(tmp_path)


def test_a_release_is_named_after_data_architecture_and_version(project: Project) -> None:
    assert "its version at the end" in project.run("fracture", "release", "Best Model", code=1)
