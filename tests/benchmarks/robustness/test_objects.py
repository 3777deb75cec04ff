"""Every object shows the picture it was made of."""

import cv2
import numpy as np
import pytest

from benchmarks.robustness.objects import OBJECTS
from serving.imaging import decode


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_shows_the_picture_it_was_made_of(name: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 60), dtype=np.uint8)
    pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 2), np.uint8)
    pixels = np.asarray(cv2.normalize(pixels, None, 0, 255, cv2.NORM_MINMAX), np.uint8)  # type: ignore[call-overload]
    found = decode.decode(OBJECTS[name](pixels)).pixels
    assert np.abs(found.astype(int) - pixels).max() <= 2
