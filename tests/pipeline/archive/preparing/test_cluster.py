"""Validate and preprocess on a Ray cluster of two nodes: the files of one machine, whatever breaks or is killed."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import obstore
import pandas as pd
import pytest

from pipeline import preprocess
from pipeline.archive import manifest
from pipeline.archive.addresses import parse
from pipeline.archive.manifest import Sources
from pipeline.archive.object_stores import open_store
from pipeline.data import prepared
from pipeline.data.image_shards import ImageShards
from pipeline.data.layout import Dataset
from pipeline.data.sources import synthetic
from pipeline.preprocess import Preparation
from serving.imaging.canvas import Preprocessing
from tests.deploy.blobs import Blobs
from tests.pipeline.archive.clusters import TOOLS, Cluster, cluster
from tests.pipeline.archive.conftest import ROOT

DRIVER = Path(__file__).with_name("driver.py")
LOGIN = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def two_nodes(moto: str, storage_account: Blobs) -> Iterator[Cluster]:
    """Run a cluster whose nodes have the logins to both stores."""
    azure = {"AZURE_STORAGE_CONNECTION_STRING": storage_account.connection}
    with cluster(AWS_ENDPOINT_URL=moto, **LOGIN, **azure) as found:
        yield found


def _stage(name: str, project: Path, python: str, environment: Mapping[str, str]) -> str:
    """Run a stage that has to succeed; what it said."""
    done = subprocess.run(
        [python, "-m", f"pipeline.{name}"], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Validate and prepare the synthetic sample on one machine."""
    project = tmp_path_factory.mktemp("sample")
    synthetic.fill(project / "data", count=160)
    shutil.copy(ROOT / "params.yaml", project)
    for name in ("validate", "preprocess"):
        _stage(name, project, sys.executable, os.environ)
    return project


def _project(sample: Path, folder: Path) -> Path:
    folder.mkdir()
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(sample / "data", folder / "data")
    return folder


def _on_the_cluster(nodes: Cluster, project: Path) -> None:
    chosen = {"FRACTURE_ENGINE": "ray", "FRACTURE_RAY_ADDRESS": nodes.address, "FRACTURE_ACTORS": "2"}
    for name in ("validate", "preprocess"):
        _stage(name, project, str(TOOLS / "python"), {**nodes.environment, **chosen})


def _assert_equal(project: Path, sample: Path) -> None:
    """Reports, split and pixels are those of one machine."""
    for name in ("reports/images.csv", "reports/validation.json", "prepared/split.csv", "prepared/boxes.csv",
                 "prepared/prepared.json"):  # fmt: skip
        assert (project / name).read_bytes() == (sample / name).read_bytes(), name
    found = prepared.load(project / "prepared").images
    assert isinstance(found, ImageShards)
    np.testing.assert_array_equal(found[:], np.load(sample / "prepared/images.npy"))
    assert not (project / ".cache/blocks/validate").exists()
    assert not (project / ".cache/blocks/preprocess").exists()


@pytest.mark.azurite
def test_two_nodes_write_of_images_in_a_folder_and_two_stores_what_one_machine_writes_of_a_folder(
    two_nodes: Cluster, sample: Path, tmp_path: Path, bucket: str, container: str
) -> None:
    project = _project(sample, tmp_path / "project")
    folder = tmp_path / "archive"
    folder.mkdir()
    stores = [open_store(parse(store)) for store in (bucket, container)]
    for number, path in enumerate(sorted((project / "data/images").iterdir())):
        if number % 3 < 2:
            obstore.put(stores[number % 3], f"xrays/{path.name}", path.read_bytes())
        else:
            shutil.copy(path, folder)
    shutil.rmtree(project / "data/images")
    sources = Sources((f"{bucket}/xrays", f"{container}/xrays", str(folder)))
    manifest.write(project / "data/manifest.parquet", sources)
    _on_the_cluster(two_nodes, project)
    _assert_equal(project, sample)


# Faults


def _driver(what: str, data: Dataset, folder: Path, nodes: Cluster) -> "subprocess.Popen[str]":
    """Scan or prepare slowly, started; what it says is written to `folder`/log."""
    command = [
        str(TOOLS / "python"), str(DRIVER), what, str(data.folder), str(folder / "kept"), str(folder / "out"),
        nodes.address,
    ]  # fmt: skip
    with (folder / "log").open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, env=nodes.environment, stdout=log, stderr=log, text=True)


@pytest.fixture
def sixty(tmp_path: Path, make_data: Callable[..., Dataset]) -> Dataset:
    """Write sixty drawn images."""
    return make_data(tmp_path / "data", {f"i{number:02d}": {} for number in range(60)})


def _assert_prepared(data: Dataset, folder: Path) -> None:
    paths = [data.folder / file for file in sorted(data.labels["file"])]
    ours = preprocess.write_images(paths, Preparation(Preprocessing(32)), folder / "images.npy")
    pd.testing.assert_frame_equal(pd.read_csv(folder / "out/places.csv"), ours)
    np.testing.assert_array_equal(ImageShards.open(folder / "out")[:], np.load(folder / "images.npy"))


def test_an_actor_that_is_killed_costs_no_image(two_nodes: Cluster, sixty: Dataset, tmp_path: Path) -> None:
    driver = _driver("prepare", sixty, tmp_path, two_nodes)
    while not list((tmp_path / "kept").glob("*.npy")):
        assert driver.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    two_nodes.actors[0].kill()
    assert driver.wait() == 0, (tmp_path / "log").read_text()
    _assert_prepared(sixty, tmp_path)


def test_a_driver_that_is_killed_goes_on_when_it_is_run_again(
    two_nodes: Cluster, sixty: Dataset, tmp_path: Path
) -> None:
    driver = _driver("prepare", sixty, tmp_path, two_nodes)
    while len(done := list((tmp_path / "kept").glob("*.npy"))) < 2:
        assert driver.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    before = {path.name: path.stat().st_mtime_ns for path in done}
    assert _driver("prepare", sixty, tmp_path, two_nodes).wait() == 0, (tmp_path / "log").read_text()
    assert {name: (tmp_path / "kept" / name).stat().st_mtime_ns for name in before} == before
    _assert_prepared(sixty, tmp_path)


@pytest.mark.parametrize("word", ["crash", "hang "])
def test_an_image_that_breaks_its_decoder_is_undecodable_and_no_other(
    word: str, two_nodes: Cluster, sixty: Dataset, tmp_path: Path
) -> None:
    (sixty.folder / "images/i07.png").write_text(word)
    assert _driver("scan", sixty, tmp_path, two_nodes).wait() == 0, (tmp_path / "log").read_text()
    found = pd.read_csv(tmp_path / "out/scan.csv")["decoded"]
    assert found.value_counts().to_dict() == {"whole": 59, "failed": 1}
    assert found[7] == "failed"


def test_an_image_that_breaks_its_decoder_after_validation_is_named_in_one_line(
    two_nodes: Cluster, sixty: Dataset, tmp_path: Path
) -> None:
    (sixty.folder / "images/i07.png").write_text("crash")
    assert _driver("prepare", sixty, tmp_path, two_nodes).wait() == 1
    (said,) = [line for line in (tmp_path / "log").read_text().splitlines() if "error" in line]
    assert said == (
        f"error: {sixty.folder}/images/i07.png: changed since validation (the decoder ended the process that ran it, "
        "twice); run `dvc repro` again"
    )


def test_a_broken_image_of_a_folder_fails_the_stage_as_on_one_machine(
    two_nodes: Cluster, sixty: Dataset, tmp_path: Path
) -> None:
    (sixty.folder / "images/i07.png").write_bytes(b"no image")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    said = []
    for python, engine in ((sys.executable, "local"), (str(TOOLS / "python"), "ray")):
        chosen = {"FRACTURE_ENGINE": engine, "FRACTURE_RAY_ADDRESS": two_nodes.address, "FRACTURE_ACTORS": "2"}
        done = subprocess.run(
            [python, "-m", "pipeline.validate"],
            cwd=tmp_path, env={**two_nodes.environment, **chosen}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        said.append([line for line in done.stderr.splitlines() if line.startswith("error: ")])
    assert said[0] == said[1]
    assert said[0][0].startswith("error: undecodable: 1 image (images/i07.png)")
