"""Teachers: which one is asked about which image, and who is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.training import architectures, distillation, weight_files
from pipeline.training.params import TrainParams

Squares = Callable[..., Prepared]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of each of two folds, with different weights, one in each kind of file."""
    folder = tmp_path_factory.mktemp("teachers")
    np.savez(folder / "fold-0.npz", **weight_files.of_model(architectures.build(options(""), 32, 2)))
    (folder / "fold-1").mkdir()
    architectures.build(options("", seed=1), 32, 2).save(folder / "fold-1/model.keras")
    return folder


def options(folder: str, seed: int = 7, weights: str = "none") -> TrainParams:
    return TrainParams(
        architecture="MobileNet",
        architecture_options={"alpha": 0.25},
        head="location",
        distil=folder,
        seed=seed,
        weights=weights,
    )


def dealt(data: Prepared) -> Prepared:
    """Training images in folds 0 and 1 by turns, validation images in fold 0."""
    fold = np.where(data.table["index"] % 4 < 2, "0", "1")
    table = data.table.assign(fold=np.where(data.table["part"] == "validation", "0", fold))
    return replace(data, table=table)


@pytest.mark.parametrize("fold", ["0", "1"])
def test_an_image_is_asked_of_the_teacher_that_never_saw_it(
    squares: Squares, folder: Path, tmp_path: Path, fold: str
) -> None:
    data = dealt(squares())
    soft = distillation.soft_targets(data, options(str(folder)), tmp_path)
    rows = data.rows("train")
    mine = np.flatnonzero(data.table["fold"].iloc[rows] == fold)
    teacher = architectures.located(architectures.build(options("", seed=7 if fold == "0" else 1), 32, 2), logits=True)
    wanted = teacher.predict(data.images[rows[mine]][..., np.newaxis], verbose=0)[architectures.LOCATION][..., 0]
    assert np.asarray(soft.places[mine], np.float32) == pytest.approx(wanted, abs=0.01)


def test_a_stopped_training_asks_only_about_the_rest(
    squares: Squares, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, asked = dealt(squares()), []
    distillation.soft_targets(data, options(str(folder)), tmp_path)
    path = next(tmp_path.glob("teachers-*/logits.npy"))
    logits = np.load(path)
    logits[0] = np.nan
    np.save(path, logits)
    keep = distillation.Answers.keep

    def counted(self: distillation.Answers, where: np.ndarray, *answers: np.ndarray) -> None:
        asked.extend(where.tolist())
        keep(self, where, *answers)

    monkeypatch.setattr(distillation.Answers, "keep", counted)
    distillation.soft_targets(data, options(str(folder)), tmp_path)
    assert asked == [0]


def test_a_missing_teacher_is_named(squares: Squares, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.distil: .* has no teacher of fold 0"):
        distillation.soft_targets(dealt(squares()), options(str(tmp_path)), tmp_path)


def test_a_split_without_folds_is_refused(squares: Squares, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no folds; set preprocess\.folds"):
        distillation.soft_targets(squares(), options(str(folder)), tmp_path)


def test_a_teacher_of_another_head_is_refused(squares: Squares, tmp_path: Path) -> None:
    for fold in (0, 1):
        (tmp_path / f"fold-{fold}").mkdir()
        pooled = options("").model_copy(update={"head": "pooled"})
        architectures.build(pooled, 32, 2).save(tmp_path / f"fold-{fold}/model.keras")
    with pytest.raises(InputError, match="is no network with head: location"):
        distillation.soft_targets(dealt(squares()), options(str(tmp_path)), tmp_path)


def test_folds_that_are_not_those_of_the_teachers_are_refused(squares: Squares, folder: Path, tmp_path: Path) -> None:
    data = dealt(squares())
    table = data.table[["image_id", "fold"]].copy()
    table.loc[0, "fold"] = "1"
    for name in ("fold-0.npz", "fold-1"):
        (tmp_path / name).symlink_to(folder / name)
    table.to_csv(tmp_path / "out_of_fold.csv", index=False)
    with pytest.raises(InputError, match=r"out_of_fold\.csv: 1 of \d+ training images lie in another fold"):
        distillation.soft_targets(data, options(str(tmp_path)), tmp_path)


def test_beginning_from_a_teacher_that_saw_the_validation_set_is_refused(
    squares: Squares, folder: Path, tmp_path: Path
) -> None:
    data = dealt(squares())
    data.table.loc[data.table["part"] == "validation", "fold"] = "1"
    with pytest.raises(InputError, match=r"is the teacher of fold 0.*set preprocess\.fold to 0"):
        distillation.soft_targets(data, options(str(folder), weights=str(folder / "fold-0.npz")), tmp_path)
