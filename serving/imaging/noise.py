"""How noisy a radiograph is, and what is done about it; an image without much noise stays as it is."""

import math

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

NOISY = 3.0
"""Grey levels of noise above which an image is noisy. None of the 2,610 images of FracAtlas that are not for test has
more than 2.7; with Gaussian noise of 10 levels added, 99 % have more than this (docs/results/experiments.md)."""
_CURVATURE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_OF_CURVATURE = math.sqrt(math.pi / 2) / 6
"""Standard deviation of Gaussian noise whose mean absolute curvature is 1 (J. Immerkaer, Computer Vision and Image
Understanding 64:300, 1996)."""
_DARK, _BRIGHT = 20, 235
"""Grey levels between which noise shows in full; nearer to black and white it is cut off."""
_ENOUGH = 500
"""Pixels between them, at least, by which the noise is judged; of an image with fewer all count."""
_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32)
"""A Gaussian of one pixel's standard deviation, in whole numbers: a browser computes the same pixels."""


def is_noisy(pixels: Pixels) -> bool:
    """Whether an image (h, w) has more noise than NOISY."""
    return noise_of(pixels) > NOISY


def noise_of(pixels: Pixels) -> float:
    """Standard deviation of the noise in grey levels, as if it were white and Gaussian; 0 below 3 pixels a side.

    It is told from the pixels' curvature, which even slopes and straight edges along rows or columns do not have.
    """
    if min(pixels.shape) < len(_CURVATURE):
        return 0.0
    inside = np.s_[1:-1, 1:-1]
    curvature = np.abs(cv2.filter2D(pixels, cv2.CV_16S, _CURVATURE)[inside])
    shown = cv2.inRange(pixels, np.array(_DARK + 1), np.array(_BRIGHT - 1))[inside]
    counted = shown if cv2.countNonZero(shown) >= _ENOUGH else None
    return _OF_CURVATURE * float(cv2.mean(curvature, counted)[0])


def smooth(pixels: Pixels) -> Pixels:
    """The image (h, w) smoothed by a Gaussian of one pixel's standard deviation; beyond its edges it is mirrored."""
    total = cv2.sepFilter2D(pixels, cv2.CV_32F, _BINOMIAL, _BINOMIAL, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray((total.astype(np.int32) + 128) >> 8, np.uint8)
