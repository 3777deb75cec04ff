"""Families side by side, for the pages of the validation."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from serving.errors import ImageError
from serving.imaging import decode
from serving.imaging.canvas import Pixels, Preprocessing, fit

_SIDE = 160
_MEMBERS = 6
"""Pictures of a family that are shown, at most."""


def write_sheets(read: Callable[[str], bytes], families: Sequence[Sequence[str]], target: Path) -> str:
    """Write a picture of each family, whose members `read` gives by name, into `target`; HTML that shows them."""
    if not families:
        return ""
    figures = []
    for number, files in enumerate(families, start=1):
        name = f"family-{number}.jpg"
        (target / name).write_bytes(_sheet([_small(read, file) for file in files[:_MEMBERS]]))
        more = f" and {len(files) - _MEMBERS} more" if len(files) > _MEMBERS else ""
        caption = html.escape(", ".join(files[:_MEMBERS]) + more)
        figures.append(f'<figure><img src="{name}" alt="{caption}"><figcaption>{caption}</figcaption></figure>')
    return f"<h2>Some families of near duplicates</h2>{''.join(figures)}"


def _sheet(members: Sequence[Pixels]) -> bytes:
    pictures = [cv2.copyMakeBorder(one, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=128.0) for one in members]
    done, content = cv2.imencode(".jpg", np.hstack(pictures))
    if not done:
        raise RuntimeError("OpenCV cannot write a JPEG")
    return content.tobytes()


def _small(read: Callable[[str], bytes], file: str) -> Pixels:
    try:
        pixels = decode.decode(read(file), at_least=_SIDE).pixels
    except (ImageError, OSError):
        return np.zeros((_SIDE, _SIDE), np.uint8)
    height, width = pixels.shape
    return fit(pixels, width, height, Preprocessing(image_size=_SIDE))[0]
