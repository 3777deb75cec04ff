"""The image of a bento: built from Debian's packages, run in a root it cannot write, pushed and pulled."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from packaging.utils import canonicalize_name

from pipeline.cloud import image, push
from pipeline.errors import InputError
from pipeline.git import git_commit
from pipeline.lockfile import read_lock
from pipeline.packaging.bento import build_bento
from serving import bundle
from serving.predictor import Predictor
from tests.conftest import Once
from tests.deploy import checkers
from tests.deploy.containers import Storage, debian, may_mount, running, status, wait_for
from tests.deploy.standins import write_program

ROOT = Path(__file__).parents[2]
TAG = "bone-fracture:test"
LOCK = ROOT / "locks/service.txt"


@dataclass(frozen=True)
class Built:
    """An image, and where its parts are."""

    storage: Storage
    bento: Path
    root: Path  # of the mounted image
    facts: dict[str, Any]
    parts: dict[str, Any]  # the CycloneDX document


@pytest.fixture(scope="module")
def built(once: Once, tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path) -> Iterator[Built]:
    """Package the sample's bundle and build its image on a base of Debian's packages."""
    folder = tmp_path_factory.mktemp("image")
    build_bento(ROOT, bundle_folder, folder / "bento")
    base = once("debian", lambda made: debian(made / "base.tar")) / "base.tar"
    storage = Storage(folder / "storage")
    storage.prepare()
    with mock.patch.dict(os.environ, storage.environment):
        image.build(folder / "bento", TAG, str(base), "buildah")
    container = storage.buildah("from", "--pull-never", TAG)
    root = Path(storage.buildah("mount", container))
    parts = image.sbom_path(TAG)
    yield Built(storage, folder / "bento", root, storage.facts(TAG), json.loads(parts.read_text()))
    parts.unlink()
    storage.buildah("rm", container)
    shutil.rmtree(storage.folder, ignore_errors=True)


@dataclass(frozen=True)
class Running:
    """The image's command, started."""

    url: str
    seen: list[int]  # what /readyz answered until it was ready


@pytest.fixture(scope="module")
def service(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    assert may_mount(), "this machine does not let a root be mounted read-only"
    log = tmp_path_factory.mktemp("log") / "service.txt"
    with running(built.root, built.facts, log) as (process, url):
        yield Running(url, wait_for(f"{url}/readyz", process, log))


@pytest.mark.slow
@pytest.mark.container
def test_it_answers_as_prediction_in_the_process_does(service: Running, built: Built) -> None:
    predictor = Predictor(bundle.read(built.bento / "src/bundle"))
    for path in sorted((built.bento / "src/bundle/samples").iterdir()):
        answer = _predict(service.url, path.read_bytes())
        assert answer["probability"] == pytest.approx(predictor.predict(path.read_bytes()).probability, abs=1e-4)


def _predict(url: str, content: bytes) -> dict[str, Any]:
    request = urllib.request.Request(f"{url}/predict", data=content, headers={"content-type": "image/png"})  # noqa: S310  loopback
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
    return answer


@pytest.mark.slow
@pytest.mark.container
def test_it_is_ready_only_after_a_while_and_then_live_too(service: Running) -> None:
    assert service.seen[-1] == 200
    assert set(service.seen[:-1]) <= {0, 503}
    assert status(f"{service.url}/livez") == 200


@pytest.mark.slow
@pytest.mark.container
def test_its_user_is_nobody_special_and_cannot_write_the_root(built: Built, tmp_path: Path) -> None:
    assert built.facts["User"] == "10001:10001"
    writes = "import os, pathlib\nprint(os.getuid())\npathlib.Path('/tmp/x').write_text('')\n"
    writes += "for folder in ('/', '/app/src', '/app/packages', '/etc'):\n    print(os.access(folder, os.W_OK))\n"
    script = {**built.facts, "Entrypoint": ["python3", "-c", writes]}
    log = tmp_path / "log.txt"
    with running(built.root, script, log) as (process, _):
        assert process.wait(30) == 0, log.read_text()
    assert log.read_text().split() == ["10001", *["False"] * 4]


@pytest.mark.slow
@pytest.mark.container
def test_sigterm_lets_a_running_request_end(built: Built, tmp_path: Path) -> None:
    log = tmp_path / "service.txt"
    picture = sorted((built.bento / "src/bundle/samples").iterdir())[0].read_bytes()
    answers: list[dict[str, Any]] = []
    with running(built.root, built.facts, log) as (process, url):
        wait_for(f"{url}/readyz", process, log)
        asking = [threading.Thread(target=lambda: answers.append(_predict(url, picture))) for _ in range(4)]
        for thread in asking:
            thread.start()
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        for thread in asking:
            thread.join()
        process.wait(40)
    assert len(answers) == 4, log.read_text()


@pytest.mark.slow
@pytest.mark.container
def test_it_takes_less_than_750_megabytes(built: Built) -> None:
    files = {path.lstat().st_ino: path.lstat().st_size for path in built.root.rglob("*") if not path.is_dir()}
    assert sum(files.values()) < 750e6


@pytest.mark.slow
@pytest.mark.container
def test_it_holds_no_installer_and_no_compiler(built: Built) -> None:
    packages = {path.name.split("-")[0].lower() for path in (built.root / "app/packages").glob("*.dist-info")}
    assert not packages & {"pip", "uv", "setuptools", "tensorflow", "mlflow", "dvc"}
    assert not any((built.root / "usr/bin" / name).exists() for name in ("pip", "pip3", "gcc", "git", "curl"))


@pytest.mark.slow
@pytest.mark.container
def test_its_labels_say_where_the_model_comes_from(built: Built) -> None:
    opened = bundle.read(built.bento / "src/bundle")
    labels = built.facts["Labels"]
    assert labels["org.bone-fracture.bundle-sha256"] == opened.manifest.digest
    assert labels["org.bone-fracture.model-sha256"] == opened.sha256
    assert labels["org.bone-fracture.run-id"] == opened.manifest.origin.run_id
    assert labels["org.bone-fracture.data-hash"] == opened.manifest.origin.data_hash
    assert labels["org.bone-fracture.registry-version"] == opened.manifest.version
    assert labels["org.bone-fracture.training-commit"] == opened.manifest.origin.git_commit
    assert labels["org.opencontainers.image.revision"] == git_commit(ROOT)
    assert labels["org.opencontainers.image.base.name"].endswith("base.tar")


@pytest.mark.slow
@pytest.mark.container
def test_the_parts_are_what_is_installed(built: Built) -> None:
    listed = {(part["name"], part["version"]) for part in built.parts["components"]}
    installed = set()
    for folder in (built.root / "app/packages").glob("*.dist-info"):
        name, version = folder.name.removesuffix(".dist-info").split("-")
        installed.add((canonicalize_name(name), version))
    assert listed == installed


@pytest.mark.slow
@pytest.mark.container
def test_the_parts_are_valid_cyclonedx(built: Built, tmp_path: Path) -> None:
    path = tmp_path / "parts.json"
    path.write_text(json.dumps(built.parts))
    answer = checkers.run("python", "-c", _VALIDATE, path)
    assert (answer.returncode, answer.stdout.strip()) == (0, "None"), answer.stderr


_VALIDATE = """
import pathlib, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_5).validate_str(pathlib.Path(sys.argv[1]).read_text()))
"""


@pytest.mark.slow
@pytest.mark.container
def test_it_goes_to_a_registry_and_comes_back_the_same(built: Built, registry: str) -> None:
    there = f"{registry}/bone-fracture:1"
    built.storage.buildah("push", "--tls-verify=false", TAG, f"docker://{there}")
    pulled = built.storage.buildah("pull", "--tls-verify=false", f"docker://{there}")
    assert built.storage.facts(pulled)["Labels"] == built.facts["Labels"]
    assert pulled == built.storage.buildah("images", "--quiet", "--no-trunc", TAG).removeprefix("sha256:")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Serve an image registry on loopback, and give its host and port."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = tmp_path / "registry.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{place}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{tmp_path}/registry'}}}}\n"
    )
    log = tmp_path / "registry.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(["docker-registry", "serve", str(settings)], stdout=file, stderr=file)
    try:
        wait_for(f"http://{place}/v2/", process, log)
        yield place
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Give a function that puts a container tool of a few lines of Python on the otherwise empty PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return lambda name, python: write_program(folder / name, python)


def test_a_tool_that_does_not_work_is_passed_over(tools: Callable[[str, str], None]) -> None:
    tools("docker", "import sys\nsys.exit('Cannot connect to the Docker daemon')")
    tools("buildah", "")
    assert push.find_tool() == "buildah"


def test_when_none_works_the_line_says_why(tools: Callable[[str, str], None]) -> None:
    tools("docker", "import sys\nsys.exit('Cannot connect to the Docker daemon')")
    with pytest.raises(InputError, match="docker: Cannot connect to the Docker daemon"):
        push.find_tool()


def test_a_folder_that_is_no_bento_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no bento of ours \(src/service.py is missing\)"):
        image.build(tmp_path, TAG, tool="buildah")


@pytest.fixture
def bento(tmp_path: Path, bundle_folder: Path) -> Path:
    """Lay out what `fracture image` reads of a bento."""
    source = tmp_path / "bento/src"
    shutil.copytree(bundle_folder, source / "bundle")
    (source / "locks").mkdir()
    shutil.copy(LOCK, source / "locks")
    shutil.copy(ROOT / "service.py", source)
    return source.parent


@pytest.mark.parametrize("train", [False, True])
def test_the_image_of_a_ray_node_holds_this_checkouts_code_and_the_bentos_model(
    train: bool, bento: Path, tools: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks: list[Path] = []

    def install(lock: Path, target: Path) -> None:
        locks.append(lock)
        target.mkdir()

    monkeypatch.setattr(image, "install", install)
    monkeypatch.setattr(image, "sbom_path", lambda tag: tmp_path / "parts.json")
    tools(
        "buildah",
        f"import pathlib, shutil, sys\nshutil.copytree(sys.argv[-1], {str(tmp_path / 'context')!r})\n"
        f"pathlib.Path({str(tmp_path / 'words')!r}).write_text(' '.join(sys.argv))",
    )
    image.build(bento, TAG, tool="buildah", ray=True, train=train)
    context = tmp_path / "context"
    assert {path.name for path in (context / "src").iterdir()} == {"bundle", "pipeline", "serving"}
    assert bundle.read(context / "src/bundle").manifest.digest == bundle.read(bento / "src/bundle").manifest.digest
    assert (context / "Dockerfile").read_text() == (ROOT / "deploy/ray/Dockerfile").read_text()
    lock, base = ("archive-train", image.TRAIN_BASE) if train else ("archive", image.BASE)
    assert locks == [ROOT / f"locks/{lock}.txt"]
    assert f"--build-arg BASE={base} " in (tmp_path / "words").read_text()


def test_an_image_that_trains_is_a_ray_nodes(bento: Path) -> None:
    with pytest.raises(InputError, match="--train: is for a node of a Ray cluster; give --ray as well"):
        image.build(bento, TAG, tool="buildah", train=True)


def test_a_ray_node_that_keeps_answers_is_refused(bento: Path) -> None:
    with pytest.raises(InputError, match="--store and --ray"):
        image.build(bento, TAG, tool="buildah", store=True, ray=True)


@pytest.mark.parametrize("tag", ["", "-x", "a b", "$(id)"])
def test_a_wrong_name_is_refused(bento: Path, tag: str) -> None:
    with pytest.raises(InputError, match="is no image's name"):
        image.build(bento, tag, tool="buildah")


def test_a_base_that_is_not_there_is_one_line(bento: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "install", lambda lock, target: target.mkdir())
    with pytest.raises(InputError, match=r"--base away\.tar: no such file"):
        image.build(bento, TAG, "away.tar", "buildah")


def test_what_the_tool_complains_of_is_shown(
    bento: Path, tools: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "install", lambda lock, target: target.mkdir())
    tools("podman", "import sys\nsys.exit('no space left on device')")
    with pytest.raises(InputError, match="podman build: no space left on device"):
        image.build(bento, TAG, tool="podman")


@pytest.mark.parametrize("tool", ["docker", "podman", "buildah"])
def test_each_tool_gets_base_labels_and_tag(
    tool: str, bento: Path, tools: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "install", lambda lock, target: target.mkdir())
    monkeypatch.setattr(image, "sbom_path", lambda tag: tmp_path / "parts.json")
    tools(tool, f"import sys\nopen({str(tmp_path / 'words')!r}, 'w').write('\\n'.join(sys.argv[1:]))")
    image.build(bento, TAG, tool=tool)
    words = (tmp_path / "words").read_text().splitlines()
    assert words[0] == ("bud" if tool == "buildah" else "build")
    assert words[words.index("--tag") + 1] == TAG
    assert f"BASE={image.BASE}" in words
    assert sum(word.startswith(f"{image.LABEL}.") for word in words) == 6


def test_the_lock_is_read_whole() -> None:
    pinned = [line.split("==")[0] for line in LOCK.read_text().splitlines() if line[:1].isalnum()]
    assert [package.name for package in read_lock(LOCK)] == pinned


@pytest.mark.parametrize("line", ["numpy>=2", "numpy==2.4.6", "numpy @ file:///x"])
def test_a_line_that_pins_nothing_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text(f"{line}\n")
    with pytest.raises(InputError, match=r"has no pin with a hash|is no line of a lock"):
        read_lock(tmp_path / "lock.txt")


def test_the_command_asks_for_a_bento_first(project: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("fracture"), "image"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "error: build/bento: there is no bento yet; make one: fracture package\n"


def test_a_bento_without_the_lock_that_an_option_needs_is_one_line(bento: Path) -> None:
    with pytest.raises(InputError, match=r"holds no locks/verify\.txt, as older bentos do not; make one anew"):
        image.build(bento, TAG, verify=True)


@pytest.mark.parametrize("fault", ["checksum", "no lock", "no hash", "no bundle"])
def test_what_is_not_as_it_was_packaged_is_one_line(fault: str, bento: Path, project: Path) -> None:
    source = bento / "src"
    shutil.copytree(ROOT / "deploy/image", project / "deploy/image")
    if fault == "checksum":
        path = source / "bundle/model.tflite"
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        said = f"{path}: is damaged"
    elif fault == "no lock":
        (source / "locks/service.txt").unlink()
        said = f"{bento}: is no bento of ours (src/locks/service.txt is missing); make one: fracture package"
    elif fault == "no hash":
        (source / "locks/service.txt").write_text("numpy==2.4.6\n")
        said = f"{source}/locks/service.txt: cannot be installed: "
    else:
        shutil.rmtree(source / "bundle")
        said = f"{bento}: is no bento of ours (src/bundle/model.json is missing)"
    done = subprocess.run(
        [Path(sys.executable).with_name("fracture"), "image", bento, "--tag", TAG],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1
    assert not (project / "build/images").exists()
