"""Small data sets of drawn shapes, a project folder, and the real data where it is at hand."""

import io
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import settings
from PIL import Image

from pipeline import dataset
from pipeline.dataset import Dataset, DatasetInfo
from pipeline.prepared import Prepared
from pipeline.sources import fracatlas
from serving.imaging import Preprocessing

ROOT = Path(__file__).parents[1]

# The same examples on every machine, however slow it is, and none remembered on disk.
settings.register_profile("project", deadline=None, derandomize=True, database=None, max_examples=30)
settings.load_profile("project")

Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]
MakeData = Callable[[Path, Mapping[str, Mapping[str, Any]]], Dataset]


def _draw(number: int, width: int = 48, height: int = 64) -> npt.NDArray[np.uint8]:
    coarse = np.random.default_rng(number).integers(0, 256, (5, 4), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.uint8)


def _encode(pixels: npt.NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Give a function that draws soft grey shapes, uint8 (height, width), unlike those of any other number."""
    return _draw


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Give a function that writes pixels as an image file's bytes; `kind` is one of Pillow's formats."""
    return _encode


@pytest.fixture(scope="session")
def make_data() -> MakeData:
    """Give a function that fills a folder: image_id -> arguments of `Building.add`, all of them optional.

    Without `content` an image shows drawn shapes, without `label` every second one is fractured.
    """

    def make(folder: Path, images: Mapping[str, Mapping[str, Any]]) -> Dataset:
        info = DatasetInfo("shapes", "1", "CC0", "nobody", "drawn", ("normal", "fractured"))
        with dataset.rebuild(folder, info) as building:
            for number, (image_id, given) in enumerate(images.items()):
                default = {"suffix": ".png", "label": info.classes[number % 2]}
                content = given["content"] if "content" in given else _encode(_draw(number))
                building.add(image_id, **{**default, **given, "content": content})
        return dataset.read(folder)

    return make


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a folder that is the root of a project, with the parameters and the pipeline of this one."""
    root = tmp_path / "project"
    root.mkdir()
    for path in ROOT.glob("*.yaml"):
        shutil.copy(path, root)
    return root


@pytest.fixture(scope="session")
def fracatlas_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fill a folder with the published data set; for tests that are skipped without FRACATLAS_ARCHIVE."""
    folder = tmp_path_factory.mktemp("fracatlas") / "data"
    fracatlas.fill(folder, Path(os.environ["FRACATLAS_ARCHIVE"]))
    return folder


@pytest.fixture
def squares() -> Callable[..., Prepared]:
    """Give a function that makes a prepared data set in memory: 32 px noise, fractured ones with a bright square."""

    def make(count: int = 60, classes: tuple[str, ...] = ("normal", "fractured"), seed: int = 0) -> Prepared:
        rng = np.random.default_rng(seed)
        images = rng.integers(0, 120, (count, 32, 32), dtype=np.uint8)
        labels = np.arange(count) % len(classes)
        for image, label in zip(images, labels, strict=True):
            corner = 4 + 6 * label
            if label:
                image[corner : corner + 8, 10:18] += 120
        parts = np.array(["train", "train", "train", "validation", "test", "test"])[np.arange(count) // 4 % 6]
        ids = [f"i{n:03d}" for n in range(count)]
        table = pd.DataFrame({"index": range(count), "image_id": ids, "class": labels, "group": ids}).assign(
            label=[classes[label] for label in labels], part=parts, region="hand", left=0, top=0, width=32, height=32
        )
        rows = [(n, ids[n], 10 / 32, (4 + 6 * k) / 32, 18 / 32, (12 + 6 * k) / 32) for n, k in enumerate(labels) if k]
        boxes = pd.DataFrame(rows, columns=["index", "image_id", "x0", "y0", "x1", "y1"])
        dataset_facts = {"name": "squares", "version": "1"}
        return Prepared(images, table, boxes, classes, Preprocessing(32), "data", "split", "test", dataset_facts)

    return make
