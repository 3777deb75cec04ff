"""A small archive of real image files, the released bundle, and stand-ins for the clouds."""

import functools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from pipeline.archive import manifest
from pipeline.archive.engines import Work
from pipeline.archive.manifest import Manifest, Sources
from pipeline.archive.places import Place, open_place
from pipeline.archive.pseudonyms import Pseudonyms
from pipeline.archive.scoring import Request
from pipeline.archive.shards import Block
from pipeline.archive.worker import Worker
from serving import bundle
from serving.bundle import Bundle
from tests.deploy.blobs import Blobs, azurite
from tests.deploy.conftest import cloud_tools, moto, tool_environment
from tests.pipeline.archive.scorings import Engines, OneWorker

__all__ = ["cloud_tools", "moto", "tool_environment"]

ROOT = Path(__file__).parents[3]
RELEASE = sorted((ROOT / "models").glob("*/bundle"))[-1]
SAMPLES = sorted((RELEASE / "samples").iterdir())


@pytest.fixture(scope="session")
def opened() -> Bundle:
    """Open the release."""
    return bundle.read(RELEASE)


def fill(folder: Path) -> Path:
    """Make a folder of six files with names of images: four radiographs, two of them in a folder, and two others."""
    (folder / "2020").mkdir(parents=True)
    for number, sample in enumerate(SAMPLES):
        shutil.copy(sample, folder / ("2020" if number % 2 else "") / f"{number}.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "cut.png").write_bytes(SAMPLES[0].read_bytes()[:3000])
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Fill a folder with six files."""
    return fill(tmp_path / "archive")


@pytest.fixture(scope="session")
def shared_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fill a folder with six files for all tests that leave them as they are."""
    return fill(tmp_path_factory.mktemp("shared") / "archive")


@pytest.fixture(scope="session")
def shared_manifest(shared_archive: Path) -> Manifest:
    """List that folder."""
    path = shared_archive.parent / "manifest.parquet"
    manifest.write(path, Sources((str(shared_archive),)))
    return Manifest(path)


@pytest.fixture(scope="session")
def workers() -> Iterator[Callable[[Work], Worker]]:
    """Give a function that gives the same worker for the same work: starting one takes seconds."""
    made = functools.cache(Work.worker)
    found: list[Worker] = []

    def get(work: Work) -> Worker:
        worker = made(work)
        found.append(worker)
        return worker

    yield get
    for worker in found:
        worker.close()


@pytest.fixture
def listed(archive: Path, tmp_path: Path) -> Manifest:
    """List that folder."""
    manifest.write(tmp_path / "manifest.parquet", Sources((str(archive),)))
    return Manifest(tmp_path / "manifest.parquet")


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Make a bucket of this test's own, and log in; give its address."""
    name = f"b{abs(hash(request.node.nodeid))}"
    assert httpx.put(f"{moto}/{name}", trust_env=False, timeout=60).status_code == 200
    for key, value in {
        "AWS_ENDPOINT_URL": moto, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def storage_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blobs]:
    """Run azurite."""
    with azurite(tmp_path_factory.mktemp("azurite")) as found:
        yield found


@pytest.fixture
def container(storage_account: Blobs, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Make a container of this test's own, and log in; give its address."""
    name = f"c{abs(hash(request.node.nodeid))}"
    storage_account.make(name)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", storage_account.connection)
    return f"az://{name}"


@pytest.fixture(params=["bucket", pytest.param("container", marks=pytest.mark.azurite)])
def store(request: pytest.FixtureRequest) -> str:
    """Make a bucket, then a container; give its address."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def engine(workers: Callable[[Work], Worker]) -> Engines:
    """Give a function that makes an engine; `fails` says at which block it is interrupted."""

    def make(asked: Request, fails: Callable[[Block], bool] = lambda _: False) -> OneWorker:
        # Pseudonyms are made of the rows, after the worker.
        return OneWorker(asked.work(), workers(replace(asked.work(), pseudonyms=Pseudonyms())), fails)

    return make


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Name a folder that is not there yet."""
    return open_place(str(tmp_path / "out"))
