"""Small data sets of drawn shapes, a project folder, and the real data where it is at hand."""

import fcntl
import functools
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import settings
from PIL import Image

from pipeline.artifacts import Artifacts, DatasetRecord
from pipeline.data import layout
from pipeline.data.layout import Dataset, DatasetInfo
from pipeline.data.prepared import Prepared
from pipeline.data.sources import fracatlas
from pipeline.evaluation.records import Metrics
from pipeline.registry.records import ModelVersion
from serving.imaging.canvas import Preprocessing

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
        with layout.rebuild(folder, info) as building:
            for number, (image_id, given) in enumerate(images.items()):
                default = {"suffix": ".png", "label": info.classes[number % 2]}
                content = given["content"] if "content" in given else _encode(_draw(number))
                building.add(image_id, **{**default, **given, "content": content})
        return layout.read(folder)

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
        dataset_facts = DatasetRecord(name="squares", version="1")
        return Prepared(images, table, boxes, classes, Preprocessing(32), "data", "split", "test", dataset_facts)

    return make


class _Silent:
    run_id = "0" * 32

    def log_metrics(self, *_: Any) -> None: ...


def _train_on_the_sample(root: Path) -> None:
    """The stages of dvc.yaml on a small synthetic sample, without their start-up times and without MLflow."""
    from pipeline import params, preprocess, train
    from pipeline.data import prepared
    from pipeline.data.sources import synthetic
    from pipeline.data.validation.tables import image_table
    from pipeline.evaluation.report import evaluate
    from pipeline.params import EvaluateParams, PreprocessParams
    from pipeline.training import architectures
    from pipeline.training.checkpoints import CheckpointStore
    from pipeline.training.params import TrainParams

    synthetic.fill(root / "data", count=160)
    data = layout.read(root / "data")
    table = image_table(data, params.ValidateParams().near_duplicate_correlation)
    usable: pd.DataFrame = table.assign(excluded="").sort_values("image_id").reset_index(drop=True)
    for folder in ("prepared", "build/model", "reports"):
        (root / folder).mkdir(parents=True)
    preprocess.preprocess(data, usable, PreprocessParams(image_size=96), root / "prepared")
    options = TrainParams(epochs=8, batch_size=16, learning_rate=5e-4, early_stopping_patience=0)
    loaded = prepared.load(root / "prepared")
    model, state = train.fit(loaded, options, CheckpointStore(root / "k"), lambda run_id: _Silent())
    train.write_model(model, state, loaded, options, root / "build/model")
    paths = Artifacts(root)
    trained, training = architectures.load_trained(paths.model)
    evaluate(loaded, trained, training, EvaluateParams(bootstrap=100, gallery=2)).write(paths)


Once = Callable[[str, Callable[[Path], None]], Path]


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of pytest-xdist's workers makes for all of them, or in TEST_SHARED for later runs too."""
    base = factory.getbasetemp()
    base.mkdir(parents=True, exist_ok=True)
    above = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    shared = Path(os.environ.get("TEST_SHARED") or above) / f"shared-{name}"
    with (shared.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = shared.with_suffix(".done")
        if not done.exists():
            # Made in place: MLflow keeps absolute paths.
            shutil.rmtree(shared, ignore_errors=True)
            shared.mkdir()
            make(shared)
            done.touch()
    return shared


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make a folder by name that the first of pytest-xdist's workers fills for all of them; only to be read."""
    return functools.partial(_once, tmp_path_factory)


@pytest.fixture(scope="session")
def fracatlas_data(once: Once) -> Path:
    """Fill a folder with the published data set; for tests that are skipped without FRACATLAS_ARCHIVE."""

    def fill(root: Path) -> None:
        fracatlas.fill(root / "data", Path(os.environ["FRACATLAS_ARCHIVE"]))

    return once("fracatlas", fill) / "data"


@pytest.fixture(scope="session")
def trained_folder(once: Once) -> Path:
    """Make the folder of a project whose stages ran: data/, prepared/, build/ and reports/ of a small sample.

    Made once for all test processes; copy it before changing anything in it.
    """
    return once("trained", _train_on_the_sample)


@pytest.fixture(scope="session")
def bundle_folder(once: Once, trained_folder: Path) -> Path:
    """Make the bundle of the small sample's model, with pictures; copy it before changing anything in it."""
    return once("bundle", functools.partial(_bundle, trained_folder, "1")) / "bundle"


@pytest.fixture(scope="session")
def second_bundle_folder(once: Once, trained_folder: Path) -> Path:
    """Make the bundle of a second version of that model."""
    return once("bundle-2", functools.partial(_bundle, trained_folder, "2")) / "bundle"


def _bundle(trained: Path, version: str, root: Path) -> None:
    from pipeline.data import prepared
    from pipeline.evaluation import operating_points
    from pipeline.packaging.bundle import Registered, write_bundle
    from pipeline.training import architectures

    paths = Artifacts(trained)
    model, training = architectures.load_trained(paths.model)
    if version != "1":
        head = model.get_layer("logits")
        head.set_weights([weights * 1.01 for weights in head.get_weights()])
    tags = {"gates": "passed", "git_commit": "unknown"}
    found = Registered(
        version=ModelVersion("bone-fracture", version, training.run_id, tags),
        model=model,
        training=training,
        decision=operating_points.read(paths.decision),
        metrics=Metrics.read(paths.metrics),
        reference=paths.reference,
    )
    write_bundle(found, prepared.load(trained / "prepared"), root / "bundle")


def pytest_configure() -> None:
    """Let an interruption reach what tests start: a shell has its background jobs ignore it, and their children too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


SLOW_FILES = (
    "training/test_cluster.py",
    "test_circle.py",
    "archive/test_cluster.py",
    "test_train.py",
    "test_image.py",
    "test_interruptions.py",
    "test_ray_tune.py",
    "test_pipeline.py",
    "test_model_behaviour.py",
    "test_tracking.py",
    "test_ray_image.py",
    "training/test_teachers.py",
    "preparing/test_cluster.py",
    "hospital/test_hostile.py",
    "test_canary_aws.py",
    "results/test_in_viewer.py",
    "web/test_dicom.py",
    "pipeline/test_validate.py",
    "test_canary_kubernetes.py",
    "web/test_offline.py",
    "cli/test_drift.py",
    "packaging/test_bento.py",
    "packaging/test_release.py",
    "test_web.py",
    "test_aws.py",
)
"""Minutes each: the first to begin, so that no worker is left with one while the others have nothing to do."""


_SPELT_OUT = 40
"""Bytes of a parameter that may be its name."""


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Number long contents instead of spelling them out: a PDF holds the time it was made, and workers must agree."""
    return argname if isinstance(val, bytes) and len(val) > _SPELT_OUT else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give networks the same starting weights in any order of the tests; an unlucky draw has only dead units."""
    if keras := sys.modules.get("keras"):
        keras.utils.set_random_seed(0)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow files first; pytest-randomly has shuffled the others before."""
    for path in {item.path for item in items if item.get_closest_marker("slow")}:
        if "mark.slow" not in path.read_text():
            raise pytest.UsageError(f"{path}: write pytest.mark.slow out in it, the words by which tests/run finds it")
    ranks = [f"/{name}" for name in SLOW_FILES]
    items.sort(key=lambda item: next((i for i, name in enumerate(ranks) if str(item.path).endswith(name)), len(ranks)))
