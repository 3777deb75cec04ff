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
AT_FULL_SIZE = "send it at full size"
ONE_AT_A_TIME = "send one image at a time"
THE_RADIOGRAPH = "send the radiograph itself; of a film, a photograph that it fills, without coloured light"
AS_STORED = "Send a radiograph as the device stored it, without anything around it"
EXPORTED_AGAIN = "check the export and send it again"
"""What to do about each refusal; the page says it at greater length (`web/messages.js`)."""


def check_header(header: Header, max_frames: int) -> None:
    """Refuse what the header alone shows to be no single radiograph; ImageError `too_small` or `too_many_frames`."""
    if min(header.width, header.height) < SMALLEST:
        size = f"{header.width} x {header.height}"
        raise ImageError(
            "too_small", f"the image is {size} pixels; at least {SMALLEST} a side are needed; {AT_FULL_SIZE}"
        )
    if header.frames > max_frames:
        raise ImageError("too_many_frames", f"the file holds several frames or pages; {ONE_AT_A_TIME}")


def check_colours(content: bytes, header: Header) -> None:
    """Refuse a colour photograph; ImageError `colour_photograph`."""
    if not decode.has_colours(header):
        return
    small, _ = decode.preview(content, header)
    if small.ndim == 3 and colourfulness(small) > COLOURFUL:
        raise ImageError("colour_photograph", f"the image is a colour photograph, not a radiograph; {THE_RADIOGRAPH}")


def check_contrast(picture: Pixels) -> None:
    """Refuse an empty picture, grey uint8 (h, w); ImageError `blank`."""
    _, deviation = cv2.meanStdDev(picture)
    if float(deviation[0, 0]) < BLANK:
        raise ImageError("blank", f"the image shows nothing but one shade of grey; {EXPORTED_AGAIN}")


def check_distance(distance: float, limit: float, truncated: bool = False) -> None:
    """Refuse what is unlike every image of training; ImageError `not_a_radiograph`."""
    if not distance <= limit:
        raise ImageError(
            "not_a_radiograph",
            f"the image is unlike the radiographs this model was trained on (distance {distance:.2f}, at most "
            f"{limit:.2f}); no answer is given. {AS_STORED}" + ("; the file is cut short" if truncated else ""),
        )


def check_radiograph(log_odds: float, limit: float, truncated: bool = False) -> None:
    """Refuse what the guard's head takes for no radiograph; ImageError `not_a_radiograph`."""
    if not log_odds >= limit:
        raise ImageError(
            "not_a_radiograph",
            f"the image does not look like a radiograph; no answer is given. {AS_STORED}"
            + ("; the file is cut short" if truncated else ""),
        )
