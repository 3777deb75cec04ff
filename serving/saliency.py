"""A class activation map to what a reader sees: its peak, boxes round its peaks, an overlay."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from serving.imaging.canvas import Letterbox, Pixels, View

Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Box:
    """Corners as fractions in [0, 1] and the strength of the map in it, 1 at its highest peak."""

    x0: float
    y0: float
    x1: float
    y1: float
    strength: float


def evidence(signed: Map, place: Letterbox) -> Map:
    """A signed map (h, w) as evidence for a fracture over the image itself, float32 in [0, 1].

    Negative evidence is none, the canvas' padding is cut off, and the highest peak is 1 (all 0 without one).
    The result has the size of the image on the canvas.
    """
    canvas = cv2.resize(np.maximum(signed, 0), (place.size, place.size), interpolation=cv2.INTER_LINEAR)
    image = canvas[place.top : place.top + place.height, place.left : place.left + place.width]
    top = float(image.max(initial=0))
    return np.asarray(image / top if top > 0 else np.zeros_like(image), np.float32)


def on_picture(shown: Map, view: View) -> Map:
    """Evidence over what is shown of a picture as evidence over the whole picture; none where it was left out.

    At the same scale, float32; the picture is the upright one.
    """
    upright = np.rot90(shown, -view.quarters)
    x0, y0, x1, y1 = view.box
    height, width = upright.shape
    whole = np.zeros((max(height, round(height / (y1 - y0))), max(width, round(width / (x1 - x0)))), np.float32)
    top = min(round(y0 * whole.shape[0]), whole.shape[0] - height)
    left = min(round(x0 * whole.shape[1]), whole.shape[1] - width)
    whole[top : top + height, left : left + width] = upright
    return whole


def peak(shown: Map) -> tuple[float, float] | None:
    """Centre of the highest pixel as fractions (x, y) of the upright image; None where there is no evidence."""
    if not shown.size or float(shown.max()) <= 0:
        return None
    y, x = np.unravel_index(int(np.argmax(shown)), shown.shape)
    return (float(x) + 0.5) / shown.shape[1], (float(y) + 0.5) / shown.shape[0]


def boxes(shown: Map, level: float = 0.5, most: int = 3) -> list[Box]:
    """Boxes round the connected regions above `level`, strongest first, as fractions of the upright image."""
    mask = (shown >= level).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    height, width = shown.shape
    found = []
    for x, y, w, h, _area in stats[1:count]:
        strength = float(shown[y : y + h, x : x + w].max())
        found.append(Box(x / width, y / height, (x + w) / width, (y + h) / height, round(strength, 4)))
    return sorted(found, key=lambda box: -box.strength)[:most]


def overlay(pixels: Pixels, shown: Map, opacity: float = 0.45) -> npt.NDArray[np.uint8]:
    """Evidence over a grey image, BGR uint8 of the image's size; where there is none the image stays grey."""
    height, width = pixels.shape
    strength = cv2.resize(shown, (width, height), interpolation=cv2.INTER_LINEAR)
    grey = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR).astype(np.float32)
    colours = cv2.applyColorMap(np.asarray(strength * 255, np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    alpha = (opacity * np.clip(strength * 1.5, 0, 1))[..., np.newaxis]
    return np.asarray(grey * (1 - alpha) + colours * alpha, np.uint8)


def layer(shown: Map) -> npt.NDArray[np.uint8]:
    """Evidence as a layer to lay over the image, BGRA uint8 of its size: no evidence is transparent."""
    colours = cv2.applyColorMap(np.asarray(shown * 255, np.uint8), cv2.COLORMAP_INFERNO)
    alpha = np.asarray(np.clip(shown * 1.5, 0, 1) * 255, np.uint8)
    return np.asarray(np.dstack([colours, alpha]), np.uint8)
