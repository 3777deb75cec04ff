"""The release's test set as if it were a hospital's own images: `python -m benchmarks.own_data FOLDER [--data data]`.

Writes FOLDER/xrays with a folder a class, FOLDER/table.csv and FOLDER/boxes.csv, as `fracture data folder` reads them.
docs/results/fracatlas.md says what is trained on them.
"""

import argparse
import shutil
from pathlib import Path

import pandas as pd

from pipeline.data import layout
from pipeline.errors import InputError, exit_with_line
from pipeline.files import project_root
from pipeline.training.trained import newest_release

_COLUMNS = ("region", "view", "hardware")


def write(data: Path, release: Path, folder: Path) -> int:
    """Copy what the release has not learned from, and count it; InputError where none of it is in `data`."""
    split = pd.read_csv(release / "split.csv", dtype=str)
    unseen = set(split["image_id"][split["part"] == "test"])
    found = layout.read(data)
    labels = found.labels[found.labels["image_id"].isin(unseen)]
    if not len(labels):
        raise InputError(f"{data}: holds no image of {release.name}'s test set; fill it with `fracture data fracatlas`")
    names = {}
    for row in labels.itertuples():
        names[row.image_id] = f"{row.label}/{Path(row.file).name}"
        target = folder / "xrays" / names[row.image_id]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / row.file, target)
    table = labels[[column for column in _COLUMNS if column in labels]].assign(file=labels["image_id"].map(names))
    table.to_csv(folder / "table.csv", index=False)
    boxes = found.boxes[found.boxes["image_id"].isin(names)]
    boxes = boxes.assign(file=boxes["image_id"].map(names))[["file", "x0", "y0", "x1", "y1", "label"]]
    boxes.to_csv(folder / "boxes.csv", index=False)
    return len(labels)


def main() -> None:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data"))
    given = parser.parse_args()
    count = write(given.data, newest_release(project_root()).parent, given.folder)
    print(f"{given.folder}: {count} images")


if __name__ == "__main__":
    exit_with_line(main)
