"""The pictures of an answer: heatmap, preview and overlay."""

import base64

import cv2
import numpy as np
import numpy.typing as npt

from serving import saliency
from serving.http.schemas import Box, Explanation, Peak, Picture
from serving.imaging.canvas import Pixels
from serving.predictor import Prediction

PREVIEW_SIDE = 2048
"""Longest side in pixels of the preview that a browser gets of a file it cannot show itself."""
_DIGITS = 5


def explanation(prediction: Prediction) -> Explanation:
    """Where a prediction comes from: heatmap, peak and boxes, as fractions of the upright image."""
    shown = prediction.evidence()
    found = saliency.peak(shown)
    image = saliency.layer(shown)
    return Explanation(
        heatmap=_picture("image/png", image, _png(image)),
        peak=Peak(x=round(found[0], _DIGITS), y=round(found[1], _DIGITS)) if found else None,
        boxes=[
            Box(
                x0=round(box.x0, _DIGITS),
                y0=round(box.y0, _DIGITS),
                x1=round(box.x1, _DIGITS),
                y1=round(box.y1, _DIGITS),
                strength=box.strength,
            )
            for box in saliency.boxes(shown)
        ],
    )


def preview(prediction: Prediction) -> Picture:
    """The upright grey image as a JPEG of at most PREVIEW_SIDE pixels, for what a browser cannot show."""
    pixels = prediction.pixels
    scale = PREVIEW_SIDE / max(pixels.shape)
    if scale < 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    return _picture("image/jpeg", pixels, _encoded(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92]))


def overlay(prediction: Prediction) -> bytes:
    """PNG of the upright image with the evidence drawn over it."""
    return _png(saliency.overlay(prediction.pixels, prediction.evidence()))


def _picture(media_type: str, pixels: npt.NDArray[np.uint8], content: bytes) -> Picture:
    data = base64.b64encode(content).decode("ascii")
    return Picture(media_type=media_type, width=pixels.shape[1], height=pixels.shape[0], data=data)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    return _encoded(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def _encoded(extension: str, pixels: Pixels | npt.NDArray[np.uint8], options: list[int]) -> bytes:
    done, content = cv2.imencode(extension, pixels, options)
    if not done:
        raise RuntimeError(f"encoding as {extension} failed")
    return content.tobytes()
