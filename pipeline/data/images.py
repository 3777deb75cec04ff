"""The images of a data set, for validate."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.data import scan
from pipeline.data.engine import require_folder
from pipeline.data.families.features import FeatureTable
from pipeline.data.layout import Dataset
from pipeline.data.pixel_cache import PixelWriter


class Images(Protocol):
    """The images of a data set, each named by its `file` in labels.csv."""

    def files(self) -> list[str]:
        """Every file that there is, sorted."""

    def read(self, file: str) -> bytes:
        """The bytes of a file; OSError or ImageError."""

    def scan(self, files: Sequence[str], features: FeatureTable | None) -> tuple[pd.DataFrame, npt.NDArray[np.float32]]:
        """The facts about each file and its thumbnail, as `scan.scan_files` gives them."""


class FolderImages:
    """Those of the folder images/, read by the threads of this process; `writer` as in `scan.scan_files`.

    InputError where the images lie elsewhere.
    """

    def __init__(self, data: Dataset, writer: PixelWriter | None = None) -> None:
        require_folder(data)
        self._data, self._writer = data, writer

    def files(self) -> list[str]:
        return [path.relative_to(self._data.folder).as_posix() for path in self._data.image_files()]

    def read(self, file: str) -> bytes:
        return (self._data.folder / file).read_bytes()

    def scan(self, files: Sequence[str], features: FeatureTable | None) -> tuple[pd.DataFrame, npt.NDArray[np.float32]]:
        return scan.scan_files([self._data.folder / file for file in files], writer=self._writer, features=features)
