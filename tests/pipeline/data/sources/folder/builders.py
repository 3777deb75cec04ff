"""A folder of images named after a patient, and what becomes of it."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.data import layout
from pipeline.data.sources import folder

PATIENT = "Doe_Jane"
SLOPE = np.arange(64 * 64).reshape(64, 64)
"""Pixels of a DICOM object."""


def jpeg(grey: int = 0, turned: int = 1, size: tuple[int, int] = (80, 40)) -> bytes:
    """A picture whose left half is `grey` and whose right half is lighter."""
    exif = Image.Exif()
    exif[0x0112] = turned
    exif[0x010E] = PATIENT
    buffer = io.BytesIO()
    picture = Image.new("L", size, grey)
    picture.paste(grey + 50, (size[0] // 2, 0, *size))
    picture.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def fill(
    source: Path,
    *,
    normal: str | None = None,
    table: str | None = None,
    boxes: str | None = None,
    keep_split: bool = False,
    force: bool = False,
) -> layout.Dataset:
    """Run the source beside its folder; `table` and `boxes` are the text of the files."""
    root = source.parent
    for name, text in (("table.csv", table), ("boxes.csv", boxes)):
        if text is not None:
            (root / name).write_text(text)
    folder.fill(
        root / "data",
        source,
        normal=normal,
        table=root / "table.csv" if table is not None else None,
        boxes=root / "boxes.csv" if boxes is not None else None,
        keep_split=keep_split,
        force=force,
        private_dir=root / "private",
    )
    return layout.read(root / "data")


def names(source: Path) -> pd.DataFrame:
    return pd.read_csv(source.parent / "private" / "set-names.csv", dtype=str, keep_default_na=False)
