"""What a search is, and the ledger of its trials, without Ray and without MLflow."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.tuning import runs, search, space
from pipeline.tuning.records import TrialReport
from pipeline.tuning.search import Asked, Ledger, Search
from tests.pipeline.tuning.conftest import change_params


class NoRuns:
    """Stands where MLflow is away."""

    run_id = ""

    def __init__(self, *_: Any) -> None: ...

    def log_metrics(self, *_: Any) -> None: ...

    def end(self, *_: Any) -> None: ...


@pytest.fixture(autouse=True)
def _without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "Mirror", NoRuns)


def _search(root: Path, trials: int = 2, text: str = "train.dropout: {low: 0, high: 0.5}\n", **asked: Any) -> Search:
    (root / "space.yaml").write_text(text)
    return Search(root, Asked(space.read(root / "space.yaml"), trials, folds=2, **asked))


def _report(ledger: Ledger, number: int, *aurocs: float) -> None:
    """Tell of whole folds of two epochs."""
    ledger.begin(number)
    for fold, auroc in enumerate(aurocs):
        told = TrialReport(progress=2 * (fold + 1), fold=fold, epoch=2, fold_auroc=auroc)
        ledger.reported(number, told.model_copy(update={"score": sum(aurocs[: fold + 1]) / (fold + 1)}))
    ledger.ended(number, stopped=len(aurocs) < 2)


def test_trial_0_is_params_yaml_as_it_is(squares_project: Path) -> None:
    wanted = _search(squares_project)
    assert wanted.values[0] == {}
    assert len(wanted.values) == 3


def test_more_trials_are_the_same_search_and_other_values_another(squares_project: Path) -> None:
    first = _search(squares_project)
    assert _search(squares_project, trials=9).folder == first.folder
    assert _search(squares_project, text="train.dropout: [0.1, 0.2]\n").folder != first.folder
    assert _search(squares_project, seed=8).folder != first.folder


def test_every_trial_gets_a_third_of_its_epochs(squares_project: Path) -> None:
    assert _search(squares_project).grace == 1
    with pytest.raises(InputError, match=r"--grace 3: params.yaml gives a trial 2 epochs a fold"):
        _search(squares_project, grace=3)


def test_the_best_complete_trial_is_reported_as_a_diff(squares_project: Path) -> None:
    ledger = Ledger(_search(squares_project), None)
    _report(ledger, 0, 0.6, 0.7)
    _report(ledger, 1, 0.8, 0.9)
    _report(ledger, 2, 0.99)
    text = ledger.finish()
    assert "best: trial 1, AUROC 0.8500 over 2 validation folds (0.8000 to 0.9000)" in text
    assert "params.yaml as it is: AUROC 0.6500; the best trial is better in 2 of 2 folds" in text
    assert "\n-  dropout: 0" in text
    assert f"\n+  dropout: {ledger.records[1].values['train.dropout']}" in text


def test_where_nothing_is_better_there_is_no_diff(squares_project: Path) -> None:
    ledger = Ledger(_search(squares_project, trials=1), None)
    _report(ledger, 0, 0.8, 0.7)
    _report(ledger, 1, 0.6, 0.7)
    assert ledger.finish().splitlines()[-1] == "no trial is better than params.yaml as it is (AUROC 0.7500)"


def test_a_trial_that_was_cut_off_stays_open_for_the_next_run(squares_project: Path) -> None:
    ledger = Ledger(_search(squares_project), None)
    told = TrialReport(progress=1, fold=0, epoch=1, score=0.7)
    ledger.begin(1)
    ledger.reported(1, told)
    ledger.ended(1, stopped=False)
    assert [record.number for record in Ledger(_search(squares_project), None).open] == [0, 1, 2]
    assert Ledger(_search(squares_project), None).records[1].reports == [told]


def test_what_a_trial_tells_again_is_kept_once(squares_project: Path) -> None:
    ledger = Ledger(_search(squares_project), None)
    for _ in range(2):
        ledger.reported(1, TrialReport(progress=1, fold=0, epoch=1, score=0.7))
    assert len(ledger.records[1].reports) == 1


def test_values_that_fail_are_named_and_not_tried_again(
    squares_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger(_search(squares_project), None).failed(2, "train: the loss of epoch 1 is not a number")
    assert "trial 2: failed: train: the loss of epoch 1 is not a number  (dropout" in capsys.readouterr().err
    assert [record.number for record in Ledger(_search(squares_project), None).open] == [0, 1]


def test_a_damaged_record_is_named(squares_project: Path) -> None:
    wanted = _search(squares_project)
    Ledger(wanted, None)
    wanted.folder.trial(1).write_text("{")
    with pytest.raises(InputError, match=r"0001.json: is damaged \(.*\); remove it, and that trial begins anew"):
        Ledger(wanted, None)


def test_nobody_else_runs_the_same_search_meanwhile(squares_project: Path) -> None:
    with (
        _search(squares_project).alone(),
        pytest.raises(InputError, match="another process runs this search"),
        _search(squares_project).alone(),
    ):
        pass


def test_a_search_with_teachers_is_refused(squares_project: Path) -> None:
    file = squares_project / "params.yaml"
    change_params(squares_project, file, distil="teachers", head="location", architecture="MobileNet")
    with pytest.raises(InputError, match=r"train.distil: teachers belong to the folds of one split"):
        _search(squares_project)


def test_a_search_that_weighs_images_by_out_of_fold_scores_is_refused(squares_project: Path) -> None:
    change_params(squares_project, squares_project / "params.yaml", contradicted_weight=0.5, out_of_fold="scores.csv")
    with pytest.raises(InputError, match=r"train.contradicted_weight: scores belong to the folds of one split"):
        _search(squares_project)


def test_without_git_the_search_goes_on_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search.experiments_of(tmp_path) is None
    assert "is no Git repository" in capsys.readouterr().err
