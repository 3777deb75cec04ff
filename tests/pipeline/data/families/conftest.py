"""Radiographs with detail enough to be found again."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.families.features import FeatureTable, describe
from pipeline.data.sources.synthetic.radiograph import render

Grey = npt.NDArray[np.uint8]


@pytest.fixture(scope="session")
def hands() -> list[Grey]:
    """Four generated radiographs of hands of four patients, uint8 (h, w)."""
    return [render(seed, "hand", "frontal", None).pixels for seed in range(4)]


@pytest.fixture(scope="session")
def turn() -> Callable[[Grey, float], Grey]:
    """Give a function that turns a picture by degrees, on black."""

    def turned(pixels: Grey, degrees: float) -> Grey:
        height, width = pixels.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
        return np.asarray(cv2.warpAffine(pixels, matrix, (width, height)), np.uint8)

    return turned


@pytest.fixture(scope="session")
def table_of() -> Callable[..., FeatureTable]:
    """Give a function that makes a table of the features of pictures; None for one that could not be read."""

    def table(*pictures: Grey | None) -> FeatureTable:
        found = FeatureTable(len(pictures))
        found.extend(None if picture is None else describe(picture) for picture in pictures)
        return found

    return table
