"""Split images into parts: stratified, and never one group in two parts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.data import cells, layout
from pipeline.data.layout import GIVEN_PART
from pipeline.errors import InputError
from pipeline.params import PreprocessParams

PARTS = ("train", "validation", "test")
_TOLERANCE = 0.015
"""Share of all images by which a part may be too large before groups are moved."""


def assign_groups(
    strata: npt.ArrayLike, groups: npt.ArrayLike, shares: Sequence[float], seed: int
) -> npt.NDArray[np.int64]:
    """Deal whole groups out to parts of the given sizes, so that each part gets its share of every stratum.

    `strata` and `groups` name the stratum and the group of each of n items; `shares` are positive and add up
    to 1. Returns the part number of each item, int64 (n,). Large groups are dealt first, then in random order;
    each goes to the part that is furthest behind in what the group brings (greedy, as in scikit-learn's
    StratifiedGroupKFold, but with shares of any size).
    """
    _, stratum = np.unique(np.asarray(strata), return_inverse=True)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    brings = np.zeros((group.max(initial=-1) + 1, stratum.max(initial=-1) + 1))
    np.add.at(brings, (group, stratum), 1)
    order = np.random.default_rng(seed).permutation(len(brings))
    order = order[np.argsort(-brings[order].sum(axis=1), kind="stable")]
    totals = brings.sum(axis=0)
    share = np.asarray(shares, float)[:, None]
    target = share * totals
    held = np.zeros_like(target)
    part_of_group = np.zeros(len(brings), np.int64)
    for index in order:
        # How far each part is behind, in the strata this group touches and, as a tie-break, over all.
        lack = (target - held) / np.maximum(share * np.maximum(totals, 1), 1e-9)
        weight = brings[index] / brings[index].sum()
        overall = 1 - held.sum(axis=1) / np.maximum(target.sum(axis=1), 1e-9)
        part = int(np.argmax(lack @ weight + 1e-3 * overall))
        held[part] += brings[index]
        part_of_group[index] = part
    _even_out(part_of_group, brings, np.asarray(shares, float))
    return np.asarray(part_of_group[group], np.int64)


def _even_out(parts: npt.NDArray[np.int64], brings: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]) -> None:
    """Move groups from the part that has too much to the one that has too little, in place.

    With few groups a stratum the strata alone would give a small part too much: every stratum wants to be in it.
    """
    sizes = brings.sum(axis=1)
    tolerance = max(_TOLERANCE * sizes.sum(), float(sizes.min(initial=1)))
    for _ in range(len(parts)):
        excess = np.bincount(parts, sizes, len(shares)) - shares * sizes.sum()
        giver, taker = int(np.argmax(excess)), int(np.argmin(excess))
        room = min(excess[giver], -excess[taker])
        movable = np.flatnonzero((parts == giver) & (sizes <= room + 1e-9))
        if excess[giver] <= tolerance or not len(movable):
            return
        # The group whose strata the giver has most of, so that no stratum, and no class, is emptied first.
        held = np.stack([brings[parts == part].sum(axis=0) for part in (giver, taker)])
        surplus = held[0] / shares[giver] - held[1] / shares[taker]
        parts[movable[np.argmax((brings[movable] @ surplus) / sizes[movable])]] = taker


@dataclass(frozen=True)
class GivenTestSet:
    """The test set of another split: its file's name and sha256, and the ids of its images."""

    file: str
    sha256: str
    image_ids: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> "GivenTestSet":
        """Read a split.csv (columns image_id and part); InputError where it is none or names no test image."""
        table = layout.read_table(path, ["image_id", "part"])
        chosen = frozenset(table["image_id"][table["part"] == "test"])
        if not chosen:
            raise InputError(f"{path}: names no image of part test; preprocess.test_set in params.yaml asks for some")
        return cls(path.as_posix(), hashlib.sha256(path.read_bytes()).hexdigest(), chosen)

    def left_out(self, table: pd.DataFrame) -> pd.Series:
        """Which images of `table` share a group with one of the test set without being one: they are in no part."""
        test = table["image_id"].isin(self.image_ids)
        return ~test & test.groupby(table["group"]).transform("any")


def split(table: pd.DataFrame, options: PreprocessParams, test_set: GivenTestSet | None = None) -> pd.Series:
    """Part (train, validation or test) of each image of `table` (columns label, region, group, ...).

    The test set is `test_set` if there is one. Else a split that came with the data (column `given_part`) is kept;
    without a validation set that is drawn. Else the test set is a share of `test_fraction`, or every image whose
    `holdout_column` holds `holdout_value` together with its groups. It depends neither on `folds` nor on `fold`.
    Raises InputError for an unknown column or value and for a part that lacks a class.
    """
    strata = (table["label"] + "|" + table["region"]).to_numpy(str)
    groups = table["group"].to_numpy(str)
    given = _given(table) if test_set is None else None
    if given is not None and (given == "validation").any():
        check_split(table, given)
        return given
    if test_set is not None:
        test = table["image_id"].isin(test_set.image_ids).to_numpy(bool)
    elif given is not None:
        test = (given == "test").to_numpy()
    elif options.holdout_column:
        test = _held_out(table, options)
    else:
        shares = (1 - options.test_fraction, options.test_fraction)
        test = assign_groups(strata, groups, shares, options.seed) == 1
    parts = np.where(test, "test", "train").astype(object)
    rest = np.flatnonzero(~test)
    if options.folds:
        chosen = rest[_deal_folds(strata[rest], groups[rest], options) == options.fold]
        if options.fold_share < 1:
            shares = (1 - options.fold_share, options.fold_share)
            chosen = chosen[assign_groups(strata[chosen], groups[chosen], shares, options.seed + 2) == 1]
        parts[chosen] = "validation"
    else:
        shares = (1 - options.validation_fraction, options.validation_fraction)
        parts[rest[assign_groups(strata[rest], groups[rest], shares, options.seed + 1) == 1]] = "validation"
    result = pd.Series(parts, index=table.index, name="part", dtype=str)
    check_split(table, result)
    return result


def folds(table: pd.DataFrame, parts: pd.Series, options: PreprocessParams) -> pd.Series:
    """Fold of each image that is not in the test set, as text; empty for the others. `parts` is what `split` gave."""
    rest = (parts != "test").to_numpy()
    strata = (table["label"] + "|" + table["region"]).to_numpy(str)
    dealt = np.full(len(table), "", object)
    dealt[rest] = _deal_folds(strata[rest], table["group"].to_numpy(str)[rest], options).astype(str)
    return pd.Series(dealt, index=table.index, name="fold", dtype=str)


def _deal_folds(
    strata: npt.NDArray[np.str_], groups: npt.NDArray[np.str_], options: PreprocessParams
) -> npt.NDArray[np.int64]:
    return assign_groups(strata, groups, [1 / options.folds] * options.folds, options.seed + 1)


def _given(table: pd.DataFrame) -> pd.Series | None:
    """The split that came with the data; None where none did.

    All of a group that lies in several parts goes to the last of train, validation and test, so that nothing of it is
    trained on. An image without a part is for training.
    """
    if GIVEN_PART not in table.columns or not (table[GIVEN_PART] != "").any():
        return None
    ranks = table[GIVEN_PART].map({"": 0, **{part: rank for rank, part in enumerate(PARTS)}})
    if ranks.isna().any():
        raise InputError(f"data/labels.csv: {GIVEN_PART} may hold {', '.join(PARTS)} or nothing; mend the column")
    latest = ranks.groupby(table["group"]).transform("max").astype(int)
    return pd.Series([PARTS[rank] for rank in latest], index=table.index, name="part", dtype=str)


def _held_out(table: pd.DataFrame, options: PreprocessParams) -> npt.NDArray[np.bool_]:
    column, value = options.holdout_column, options.holdout_value
    if column not in table.columns:
        raise InputError(f"params.yaml: preprocess.holdout_column: reports/images.csv has no column {column!r}")
    chosen = table[column].map(lambda cell: value in cells.split(cell))
    if not chosen.any() or chosen.all():
        how_many = "every" if chosen.all() else "no"
        values = sorted({part for cell in table[column] for part in cells.split(cell) if part})
        known = ", ".join(values[:20])
        raise InputError(
            f"params.yaml: preprocess.holdout_value: {how_many} image has {column} {value!r}; there are: {known}"
        )
    return np.asarray(chosen.groupby(table["group"]).transform("any"), bool)


def check_split(table: pd.DataFrame, parts: pd.Series) -> None:
    """Raise when a group lies in two parts (a defect of ours) or a part lacks a class (an InputError)."""
    spread = parts.groupby(table["group"]).nunique()
    if (spread > 1).any():
        raise AssertionError(f"group {spread.idxmax()} lies in {spread.max()} parts")
    for part in PARTS:
        present = set(table["label"][parts == part])
        missing = sorted(set(table["label"]) - present)
        if missing:
            raise InputError(
                f"data: the {part} set has no image of class {', '.join(missing)}; add images (or patients), or "
                f"change preprocess.test_fraction, validation_fraction, folds or holdout_value in params.yaml"
            )
