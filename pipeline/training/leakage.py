"""A model that begins from a release is judged by images that the release has not seen."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.artifacts import TrainingRecord
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from serving.statistics import Reference


def require(data: Prepared, release: Path) -> None:
    """Refuse a test or validation set with images that a release, a folder, was trained on or chosen with.

    An image is known by its id where both data sets are the same published one, and by the fingerprint of its prepared
    pixels. Raises InputError with how many there are; prints a line when the release saw images prepared otherwise.
    """
    training = TrainingRecord.read(release / "training.json")
    ids = _published_ids(data, training, release / "split.csv")
    reference = Reference.load(release / "bundle/reference.npz")
    for part in ("test", "validation"):
        rows = data.rows(part)
        seen = sum(
            data.table["image_id"].iloc[row] in ids or reference.knows(np.asarray(data.images[row])) for row in rows
        )
        if seen:
            raise InputError(
                f"params.yaml: train.weights: release: {seen} of the {len(rows)} images of the {part} set were used "
                f"to make {release.name}, so the figures would be too good; choose imagenet, or take images that are "
                f"not in the training and validation sets of models/{release.name}/split.csv"
            )
    if data.preprocessing.to_dict() != training.preprocessing:
        print(f"train: {release.name} knows images prepared as {training.preprocessing}; expect less of it here")


def _published_ids(data: Prepared, training: TrainingRecord, split: Path) -> set[str]:
    """Ids of what the release learned from, where an id means the same image in both data sets."""
    source = data.dataset.source
    if not source.startswith("https://") or source != training.dataset.source:
        return set()
    table = pd.read_csv(split, keep_default_na=False, dtype=str)
    return set(table["image_id"][table["part"] != "test"])
