"""Pictures that are no radiographs get a reason instead of a diagnosis."""

import math

import cv2
import numpy as np

from serving.errors import ImageError
from serving.imaging import decode
from serving.imaging.canvas import Pixels
from serving.imaging.decode import Header

COLOURFUL = 10.0
"""Grey levels of chroma above which a picture is a colour photograph; radiographs, tinted ones too, stay below 2."""
BLANK = 2.0
"""Standard deviation of the grey levels below which a picture shows nothing."""
SMALLEST = 32
"""Pixels of a side below which no bone can be seen."""


def check_header(header: Header, max_frames: int) -> None:
    """Refuse what the header alone shows to be no single radiograph; ImageError `too_small` or `too_many_frames`."""
    if min(header.width, header.height) < SMALLEST:
        raise ImageError(
            "too_small", f"the image is {header.width} x {header.height} pixels; at least {SMALLEST} a side are needed"
        )
    if header.frames > max_frames:
        raise ImageError("too_many_frames", "the file holds several frames or pages; send one image at a time")


def check_colours(content: bytes, header: Header) -> None:
    """Refuse a colour photograph; ImageError `colour_photograph`."""
    if not decode.has_colours(header):
        return
    small, _ = decode.preview(content, header)
    if small.ndim == 3 and colourfulness(small) > COLOURFUL:
        raise ImageError("colour_photograph", "the image is a colour photograph, not a radiograph")


def check_contrast(picture: Pixels) -> None:
    """Refuse an empty picture, grey uint8 (h, w); ImageError `blank`."""
    _, deviation = cv2.meanStdDev(picture)
    if float(deviation[0, 0]) < BLANK:
        raise ImageError("blank", "the image shows nothing but one shade of grey")


def check_distance(distance: float, limit: float, truncated: bool = False) -> None:
    """Refuse what is unlike every image of training; ImageError `not_a_radiograph`."""
    if not distance <= limit:
        raise ImageError(
            "not_a_radiograph",
            f"the image is unlike the radiographs this model was trained on (distance {distance:.2f}, at most "
            f"{limit:.2f}); no answer is given" + ("; the file is cut short" if truncated else ""),
        )


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
