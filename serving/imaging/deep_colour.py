"""Colours, and grey with transparency, of sixteen bits: both bytes of every sample, of which Pillow keeps the upper."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PLANAR_CONFIGURATION, TiffImageFile

from serving.errors import ImageError
from serving.imaging.canonical.intensity import robust_range, spread
from serving.imaging.lattice import in_eight_bits

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.uint16]

WEIGHTS = (19595, 38470, 7471)
"""Of red, green and blue in brightness (ITU-R BT.601), in 65536ths, as Pillow has them; their sum is 1."""
_GREY = "LA;16B"
_KINDS = frozenset({_GREY, *(f"{of};16{order}" for of in ("RGB", "RGBX", "RGBA", "RGBa") for order in "LBN")})
"""What Pillow calls the samples of such files: their order, and that of their bytes (N: the machine's own)."""
_OTHER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_SEPARATE = 2  # TIFF 6.0, PlanarConfiguration
_ROWS = 128
"""Rows that are reckoned with at a time."""
_ENOUGH = 1024
"""Pixels of the longer side, at least, from which colours are judged."""


def is_deep(image: Image.Image) -> bool:
    """Whether an opened file has such samples. Raises ImageError `unsupported_format` for some that are not read."""
    kind = _kind(image)
    if isinstance(image, TiffImageFile) and image.mode != "P" and _is_wide(image):
        if image.tag_v2.get(PLANAR_CONFIGURATION) == _SEPARATE and image.mode in {"RGB", "RGBA", "CMYK"}:
            raise _unread("in separate planes of 16 bits a pixel")
        if image.mode == "CMYK":
            raise _unread("in CMYK of 16 bits a pixel")
    return kind in _KINDS


def _is_wide(image: TiffImageFile) -> bool:
    return bool(np.max(image.tag_v2.get(BITSPERSAMPLE, 1)) > 8)


def _unread(kind: str) -> ImageError:
    return ImageError(
        "unsupported_format", f"the file is a TIFF picture {kind}, which is not read; save it in grey, or as PNG"
    )


def _kind(image: Any) -> str:
    """What Pillow calls the samples of a file; empty where it does not say so before it reads them."""
    args = image.tile[0].args if image.tile else None
    return args if isinstance(args, str) else str(args[0]) if args else ""


def samples_of(opened: Callable[[], Image.Image]) -> Samples:
    """Red, green and blue, or grey alone, uint16 (h, w, 3 or 1), of a file that `is_deep`.

    What is transparent is black. `opened` opens the file, whose pixels are read here. Raises whatever Pillow raises
    for a broken file.
    """
    first = opened()
    kind = _kind(first)
    if kind == _GREY:
        # Its four bytes a pixel are taken for those of four samples.
        both = np.asarray(_loaded(first, "RGBA")).view(">u2")
        found, alpha = both[..., :1].astype(np.uint16), both[..., 1:]
        return _on_black(found, alpha)
    name, order = kind[:-1], kind[-1]
    # What is premultiplied lies on black already.
    name = name.replace("RGBa", "RGBA")
    count = 4 if name.startswith("RGBA") else 3
    transparent = first.info.get("transparency")
    found = np.asarray(_loaded(first, name + order))[..., :count].astype(np.uint16)
    del first
    found <<= 8
    found |= np.asarray(_loaded(opened(), name + _OTHER[order]))[..., :count]
    colours = np.ascontiguousarray(found[..., :3])
    if kind.startswith("RGBA"):
        return _on_black(colours, found[..., 3:])
    if transparent is not None:
        colours[(colours == np.array(transparent, np.uint16)).all(axis=2)] = 0
    return colours


def _loaded(image: Any, kind: str) -> Image.Image:
    """The file's pixels, read as if its samples were of that kind."""
    image.tile = [
        tile._replace(args=kind if isinstance(tile.args, str) else (kind, *tile.args[1:])) for tile in image.tile
    ]
    image.load()
    return image  # type: ignore[no-any-return]


def _on_black(samples: Samples, alpha: npt.NDArray[np.uint16]) -> Samples:
    for rows in _blocks(samples):
        opacity = alpha[rows].astype(np.uint32)
        if opacity.min() < 0xFFFF:
            samples[rows] = (samples[rows] * opacity + 0x7FFF) // 0xFFFF
    return samples


def _blocks(samples: npt.NDArray[np.generic]) -> list[slice]:
    return [slice(first, first + _ROWS) for first in range(0, len(samples), _ROWS)]


def grey_of(samples: Samples) -> Samples | Pixels:
    """Their brightness (h, w): of eight bits where the samples hold no more, else of sixteen.

    Where the channels are equal it is one of them.
    """
    if samples.shape[2] == 1 or all((samples[..., 0] == samples[..., other]).all() for other in (1, 2)):
        return np.ascontiguousarray(samples[..., 0])
    same = in_eight_bits(samples.reshape(len(samples), -1))
    return _brightness(samples if same is None else same.reshape(samples.shape))


def _brightness(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found = np.empty(samples.shape[:2], samples.dtype)
    for rows in _blocks(samples):
        weighted = (samples[rows, :, channel] * np.uint32(weight) for channel, weight in enumerate(WEIGHTS))
        found[rows] = (sum(weighted) + np.uint32(1 << 15)) >> np.uint32(16)
    return found


def shown(samples: Samples) -> Pixels:
    """Some of their pixels in eight bits, BGR (h, w, 3), or (h, w) of grey, about as bright as `grey_of` is shown."""
    step = max(1, max(samples.shape[:2]) // _ENOUGH)
    samples = np.ascontiguousarray(samples[::step, ::step])
    whole = samples.reshape(len(samples), -1)
    same = in_eight_bits(whole)
    found = spread(whole, *robust_range(whole)) if same is None else same
    colours = np.ascontiguousarray(found.reshape(samples.shape)[..., ::-1])
    return colours if samples.shape[2] == 3 else colours[..., 0]
