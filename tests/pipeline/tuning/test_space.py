"""The file that says what a search varies."""

from itertools import islice
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.params import Params
from pipeline.tuning import space

SPACE = """
train.learning_rate: {low: 1e-5, high: 0.01, log: true}
train.batch_size: [8, 16]
train.warmup_steps: {low: 0, high: 9}
train.augmentation.rotation: {low: 0, high: 15, step: 5}
"""


def _space(folder: Path, text: str) -> space.Space:
    (folder / "space.yaml").write_text(text)
    return space.read(folder / "space.yaml")


def test_every_value_lies_within_what_the_file_allows(tmp_path: Path) -> None:
    found = list(islice(_space(tmp_path, SPACE).trials(Params(), 1), 100))
    assert all(1e-5 <= values["train.learning_rate"] <= 0.01 for values in found)
    assert {values["train.batch_size"] for values in found} == {8, 16}
    assert {values["train.warmup_steps"] for values in found} == set(range(10))
    assert {values["train.augmentation.rotation"] for values in found} == {0, 5, 10, 15}


def test_a_logarithmic_range_gives_each_power_of_ten_its_share(tmp_path: Path) -> None:
    found = islice(_space(tmp_path, SPACE).trials(Params(), 1), 300)
    small = sum(values["train.learning_rate"] < 1e-4 for values in found)
    assert 70 < small < 130


def test_more_trials_begin_like_fewer(tmp_path: Path) -> None:
    wanted = _space(tmp_path, SPACE)
    more = list(islice(wanted.trials(Params(), 1), 20))
    assert list(islice(wanted.trials(Params(), 1), 5)) == more[:5]


def test_no_two_trials_are_the_same_and_a_small_space_ends(tmp_path: Path) -> None:
    found = list(_space(tmp_path, "train.dropout: [0.1, 0.2]\ntrain.batch_size: [8, 16]\n").trials(Params(), 1))
    assert len(found) == 4
    assert all(found.count(values) == 1 for values in found)


def test_combinations_that_do_not_go_together_are_passed_over(tmp_path: Path) -> None:
    wanted = _space(tmp_path, "train.architecture: [cnn, MobileNet]\ntrain.head: [pooled, location]\n")
    found = list(wanted.trials(Params(), 1))
    assert {"train.architecture": "cnn", "train.head": "location"} not in found
    assert len(found) == 3


def test_a_space_without_any_combination_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"space.yaml: no combination .* head and trainable_from belong to a backbone"):
        next(_space(tmp_path, "train.head: [location]\n").trials(Params(), 1))


def test_a_trials_values_reach_their_keys() -> None:
    found = space.applied(Params(), {"train.dropout": 0.25, "train.augmentation.zoom": 0.1}).train
    assert (found.dropout, found.augmentation.zoom, found.augmentation.flip) == (0.25, 0.1, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train.dropuot: [0.1]", "train.dropuot: unknown key"),
        ("train.augmentation: [0.1]", "train.augmentation: unknown key"),
        ("preprocess.seed: [1, 2]", "preprocess.seed: cannot be varied; keys of train can"),
        ("evaluate.threshold: [0.4, 0.5]", "evaluate.threshold: cannot be varied"),
        ("preprocess.image_size: [16, 64]", "preprocess.image_size: Input should be greater than or equal to 32"),
        ("train.epochs: [5, 10]", "train.epochs: cannot be varied"),
        ("train.seed: [1, 2]", "train.seed: cannot be varied: choosing a seed is choosing luck"),
        ("train.dropout: [0.1, 1.5]", r"train.dropout: Input should be less than 1 \(found 1.5\)"),
        ("train.dropout: {low: 0, high: 2}", "train.dropout: Input should be less than 1"),
        ("train.batch_size: {low: 0.5, high: 9}", "train.batch_size: Input should be a valid integer"),
        ("train.optimizer: [adam, lion]", "train.optimizer: Input should be 'adam', 'adamw' or 'sgd'"),
        ("train.dropout: {low: 0.4, high: 0.2}", "must be less than high"),
        ("train.dropout: {low: 0, high: 0.2, log: true}", "low must be above 0"),
        ("train.dropout: {low: 0, hihg: 0.2}", "train.dropout: high: Field required"),
        ("train.dropout: 0.3", "give a list of values, or a range"),
        ("train.dropout: []", "give a list of values, or a range"),
        ("- train.dropout", "must hold keys such as train.learning_rate"),
        ("train.dropout: [", "is not valid YAML"),
    ],
)
def test_a_fault_of_the_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        _space(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "space.yaml" in str(caught.value)
