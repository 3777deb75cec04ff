"""Bytes to the model's input, the one path of training and serving: decode, canonical form, letterbox."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from serving.imaging import decode
from serving.imaging.canonical.form import NO_HEADS, Canonical, Heads, canonical
from serving.imaging.canonical.intensity import robust_range, spread
from serving.imaging.canvas import Pixels, Placement, Preprocessing, View, decode_scale, fit
from serving.imaging.decode import Decoded, Header


@dataclass(frozen=True)
class ModelInput:
    """The model's input, uint8 (size, size), and how it came about.

    `picture` is the whole upright image in grey, uint8 (h, w), possibly at a reduced scale: for the reader's eyes.
    `canonical` is None where no step was asked for; `smoothed` says that the image was noisy and therefore smoothed.
    """

    pixels: Pixels
    placement: Placement
    picture: Pixels
    decoded: Decoded
    canonical: Canonical | None = None
    smoothed: bool = False


def prepare(
    content: bytes,
    preprocessing: Preprocessing,
    heads: Heads = NO_HEADS,
    max_pixels: int = decode.MAX_PIXELS,
    header: Header | None = None,
) -> ModelInput:
    """An image file's bytes as the model's input; `header` and errors as in `decode.decode`."""
    header = header or decode.inspect(content, max_pixels)
    decoded = decode.decode(content, decode_scale(preprocessing), max_pixels, header)
    found = prepare_decoded(decoded, preprocessing, heads)
    side = _side_wanted(found, preprocessing)
    if side is None:
        return found
    return prepare_decoded(decode.decode(content, side, max_pixels, header), preprocessing, heads)


def prepare_decoded(decoded: Decoded, preprocessing: Preprocessing, heads: Heads = NO_HEADS) -> ModelInput:
    """The same of an image that is decoded already."""
    header, steps = decoded.header, preprocessing.canonical
    if not steps.any:
        pixels, letterbox, smoothed = fit(decoded.pixels, header.width, header.height, preprocessing)
        return ModelInput(pixels, Placement(View(), letterbox), decoded.pixels, decoded, smoothed=smoothed)
    values: npt.NDArray[np.number] = decoded.pixels
    picture = decoded.pixels
    if steps.range and decoded.values is not None:
        values, picture = decoded.values, picture_of(decoded)
    form = canonical(values, steps, heads)
    width, height = size_of(form.view, header.width, header.height)
    pixels, letterbox, smoothed = fit(form.pixels, width, height, preprocessing)
    # The deep values have done their work; images wait for the network with what a reader is shown.
    seen = Placement(form.view, letterbox)
    return ModelInput(pixels, seen, picture, replace(decoded, values=None), form, smoothed)


def picture_of(decoded: Decoded) -> Pixels:
    """The whole upright image in grey, uint8 (h, w), as a reader sees it where the step `range` is on."""
    if decoded.values is None:
        return decoded.pixels
    return spread(decoded.values, *robust_range(decoded.values))


def size_of(view: View, width: int, height: int) -> tuple[int, int]:
    """Width and height in pixels of what is shown of an upright image of `width` x `height`."""
    x0, y0, x1, y1 = view.box
    shown = max(1, round((x1 - x0) * width)), max(1, round((y1 - y0) * height))
    return shown[::-1] if view.quarters % 2 else shown


def _side_wanted(found: ModelInput, preprocessing: Preprocessing) -> int | None:
    """How long the longer side of the image has to be for a field that fills a small part of it; None: it is so.

    A JPEG is decoded at a reduced scale before it is known how much of it is frame.
    """
    header = found.decoded.header
    rows, columns = map(int, found.picture.shape)
    x0, y0, x1, y1 = found.placement.view.box
    shown = max((x1 - x0) * columns, (y1 - y0) * rows)
    if shown >= preprocessing.image_size or max(rows, columns) >= max(header.width, header.height):
        return None
    return math.ceil(decode_scale(preprocessing) * max(rows, columns) / max(shown, 1))
