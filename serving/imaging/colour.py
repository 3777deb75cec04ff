"""How colourful a picture is."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from serving.imaging.canvas import Pixels

COLOURFUL = 10.0
"""Grey levels of chroma above which a picture is a colour photograph; radiographs, tinted ones too, stay below 2."""
MARK = 10
"""Levels by which a pixel's chroma differs from the usual one where something coloured was drawn over a picture."""
MARKS = 0.15
"""Share of a grey picture, at most, that banners, captions and arrows cover; of a photograph more is coloured."""


def colourfulness(bgr: Pixels) -> float:
    """Spread of the chroma in grey levels: 0 for grey, near 0 for a tinted film, above 10 for most photographs.

    The standard deviation of Cb and Cr (ITU-R BT.601) that is not explained by brightness, so that an even or
    a brightness-dependent tint, as of a scanned film, does not count. Nor do coloured marks on a picture whose other
    pixels are grey, as viewers draw them (`MARKS`).
    """
    image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb), np.uint8)
    spread = _spread(image)
    if spread <= COLOURFUL:
        return spread
    unmarked = ~_marked(image)
    return spread if np.mean(unmarked) < 1 - MARKS else _spread(np.ascontiguousarray(image[unmarked][:, np.newaxis]))


def _marked(image: Pixels) -> npt.NDArray[np.bool_]:
    """Which pixels, (h, w), of an image in YCrCb have a chroma far from that of the median pixel."""
    marked = np.zeros(image.shape[:2], np.bool_)
    for channel in (1, 2):
        chroma = image[..., channel]
        usual = int(np.searchsorted(np.cumsum(np.bincount(chroma.reshape(-1), minlength=256)), chroma.size / 2))
        marked |= np.abs(chroma.astype(np.int16) - usual) > MARK
    return marked


def _spread(image: Pixels) -> float:
    """Standard deviation of Cb and Cr, both together, that brightness does not explain, of (h, w, 3) in YCrCb."""
    values = image.reshape(-1, 3)
    means = np.array(cv2.mean(image)[:3])
    # Whole numbers up to here, so that an even grey gives exactly 0. Not `values.T @ values`, which starts threads.
    products = cv2.mulTransposed(values, True, dtype=cv2.CV_64F)
    covariance = np.asarray(products, np.float64) / len(values) - np.outer(means, means)
    brightness = max(float(covariance[0, 0]), 1e-6)
    unexplained = sum(float(covariance[i, i]) - float(covariance[0, i]) ** 2 / brightness for i in (1, 2))
    return math.sqrt(max(unexplained, 0.0))
