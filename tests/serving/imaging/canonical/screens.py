"""Pictures of a screen: a radiograph in the window of a program, with a toolbar, thumbnails and a status line."""

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
TOOLBAR, STRIP, FOOT = 60, 160, 24
"""Heights of toolbar and status line, width of the strip of thumbnails, in pixels."""


def screen(picture: Pixels, level: int, seed: int, height: int = 800, width: int = 1280) -> Pixels:
    """A picture in a program whose panels have the grey `level`; what they show is drawn by `seed`."""
    rng = np.random.default_rng(seed)
    found = np.full((height, width), level, np.uint8)
    ink = 230 if level < 128 else 30
    for left in range(12, 700, 44):
        corner = (left + 22, TOOLBAR // 2 + 11)
        cv2.rectangle(found, (left, TOOLBAR // 2 - 11), corner, ink, int(rng.choice([-1, 2])))
    top = TOOLBAR + 12
    while top < height - FOOT - 130:
        found[top : top + 120, 12 : STRIP - 12] = cv2.resize(np.roll(picture, top, 1), (STRIP - 24, 120))
        cv2.rectangle(found, (12, top), (STRIP - 13, top + 119), ink, 1)
        top += 134
    cv2.putText(found, "1 of 3   W 4095 L 2048   Zoom 62 %", (12, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, ink, 1)
    found[TOOLBAR : height - FOOT, STRIP:] = 0
    left, upper, right, lower = shown(picture, height, width)
    found[upper:lower, left:right] = cv2.resize(picture, (right - left, lower - upper), interpolation=cv2.INTER_AREA)
    return found


def shown(picture: Pixels, height: int = 800, width: int = 1280) -> tuple[int, int, int, int]:
    """Where the picture lies: left, top, right and bottom in pixels, the last two exclusive."""
    wide, tall = width - STRIP, height - TOOLBAR - FOOT
    factor = min(wide / picture.shape[1], tall / picture.shape[0])
    shape = int(picture.shape[1] * factor), int(picture.shape[0] * factor)
    left, top = STRIP + (wide - shape[0]) // 2, TOOLBAR + (tall - shape[1]) // 2
    return left, top, left + shape[0], top + shape[1]
