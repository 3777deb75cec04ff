"""The images of one part of a split, of a data set in the layout of data/."""

from pathlib import Path

import pandas as pd

from pipeline.data import layout
from pipeline.errors import InputError

PARTS = ("train", "validation", "test")


def part_of(data: Path, split: Path, part: str) -> pd.DataFrame:
    """The images of a part: image_id, label (1 where it is not the first class), group and path.

    `split` is a table like a release's split.csv. Raises InputError where the part has no image, or `data` lacks one.
    """
    rows = pd.read_csv(split, dtype=str, keep_default_na=False)
    rows = rows[rows["part"] == part].reset_index(drop=True)
    found = layout.read(data)
    files = found.labels.set_index("image_id")["file"]
    missing = sorted(set(rows["image_id"]) - set(files.index))
    if missing or not len(rows):
        raise InputError(f"{split}: names {missing[0] if missing else 'no image of part ' + part}; not in {data}")
    rows["path"] = [str(data / str(files[image_id])) for image_id in rows["image_id"]]
    rows["label"] = (rows["label"] != found.info.classes[0]).astype(int)
    return rows
