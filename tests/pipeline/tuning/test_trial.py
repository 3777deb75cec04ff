"""One trial: folds, reports, and going on where it was cut off."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import preprocess
from pipeline.data import split
from pipeline.data.prepared import Prepared
from pipeline.data.validation.tables import image_table
from pipeline.errors import InputError
from pipeline.params import PreprocessParams
from pipeline.tuning import trial
from pipeline.tuning.records import SearchFolder, TrialRecord, TrialReport
from pipeline.tuning.trial import Job
from tests.conftest import MakeData
from tests.pipeline.tuning.conftest import OPTIONS

SPLIT = PreprocessParams()
FOLDS = 3


def _told(job: Job, number: int = 1, until: int = 100) -> list[TrialReport]:
    """What a trial reports; KeyboardInterrupt after `until` reports, as if it was killed."""
    found: list[TrialReport] = []

    def report(one: TrialReport) -> None:
        if len(found) == until:
            raise KeyboardInterrupt
        found.append(one)

    try:
        trial.run(job, number, report)
    except KeyboardInterrupt:
        return found
    return found


def test_a_fold_is_the_one_that_preprocess_deals(squares: Callable[..., Prepared]) -> None:
    data = squares(240)
    table = data.table.drop(columns="part")
    for fold in range(FOLDS):
        parts = split.split(table, SPLIT.model_copy(update={"folds": FOLDS, "fold": fold}))
        found = trial.fold_of(replaced(data, parts), SPLIT, FOLDS, fold).table["part"]
        assert found.where(found != "", "test").tolist() == parts.tolist()


def replaced(data: Prepared, parts: pd.Series) -> Prepared:
    return Prepared(**{**vars(data), "table": data.table.assign(part=parts)})


def test_no_image_of_the_test_set_is_in_any_part(squares: Callable[..., Prepared]) -> None:
    data = squares(120)
    test = data.rows("test")
    assert len(test)
    for fold in range(FOLDS):
        found = trial.fold_of(data, SPLIT, FOLDS, fold)
        assert set(found.table["part"].iloc[test]) == {""}


def test_folds_that_lack_a_class_are_refused(squares: Callable[..., Prepared]) -> None:
    data = squares(24)
    one = np.flatnonzero(data.table["part"] != "test")[0]
    few = Prepared(**{**vars(data), "table": data.table.assign(**{"class": (np.arange(24) == one).astype(int)})})
    with pytest.raises(InputError, match="set lacks a class; ask for fewer folds with --folds"):
        trial.fold_of(few, SPLIT, FOLDS, 0)


@pytest.mark.slow
def test_a_trial_tells_each_epoch_goes_on_where_it_was_cut_off_and_never_looks_at_the_test_set(job: Job) -> None:
    job.folder.begin(1, {"train.learning_rate": 0.002})
    whole = _told(job)
    assert [(one.fold, one.epoch, one.progress) for one in whole] == [
        (0, 1, 1), (0, 2, 1), (0, 2, 2), (1, 1, 3), (1, 2, 3), (1, 2, 4),
    ]  # fmt: skip
    first, second = (one.fold_auroc for one in whole if one.fold_auroc is not None)
    assert whole[-1].score == pytest.approx((first + second) / 2)

    file = job.root / "prepared/images.npy"
    images, parts = np.load(file), pd.read_csv(file.with_name("split.csv"))["part"]
    images[(parts == "test").to_numpy()] = 255
    np.save(file, images)
    job.folder.begin(2, {"train.learning_rate": 0.002})
    cut = _told(job, 2, until=4)
    TrialRecord(number=2, values={"train.learning_rate": 0.002}, reports=cut).write(job.folder.trial(2))
    again = _told(job, 2)
    assert again[:4] == cut == whole[:4]
    assert again[-1] == whole[-1]


def test_a_trial_that_has_ended_only_tells_again(job: Job, tmp_path: Path) -> None:
    told = TrialReport(progress=1, fold=0, epoch=1, score=0.6)
    TrialRecord(number=1, values={}, state="stopped", reports=[told]).write(job.folder.trial(1))
    assert _told(job) == [told]
    assert not job.folder.checkpoints(1).exists()


def test_a_trial_may_want_other_pixels_of_the_same_images(tmp_path: Path, make_data: MakeData) -> None:
    data = make_data(tmp_path / "data", {f"i{number:02d}": {"region": "hand"} for number in range(40)})
    table = image_table(data, 0.995)
    (tmp_path / "reports").mkdir()
    table.assign(excluded="").to_csv(tmp_path / "reports/images.csv", index=False)
    usable = preprocess.read_image_table(tmp_path / "reports/images.csv")
    (tmp_path / "prepared").mkdir()
    preprocess.preprocess(data, usable, OPTIONS.preprocess, tmp_path / "prepared")
    job = Job(tmp_path, SearchFolder(tmp_path / "tuning"), OPTIONS, folds=2)

    found = trial.prepared_for(job, OPTIONS.preprocess.model_copy(update={"image_size": 64}))
    present = trial.prepared_for(job, OPTIONS.preprocess)
    assert (found.images.shape, present.images.shape) == ((40, 64, 64), (40, 32, 32))
    assert found.table["part"].equals(present.table["part"])

    (tmp_path / "data/labels.csv").write_text((tmp_path / "data/labels.csv").read_text().replace("i39", "i99"))
    with pytest.raises(InputError, match="does not belong to the images and labels"):
        trial.prepared_for(job, OPTIONS.preprocess.model_copy(update={"image_size": 96}))
