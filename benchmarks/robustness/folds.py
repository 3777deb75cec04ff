"""Bundles of the networks of the folds, and which image each of them never saw.

<folder>/fold-0/            a bundle; its calibration and operating points come from images of the other folds
<folder>/out_of_fold.csv    the images that are not test, and the fold that each lies in
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.training import out_of_fold
from serving import bundle
from serving.bundle import Bundle

_SEED = 7


@dataclass(frozen=True)
class Folds:
    """The bundle of each fold, by its number as text, and the images, one a row (`out_of_fold.read`)."""

    bundles: Mapping[str, Bundle]
    table: pd.DataFrame
    file: Path
    """Where the table stands."""


def read(folder: Path) -> Folds:
    """Open a folder of folds; InputError for a table that lacks something, BundleError for a fold without a bundle."""
    file = folder / out_of_fold.FILE
    table = out_of_fold.read(file)
    return Folds({fold: bundle.read(folder / f"fold-{fold}") for fold in sorted(set(table["fold"]))}, table, file)


def sample(table: pd.DataFrame, images: int) -> pd.DataFrame:
    """Whole groups, drawn at random until there are at least so many images; all of them for 0.

    A larger sample holds every smaller one, because a group's place in the order depends on its name alone.
    """
    if not images:
        return table
    names = sorted(set(table["group"]), key=lambda name: hashlib.sha256(f"{_SEED}\0{name}".encode()).digest())
    counts = table["group"].value_counts()[names].cumsum()
    taken = set(counts.index[counts.shift(fill_value=0) < images])
    return table[table["group"].isin(taken)]
