"""The split: whole groups, fair shares, the same every time, for any data set."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.split import PARTS, GivenTestSet, assign_groups, check_split, folds, split
from pipeline.errors import InputError
from pipeline.params import PreprocessParams

LABELS = ("normal", "fractured")
REGIONS = ("hand", "leg", "hand;leg")


@st.composite
def tables(draw: st.DrawFn, images: int = 200, max_group: int = 4) -> pd.DataFrame:
    """Images in groups of up to `max_group`, of two classes (at least a fifth each) and three regions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    fractured = draw(st.floats(0.2, 0.8))
    sizes = rng.integers(1, draw(st.integers(1, max_group)) + 1, images)
    group = np.repeat(np.arange(images), sizes)[:images]
    table = pd.DataFrame(
        {
            "image_id": [f"i{number:03d}" for number in range(images)],
            "label": rng.choice(LABELS, images, p=[1 - fractured, fractured]),
            "region": rng.choice(REGIONS, images),
            "group": [f"g{number}" for number in group],
        }
    )
    return table.iloc[rng.permutation(images)].reset_index(drop=True)


FRACTIONS = st.floats(0.15, 0.5)
SEEDS = st.integers(0, 2**32 - 1)


def options(**given: Any) -> PreprocessParams:
    return PreprocessParams(**given)


def singles(count: int = 40, **columns: Any) -> pd.DataFrame:
    """Images in groups of one, every second fractured."""
    ids = [f"i{number:03d}" for number in range(count)]
    labels = [LABELS[number % 2] for number in range(count)]
    return pd.DataFrame({"image_id": ids, "label": labels, "region": "", "group": ids, **columns})


# Any data set


@given(table=tables(), test=FRACTIONS, validation=FRACTIONS, seed=SEEDS)
def test_every_image_is_in_exactly_one_part(table: pd.DataFrame, test: float, validation: float, seed: int) -> None:
    parts = split(table, options(test_fraction=test, validation_fraction=validation, seed=seed))
    assert parts.index.equals(table.index)
    assert set(parts) == set(PARTS)


@given(table=tables(), seed=SEEDS, folds=st.sampled_from([0, 2, 5]))
def test_no_group_is_in_two_parts(table: pd.DataFrame, seed: int, folds: int) -> None:
    parts = split(table, options(seed=seed, folds=folds))
    assert parts.groupby(table["group"]).nunique().max() == 1


@given(table=tables(), test=FRACTIONS, validation=FRACTIONS, seed=SEEDS)
def test_the_parts_have_their_shares(table: pd.DataFrame, test: float, validation: float, seed: int) -> None:
    share = split(table, options(test_fraction=test, validation_fraction=validation, seed=seed)).value_counts() / 200
    assert share["test"] == pytest.approx(test, abs=0.04)
    assert share["validation"] == pytest.approx(validation * (1 - test), abs=0.04)


@given(table=tables(), seed=SEEDS)
def test_every_class_has_its_share_of_the_parts(table: pd.DataFrame, seed: int) -> None:
    test = split(table, options(test_fraction=0.25, seed=seed)) == "test"
    for label in LABELS:
        of_class = table["label"] == label
        assert test[of_class].mean() == pytest.approx(0.25, abs=4 / of_class.sum() + 0.02)


@given(table=tables(), seed=SEEDS)
def test_the_same_seed_gives_the_same_split(table: pd.DataFrame, seed: int) -> None:
    assert split(table, options(seed=seed)).equals(split(table, options(seed=seed)))


@given(table=tables(), seed=SEEDS)
def test_the_order_of_rows_does_not_matter(table: pd.DataFrame, seed: int) -> None:
    parts = split(table, options(seed=seed))
    backwards = split(table.iloc[::-1].reset_index(drop=True), options(seed=seed))
    assert parts.to_list() == backwards.to_list()[::-1]


@given(table=tables(), folds=st.integers(2, 6), data=st.data())
def test_the_test_set_depends_on_neither_folds_nor_fold(table: pd.DataFrame, folds: int, data: st.DataObject) -> None:
    fold = data.draw(st.integers(0, folds - 1))
    with_folds = split(table, options(folds=folds, fold=fold))
    assert (with_folds == "test").equals(split(table, options()) == "test")


@given(table=tables(), folds=st.integers(2, 6))
def test_the_folds_share_out_what_is_not_test(table: pd.DataFrame, folds: int) -> None:
    parts = [split(table, options(folds=folds, fold=fold)) for fold in range(folds)]
    times = sum((part == "validation").astype(int) for part in parts)
    assert times.to_list() == (parts[0] != "test").astype(int).to_list()


@given(table=tables(), folds=st.integers(2, 6))
def test_the_folds_are_of_like_size(table: pd.DataFrame, folds: int) -> None:
    sizes = [(split(table, options(folds=folds, fold=fold)) == "validation").sum() for fold in range(folds)]
    assert max(sizes) - min(sizes) <= 10


@given(seed=SEEDS, copies=st.integers(2, 6))
def test_planted_duplicates_stay_together(seed: int, copies: int) -> None:
    table = singles()
    table.loc[: copies - 1, "group"] = "planted"
    assert len(set(split(table, options(seed=seed))[:copies])) == 1


@given(
    strata=st.lists(st.integers(0, 3), max_size=30),
    shares=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=SEEDS,
)
def test_groups_can_be_dealt_out_of_any_items(strata: list[int], shares: list[int], seed: int) -> None:
    groups = [number // 2 for number in range(len(strata))]
    parts = assign_groups(strata, groups, [share / sum(shares) for share in shares], seed)
    assert parts.shape == (len(strata),)
    assert set(parts) <= set(range(len(shares)))


# Single facts


def test_another_seed_gives_another_split() -> None:
    assert not split(singles(), options(seed=1)).equals(split(singles(), options(seed=2)))


def test_the_validation_fraction_does_not_move_the_test_set() -> None:
    few, many = (split(singles(), options(validation_fraction=share)) for share in (0.1, 0.5))
    assert (few == "test").equals(many == "test")


def test_a_group_larger_than_a_part_stays_whole() -> None:
    table = singles()
    table.loc[:29, "group"] = "patient"
    parts = split(table, options(validation_fraction=0.4))
    assert set(parts[:30]) == {"train"}


def test_each_region_has_its_share_of_the_test_set() -> None:
    regions = ["hand" if number < 20 else "leg" for number in range(40)]
    test = split(singles(region=regions), options()) == "test"
    assert (test[:20].sum(), test[20:].sum()) == (4, 4)


# Holding out a value


def test_every_image_with_the_value_is_held_out() -> None:
    regions = ["hip" if number < 6 else "hand" for number in range(40)]
    parts = split(singles(region=regions), options(holdout_column="region", holdout_value="hip"))
    assert parts[parts == "test"].index.to_list() == list(range(6))


def test_a_value_among_several_of_a_cell_is_held_out() -> None:
    regions = ["hip;leg", "leg;hip", "leg;hip", "hip"] + ["hipster", "leg"] * 18
    parts = split(singles(region=regions), options(holdout_column="region", holdout_value="hip"))
    assert parts[parts == "test"].index.to_list() == [0, 1, 2, 3]


def test_the_group_of_a_held_out_image_goes_with_it() -> None:
    table = singles(source=["new" if number > 33 else "old" for number in range(40)])
    table.loc[[5, 39], "group"] = "patient"
    parts = split(table, options(holdout_column="source", holdout_value="new"))
    assert parts[parts == "test"].index.to_list() == [5, *range(34, 40)]


def test_a_holdout_of_an_unknown_column_is_refused() -> None:
    with pytest.raises(InputError, match=r"params.yaml: preprocess.holdout_column: .* no column 'bone'"):
        split(singles(), options(holdout_column="bone", holdout_value="ulna"))


@pytest.mark.parametrize(("value", "how_many"), [("hip", "no"), ("hand", "every")])
def test_a_holdout_of_no_or_every_image_is_refused(value: str, how_many: str) -> None:
    with pytest.raises(InputError, match=f"holdout_value: {how_many} image has region '{value}'"):
        split(singles(region="hand"), options(holdout_column="region", holdout_value=value))


# Parts that lack a class


def test_a_holdout_that_lacks_a_class_is_refused() -> None:
    table = singles(region=["hip" if number in {0, 2} else "hand" for number in range(40)])
    with pytest.raises(InputError, match="the test set has no image of class fractured"):
        split(table, options(holdout_column="region", holdout_value="hip"))


def test_too_few_groups_of_a_class_are_refused() -> None:
    table = singles()
    table.loc[table["label"] == "fractured", "group"] = "patient"
    with pytest.raises(InputError, match="no image of class fractured; add images"):
        split(table, options())


@pytest.mark.parametrize("images", [1, 2, 3])
def test_too_few_images_are_refused(images: int) -> None:
    with pytest.raises(InputError, match="set has no image of class"):
        split(singles(images), options())


def test_a_group_in_two_parts_would_be_a_defect() -> None:
    table = pd.DataFrame({"label": ["normal", "normal"], "group": ["g", "g"]})
    with pytest.raises(AssertionError, match="group g lies in 2 parts"):
        check_split(table, pd.Series(["train", "test"]))


@pytest.mark.parametrize(("images", "share"), [(60, 0.2), (100, 0.05), (200, 0.05), (400, 0.2)])
def test_few_images_in_many_strata_still_give_the_share_asked_for(images: int, share: float) -> None:
    groups = np.repeat(np.arange(images // 2), 2).astype(str)
    strata = np.repeat(np.random.default_rng(images).integers(0, 12, images // 2), 2).astype(str)
    parts = assign_groups(strata, groups, (1 - share, share), seed=1)
    assert abs((parts == 1).mean() - share) <= 0.015 + 2 / images


@given(table=tables(), count=st.integers(2, 6))
def test_the_fold_of_an_image_is_the_one_it_validates(table: pd.DataFrame, count: int) -> None:
    chosen = options(folds=count, fold=1)
    parts = split(table, chosen)
    dealt = folds(table, parts, chosen)
    assert ((dealt == "1") == (parts == "validation")).all()
    assert ((dealt == "") == (parts == "test")).all()


@given(table=tables(images=400))
def test_a_share_of_the_fold_validates_and_the_rest_trains(table: pd.DataFrame) -> None:
    whole = split(table, options(folds=2, fold=0))
    half = split(table, options(folds=2, fold=0, fold_share=0.5))
    assert set(table.index[half == "validation"]) < set(table.index[whole == "validation"])
    assert (half == "test").equals(whole == "test")
    assert (half == "validation").sum() / (whole == "validation").sum() == pytest.approx(0.5, abs=0.15)


def test_a_share_needs_folds() -> None:
    with pytest.raises(ValueError, match="fold_share is a share of a fold"):
        PreprocessParams(fold_share=0.5)


# A split that came with the data


def with_parts(*parts: str, **columns: Any) -> pd.DataFrame:
    """Images in groups of one, every second fractured, whose given parts are repeated."""
    table = singles(**columns)
    return table.assign(given_part=[parts[number // 2 % len(parts)] for number in range(len(table))])


def test_a_given_split_is_kept() -> None:
    table = with_parts("test", "train", "validation", "train")
    assert split(table, options()).tolist() == table["given_part"].tolist()


def test_a_group_that_spans_given_parts_leaves_training() -> None:
    table = with_parts("train", "validation", "test")
    table.loc[[0, 4], "group"] = "train and test"
    table.loc[[1, 3], "group"] = "train and validation"
    parts = split(table, options())
    assert parts[[0, 4]].tolist() == ["test", "test"]
    assert parts[[1, 3]].tolist() == ["validation", "validation"]


def test_an_image_without_a_given_part_is_for_training() -> None:
    assert split(with_parts("", "test", "validation"), options())[0] == "train"


def test_a_given_split_without_a_validation_set_gets_one() -> None:
    table = with_parts("train", "train", "test")
    parts = split(table, options())
    assert (parts == "test").tolist() == (table["given_part"] == "test").tolist()
    assert (parts == "validation").any()


def test_data_without_a_given_split_are_split_as_ever() -> None:
    assert split(with_parts(""), options()).equals(split(singles(), options()))


def test_an_unknown_given_part_is_refused() -> None:
    with pytest.raises(InputError, match="given_part may hold train, validation, test or nothing"):
        split(with_parts("train", "exam"), options())


# The test set of another split


def other_split(folder: Path, **parts: str) -> Path:
    path = folder / "split.csv"
    path.write_text("image_id,part\n" + "".join(f"{name},{part}\n" for name, part in parts.items()))
    return path


def test_a_given_test_set_is_named_with_its_hash(tmp_path: Path) -> None:
    path = other_split(tmp_path, i003="test", i004="train")
    found = GivenTestSet.read(path)
    assert found == GivenTestSet(path.as_posix(), hashlib.sha256(path.read_bytes()).hexdigest(), frozenset({"i003"}))


def test_a_split_without_a_test_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"split.csv: names no image of part test"):
        GivenTestSet.read(other_split(tmp_path, i004="train"))


def test_a_table_that_is_no_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("image_id\ni003\n")
    with pytest.raises(InputError, match="part"):
        GivenTestSet.read(tmp_path / "split.csv")


def test_a_given_test_set_is_the_test_set() -> None:
    given = GivenTestSet("split.csv", "", frozenset({"i000", "i001", "i002", "i003"}))
    table = singles()
    assert set(table["image_id"][split(table, options(), given) == "test"]) == given.image_ids


def test_a_given_test_set_goes_before_a_split_of_the_data() -> None:
    table = singles(given_part=["test"] * 8 + ["validation"] * 8 + ["train"] * 24)
    given = GivenTestSet("split.csv", "", frozenset({"i020", "i021"}))
    assert set(table["image_id"][split(table, options(), given) == "test"]) == given.image_ids


def test_relatives_of_a_given_test_set_are_left_out() -> None:
    table = singles().assign(group=lambda images: images["image_id"].replace({"i007": "i001", "i009": "i008"}))
    left_out = GivenTestSet("split.csv", "", frozenset({"i000", "i001"})).left_out(table)
    assert list(table["image_id"][left_out]) == ["i007"]
