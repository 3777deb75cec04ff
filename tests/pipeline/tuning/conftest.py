"""A project whose images are squares, prepared for a search."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from pipeline.artifacts import PreparedRecord
from pipeline.data.prepared import Prepared
from pipeline.params import Params, PreprocessParams
from pipeline.training.params import Augmentation, TrainParams
from pipeline.tuning.records import SearchFolder
from pipeline.tuning.trial import Job

ROOT = Path(__file__).parents[3]
OPTIONS = Params(
    preprocess=PreprocessParams(image_size=32),
    train=TrainParams(
        epochs=2, batch_size=16, dropout=0, early_stopping_patience=0, augmentation=Augmentation(flip=False)
    ),
)


def write_prepared(data: Prepared, folder: Path) -> None:
    """Write the files that `prepared.load` reads."""
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", data.images[:])
    data.table.to_csv(folder / "split.csv", index=False)
    data.boxes.to_csv(folder / "boxes.csv", index=False)
    PreparedRecord(
        classes=data.classes, preprocessing=data.preprocessing.to_dict(), dataset=data.dataset,
        data_hash=data.data_hash, split_hash=data.split_hash, test_hash=data.test_hash,
    ).write(folder / "prepared.json")  # fmt: skip


def change_params(root: Path, source: Path, **values: object) -> None:
    """Write a project's params.yaml: that of `source` for small images, with other values of the training."""
    yaml = YAML()
    content = yaml.load(source)
    content["preprocess"]["image_size"] = 32
    content["train"].update(values)
    with (root / "params.yaml").open("w") as file:
        yaml.dump(content, file)


@pytest.fixture
def squares_project(tmp_path: Path, squares: Callable[..., Prepared]) -> Path:
    """Make a project with prepared squares, and parameters for a training of two epochs."""
    root = tmp_path / "project"
    write_prepared(squares(120), root / "prepared")
    shutil.copy(ROOT / "dvc.yaml", root)
    for name in ("pipeline", "serving"):
        (root / name).symlink_to(ROOT / name)  # the code that a search's name depends on
    change_params(root, ROOT / "params.yaml", epochs=2, batch_size=16, dropout=0, early_stopping_patience=0)
    return root


@pytest.fixture
def job(squares_project: Path, tmp_path: Path) -> Job:
    """Describe trials of two folds and two epochs."""
    folder = SearchFolder(tmp_path / "tuning")
    return Job(squares_project, folder, OPTIONS, folds=2)
