"""The heads that recognise inverted and turned radiographs, as `preprocess.canonical` in params.yaml asks for them."""

from dataclasses import replace
from pathlib import Path

from pipeline.errors import InputError
from pipeline.params import PreprocessParams
from serving.errors import one_line
from serving.imaging.canonical.form import HEADS, Heads, read_heads
from serving.imaging.canvas import Preprocessing


def chosen(options: PreprocessParams, folder: Path = HEADS) -> tuple[Preprocessing, Heads]:
    """How pixels are prepared, with the hash of the heads it takes, and those heads.

    Raises InputError when a head that is needed is missing or broken.
    """
    preprocessing = Preprocessing.from_dict(options.model_dump())
    heads, digest = _read(folder, preprocessing)
    return replace(preprocessing, canonical=replace(preprocessing.canonical, heads=digest)), heads


def of_training(preprocessing: Preprocessing, folder: Path = HEADS) -> Heads:
    """The heads that images were prepared with; InputError when the folder holds others."""
    heads, digest = _read(folder, preprocessing)
    if digest != preprocessing.canonical.heads:
        raise InputError(f"{folder}: holds other heads than the images were prepared with; run `dvc repro preprocess`")
    return heads


def _read(folder: Path, preprocessing: Preprocessing) -> tuple[Heads, str]:
    try:
        return read_heads(folder, preprocessing.canonical)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder}: the heads that preprocess.canonical needs cannot be read ({one_line(error)}); restore them "
            f"(`git checkout -- {folder}`), or switch polarity and orientation off"
        ) from None
