"""Teachers: one experiment for each fold, and scores of images by the network that never saw them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.artifacts import TrainingRecord
from pipeline.cli.teachers import teachers as command
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.training import teachers
from tests.pipeline.project import Project

Squares = Callable[..., Prepared]


@pytest.fixture
def data(squares: Squares) -> Prepared:
    """Images in two folds."""
    made = squares()
    return replace(made, table=made.table.assign(fold=(made.table["index"] // 2 % 2).astype(str)))


def fetched(data: Prepared, folder: Path, fold: str, name: str = "one", data_hash: str = "data") -> teachers.Fetched:
    """An experiment whose network left out that fold, as far as its files say."""
    part = np.where(data.table["fold"] == fold, "validation", "train")
    split = data.table.assign(part=np.where(data.table["part"] == "test", "test", part))
    record = TrainingRecord.model_construct(
        architecture="cnn", classes=data.classes, image_size=32, preprocessing=data.preprocessing.to_dict(),
        model_sha256="", weights_sha256="", parameters=1, epochs=1, best_epoch=1, data_hash=data_hash, split_hash="",
        test_hash="", dataset=data.dataset, regions=(), views=(), run_id="",
    )  # fmt: skip
    (folder / name).mkdir()
    record.write(folder / name / "training.json")
    return teachers.Fetched(name, split, folder / name)


def test_experiments_come_in_the_order_of_their_folds(data: Prepared, tmp_path: Path) -> None:
    found = teachers.by_fold([fetched(data, tmp_path, "1", "b"), fetched(data, tmp_path, "0", "a")], data)
    assert [(fold, one.name) for fold, one in found.items()] == [("0", "a"), ("1", "b")]


def test_a_fold_without_an_experiment_is_named(data: Prepared, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no experiment left out fold 1; run -S preprocess\.fold=1"):
        teachers.by_fold([fetched(data, tmp_path, "0")], data)


def test_two_experiments_of_one_fold_are_refused(data: Prepared, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="experiments a and b: both left out fold 0"):
        teachers.by_fold([fetched(data, tmp_path, "0", "a"), fetched(data, tmp_path, "0", "b")], data)


def test_a_network_that_saw_a_part_of_its_fold_is_refused(data: Prepared, tmp_path: Path) -> None:
    one = fetched(data, tmp_path, "0")
    one.split.loc[one.split.index[one.split["part"] == "validation"][0], "part"] = "train"
    with pytest.raises(InputError, match=r"experiment one: its network saw a part of fold 0; .*fold_share=1"):
        teachers.by_fold([one], data)


def test_an_experiment_on_other_images_is_refused(data: Prepared, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="experiment one: was trained on other images than prepared/ holds"):
        teachers.by_fold([fetched(data, tmp_path, "0", data_hash="other")], data)


def test_an_experiment_with_other_folds_is_refused(data: Prepared, tmp_path: Path) -> None:
    one = fetched(data, tmp_path, "0")
    other = replace(data, table=data.table.assign(fold=(data.table["index"] % 2).astype(str)))
    with pytest.raises(InputError, match="experiment one: was trained on other folds or test set"):
        teachers.by_fold([one], other)


def test_a_folder_of_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="holds something else than teachers"):
        command(["one"], tmp_path)


def test_pooled_scores_add_logit_and_place() -> None:
    y = np.arange(80) % 2
    rng = np.random.default_rng(0)
    logit, place = (y + rng.normal(0, 1, 80) for _ in range(2))
    table = pd.DataFrame(
        {
            "label": np.where(y, "fractured", "normal"),
            "group": [f"g{n}" for n in range(80)],
            "fold": [str(n // 40) for n in range(80)],
            "logit": logit,
        }
    )
    alone, both = (teachers.pooled(one, "normal") for one in (table, table.assign(place=place)))
    assert alone["auroc"]["value"] < both["auroc"]["value"]
    assert set(both["auroc_of_folds"]) == {"0", "1"}
    assert "AUROC of each fold" in teachers.markdown(both)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_experiments_of_folds_teach_a_student(tiny: Project) -> None:
    project = tiny
    project.change("preprocess", image_size=64, folds=2)
    smallest = {"architecture": "MobileNet", "architecture_options": {"alpha": 0.25}, "head": "location", "epochs": 1}
    project.change("train", **smallest)
    project.commit("recipe")
    for fold in ("0", "1"):
        project.run("dvc", "exp", "run", "-n", f"fold-{fold}", "-S", f"preprocess.fold={fold}", "train")
    printed = project.run("fracture", "teachers", "fold-1", "fold-0")
    assert "| AUROC of each fold |" in printed
    table = pd.read_csv(project.root / "teachers/out_of_fold.csv", dtype=str)
    split = pd.read_csv(project.root / "prepared/split.csv", dtype=str)
    assert set(table["image_id"]) == set(split["image_id"][split["part"] != "test"])
    assert {"logit", "place"} <= set(table.columns)

    project.run(
        "dvc", "exp", "run", "-n", "student", "-S", "preprocess.fold_share=0.5", "-S", "train.distil=teachers",
        "-S", "train.contradicted_weight=0.5", "-S", "train.out_of_fold=teachers/out_of_fold.csv", "train",
    )  # fmt: skip

    refused = project.run("fracture", "teachers", "fold-0", "nowhere", code=1)
    assert refused.startswith("error: experiment nowhere: its network cannot be had"), refused
