"""How colourful a picture is."""

import math

import cv2
import numpy as np

from serving.imaging.canvas import Pixels

COLOURFUL = 10.0
"""Grey levels of chroma above which a picture is a colour photograph; radiographs, tinted ones too, stay below 2."""


def colourfulness(bgr: Pixels) -> float:
    """Spread of the chroma in grey levels: 0 for grey, near 0 for a tinted film, above 10 for most photographs.

    The standard deviation of Cb and Cr (ITU-R BT.601) that is not explained by brightness, so that an even or
    a brightness-dependent tint, as of a scanned film, does not count.
    """
    image = cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb)
    values = image.reshape(-1, 3)
    means = np.array(cv2.mean(image)[:3])
    # Whole numbers up to here, so that an even grey gives exactly 0. Not `values.T @ values`, which starts threads.
    products = cv2.mulTransposed(values, True, dtype=cv2.CV_64F)
    covariance = np.asarray(products, np.float64) / len(values) - np.outer(means, means)
    brightness = max(float(covariance[0, 0]), 1e-6)
    unexplained = sum(float(covariance[i, i]) - float(covariance[0, i]) ** 2 / brightness for i in (1, 2))
    return math.sqrt(max(unexplained, 0.0))
