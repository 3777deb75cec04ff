"""Pictures that are no radiographs get a reason instead of a diagnosis."""

import cv2

from serving.errors import ImageError
from serving.imaging import decode
from serving.imaging.canvas import Pixels
from serving.imaging.colour import COLOURFUL, colourfulness
from serving.imaging.decode import Header

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


def check_radiograph(log_odds: float, limit: float, truncated: bool = False) -> None:
    """Refuse what the guard's head takes for no radiograph; ImageError `not_a_radiograph`."""
    if not log_odds >= limit:
        raise ImageError(
            "not_a_radiograph",
            "the image does not look like a radiograph; no answer is given. Send a radiograph as the device stored it, "
            "without anything around it" + ("; the file is cut short" if truncated else ""),
        )
