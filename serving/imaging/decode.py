"""Bytes to pixels: content -> inspect (header only) -> decode (grey, upright)."""

import io
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from serving.errors import ImageError
from serving.imaging import dicom, formats
from serving.imaging.canvas import Pixels
from serving.imaging.faults import faults
from serving.imaging.lattice import eight_bit_levels

MAX_PIXELS = 89_478_485
"""Pillow's own limit, beyond which it warns of a decompression bomb: a quarter GiB of RGB."""

_PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_SEVERAL_PICTURES = "MPO"  # CIPA DC-007: a JPEG, and behind it further ones, as phones write for depth or brightness
_PILLOW_SWITCH = threading.Lock()  # Pillow's tolerance of truncated files is one switch for the whole process
_ORIENTATION_TAG = 0x0112
_SWAPS_SIDES = (5, 6, 7, 8)
_LEAST_ROWS = 0.5
"""Share of a truncated picture's rows that must be present; missing rows are shown as one shade of grey."""
_WHITE_IS_ZERO_TAG, _WHITE_IS_ZERO = 262, 0  # TIFF 6.0, PhotometricInterpretation
_SAMPLE_FORMAT_TAG, _SIGNED = 339, (2,)  # TIFF 6.0, section 19
_MAX_PREVIEW = 1024
_REDUCTIONS = (
    (8, cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
)
_FEW = 4096
"""Values, about, that tell most pictures of more than eight bits from those of eight."""
_ROUNDING = 1e-5
"""Relative error, at most, of a byte that was divided by 255 in single or better precision."""
_BIT_DEPTHS = {"1": 1, "I;16": 16, "I;16B": 16, "I": 16, "F": 32}


Number = TypeVar("Number", bound=np.number)


@dataclass(frozen=True)
class Header:
    """What a file says about itself before a pixel is decoded; `width` and `height` are those of the upright image.

    `frames` is 2 for any TIFF of several pages: counting them means following a chain of offsets in an untrusted file.
    What follows it is a DICOM object's own: `body_part` joins the words of Body Part Examined and of the coded anatomic
    regions, `for_processing` tells that the pixels are not yet as they are meant to be shown.
    """

    format: str
    mode: str
    bit_depth: int
    width: int
    height: int
    orientation: int
    frames: int = 1
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    modality: str = ""
    body_part: str = ""
    for_processing: bool = False

    @property
    def pixels(self) -> int:
        """Width x height x frames."""
        return self.width * self.height * self.frames


@dataclass(frozen=True)
class Decoded:
    """Grey, upright pixels, uint8 (height, width), with the header; decoded at a reduced scale when asked.

    `values` (height, width), of any number type, stand behind the pixels where the file has more than eight bits and
    does not say how they are shown: bright bone, not yet spread from the darkest to the brightest pixel. Else None.
    """

    pixels: Pixels
    header: Header
    truncated: bool
    values: npt.NDArray[np.number] | None = None


def inspect(content: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Read an image's header without decoding it.

    Raises ImageError `empty`, `unsupported_format`, `undecodable` or `too_many_pixels`, and `no_pixels` for a DICOM
    object without an image.
    """
    if not content:
        raise ImageError("empty", "the file is empty")
    header = dicom.inspect(content) if dicom.is_dicom(content) else None
    found = Header(**header) if header else _inspect_picture(content, max_pixels)
    if found.width < 1 or found.height < 1:
        raise ImageError("undecodable", f"the image is {found.width} x {found.height} pixels")
    if found.pixels > max_pixels:
        size = f"{found.width} x {found.height}" + (f" x {found.frames}" if found.frames > 1 else "")
        raise ImageError("too_many_pixels", f"the image has {size} pixels; at most {max_pixels} are accepted")
    return found


def _inspect_picture(content: bytes, max_pixels: int) -> Header:
    with faults("the image's header is broken"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images and odd metadata; what matters is raised
        try:
            image = Image.open(io.BytesIO(content), formats=_PICTURE_FORMATS)
            orientation = _orientation(image)
        except Image.DecompressionBombError:
            raise ImageError("too_many_pixels", f"the image has more than {max_pixels} pixels") from None
        except UnidentifiedImageError:
            if formats.is_tiff_cut_short(content):
                raise ImageError("undecodable", "the file is cut short; send it again whole") from None
            raise ImageError("unsupported_format", formats.refusal(content)) from None
    # Pillow turns a TIFF upright by itself and gives its upright size already.
    turned = orientation in _SWAPS_SIDES and image.format != "TIFF"
    width, height = image.size[::-1] if turned else image.size
    depth = _BIT_DEPTHS.get(image.mode, 8)
    kind = "JPEG" if image.format == _SEVERAL_PICTURES else image.format or ""
    return Header(kind, image.mode, depth, width, height, orientation, _frames(image))


def _frames(image: Image.Image) -> int:
    if image.format == _SEVERAL_PICTURES or not getattr(image, "is_animated", False):
        return 1
    return int(getattr(image, "n_frames", 2)) if image.format in {"PNG", "WEBP"} else 2


def _orientation(image: Image.Image) -> int:
    if "exif" not in image.info and image.format != "TIFF":
        return 1
    value = image.getexif().get(_ORIENTATION_TAG, 1)
    return int(value) if value in range(1, 9) else 1


def decode(
    content: bytes, at_least: int | None = None, max_pixels: int = MAX_PIXELS, header: Header | None = None
) -> Decoded:
    """Decode an image to grey, upright pixels.

    `at_least` (pixels) lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its scale as long as its longer side keeps that
    many: the decoder averages at a fraction of the cost. A truncated file is decoded as far as it goes, and
    `Decoded.truncated` says so. Pictures of more than eight bits, and DICOM objects that leave their range open, are
    stretched from their darkest to their brightest pixel, unless they hold no more than eight (`in_eight_bits`,
    `lattice.eight_bit_levels`). `header` is the result of `inspect`, if the caller has it. Raises ImageError as
    `inspect` does, and `undecodable`, or `unsupported_dicom` for a DICOM object that is not read.
    """
    header = header or inspect(content, max_pixels)
    if header.format == "DICOM":
        shown = dicom.decode(content)
        same = None if shown.values is None else eight_bit_levels(shown.values)
        if same is not None:
            return Decoded(same, header, shown.truncated)
        return Decoded(shown.pixels, header, shown.truncated, shown.values)
    truncated = is_truncated(content, header)
    if not truncated and _suits_opencv(content, header):
        # libpng's own grey cuts fractions off; the colours of a JPEG leave its decoder as Y, as they are stored.
        colour = header.format == "PNG" and header.mode == "RGB"
        found = _decode_with_opencv(content, header, at_least, colour)
        if found is not None:
            return _grey_of(found, header)
    if header.bit_depth > 8:
        values, cut_short = _decode_with_pillow(content, header, _to_values)
        same = in_eight_bits(values)
        if same is not None:
            return Decoded(same, header, truncated or cut_short)
        return Decoded(stretch(values), header, truncated or cut_short, values)
    pixels, cut_short = _decode_with_pillow(content, header, _to_grey)
    return Decoded(pixels, header, truncated or cut_short)


def check_complete(decoded: Decoded) -> None:
    """Raise ImageError `undecodable` for a truncated picture of which more than half is missing.

    Missing rows are the last ones in storage order, all of one shade. A truncated picture whose own last rows are of
    one shade is refused as well.
    """
    if not decoded.truncated:
        return
    stored = _as_stored(decoded.pixels, decoded.header)
    flat = (stored.max(axis=1) == stored.min(axis=1)) & (stored[:, 0] == stored[-1, 0])
    there = int(np.flatnonzero(~flat)[-1]) + 1 if not flat.all() else 0
    if there < _LEAST_ROWS * len(stored):
        share = there / len(stored)
        raise ImageError(
            "undecodable", f"the file is cut short: {share:.0%} of the image is there; send it again whole"
        )


def _suits_opencv(content: bytes, header: Header) -> bool:
    """Whether OpenCV decodes the same pixels as Pillow: a grey or RGB JPEG or PNG without a transparent colour."""
    if header.mode not in {"L", "RGB"} or header.format not in {"JPEG", "PNG"}:
        return False
    return header.format == "JPEG" or b"tRNS" not in content[: content.find(b"IDAT")]


def _decode_with_opencv(content: bytes, header: Header, at_least: int | None, colour: bool) -> Pixels | None:
    # The header alone says how to turn the image: OpenCV and Pillow do not look in the same places for it.
    flag = _reduced_flag(header, at_least, colour) | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    return None if pixels is None else _upright(np.asarray(pixels, np.uint8), header)


def _reduced_flag(header: Header, at_least: int | None, colour: bool) -> int:
    if header.format == "JPEG" and at_least is not None:
        for factor, grey_flag, colour_flag in _REDUCTIONS:
            if max(header.width, header.height) >= factor * at_least:
                return colour_flag if colour else grey_flag
    return cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE


def is_truncated(content: bytes, header: Header) -> bool:
    """Whether a JPEG or PNG lacks its end marker (some writers append zeros or text after it)."""
    if header.format == "JPEG":
        if content.endswith(b"\xff\xd9"):
            return False
        return content.rfind(b"\xff\xd9") <= content.rfind(b"\xff\xda")
    return header.format == "PNG" and b"IEND" not in content[-4096:]


def _decode_with_pillow(
    content: bytes, header: Header, convert: Callable[[Image.Image], npt.NDArray[Number]]
) -> tuple[npt.NDArray[Number], bool]:
    problem = "the image cannot be decoded"
    try:
        with faults(problem):
            return _upright(convert(_load(content, tolerant=False)), header), False
    except ImageError as first:
        try:
            with faults(problem):
                return _upright(convert(_load(content, tolerant=True)), header), True
        except ImageError:
            raise first from None


def _load(content: bytes, tolerant: bool) -> Image.Image:
    with _PILLOW_SWITCH, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant
        try:
            image = Image.open(io.BytesIO(content), formats=_PICTURE_FORMATS)
            image.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
    return image


def _upright(pixels: npt.NDArray[Number], header: Header) -> npt.NDArray[Number]:
    """Undo the orientation in which pixels are stored (Exif 2.3, tag 274); Pillow has done so for a TIFF."""
    orientation = 1 if header.format == "TIFF" else header.orientation
    if orientation in _SWAPS_SIDES:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _as_stored(pixels: Pixels, header: Header) -> Pixels:
    """The inverse of `_upright`: pixels in storage order."""
    orientation = 1 if header.format == "TIFF" else header.orientation
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return pixels.swapaxes(0, 1) if orientation in _SWAPS_SIDES else pixels


def _to_values(image: Image.Image) -> npt.NDArray[np.number]:
    """The pixels of a picture of more than eight bits, in its own number type, with white as their largest value."""
    values = np.asarray(image)
    # Pillow inverts a TIFF in which white is zero only up to eight bits.
    if isinstance(image, TiffImageFile) and image.tag_v2.get(_WHITE_IS_ZERO_TAG) == _WHITE_IS_ZERO:
        return np.asarray(-values if values.dtype.kind == "f" else ~values)
    return values


def _to_grey(image: Image.Image) -> Pixels:
    grey = np.asarray(_on_black(image).convert("L"), np.uint8)
    # Pillow reads signed bytes as if they were unsigned.
    is_signed = isinstance(image, TiffImageFile) and image.mode == "L" and _sample_format(image) == _SIGNED
    return grey ^ np.uint8(0x80) if is_signed else grey


def _sample_format(image: TiffImageFile) -> tuple[int, ...]:
    return tuple(np.atleast_1d(image.tag_v2.get(_SAMPLE_FORMAT_TAG, 1)))


def _to_bgr(image: Image.Image) -> Pixels:
    return np.asarray(_on_black(image).convert("RGB"), np.uint8)[..., ::-1]


def _on_black(image: Image.Image) -> Image.Image:
    """Replace transparent pixels, whose colours are arbitrary, by black, which surrounds a radiograph."""
    if image.mode not in {"PA", "LA", "RGBA"} and "transparency" not in image.info:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)


def in_eight_bits(values: npt.NDArray[np.number]) -> Pixels | None:
    """The grey levels of a picture of eight bits that was saved with more; None for any other.

    They are multiples of 257 or 256, as programs widen a byte, of 1/255, or bytes as they are. Some of the latter two
    have to be above the middle, since a dark picture of more bits may have as few levels. Those of any other gain and
    offset begin at 0 (`lattice.eight_bit_levels`).
    """
    units: tuple[tuple[float, int], ...] = ((257, 0), (256, 0), (1, 128))
    if values.dtype.kind == "f":
        units = (*units, (1 / 255, 128))
    step = max(1, int((values.size / _FEW) ** 0.5))
    for unit, least in units:
        if all(_are_levels(some, unit) for some in (values[::step, ::step], values)):
            levels = np.asarray(np.rint(values / unit), np.uint8)
            return levels if levels.max() >= least else None
    return eight_bit_levels(values)


def _are_levels(values: npt.NDArray[np.number], unit: float) -> bool:
    """Whether values are whole multiples of a unit, from 0 to 255 of them."""
    if not (values.min() >= 0 and values.max() <= 255 * unit * (1 + _ROUNDING)):  # false for what is no number
        return False
    if values.dtype.kind != "f":
        return not np.any(values % int(unit))
    levels = values.astype(np.float64) / unit
    return bool(np.abs(levels - np.rint(levels)).max() <= 255 * _ROUNDING)


def stretch(values: npt.NDArray[np.number]) -> Pixels:
    """Map finite values linearly to 0..255, the smallest to 0 and the largest to 255; a flat image to 0.

    NaN becomes the smallest value, an infinity the nearest finite value.
    """
    values = values.astype(np.float32, copy=False)
    usable = values[np.isfinite(values)]
    if usable.size == 0 or usable.max() <= usable.min():
        return np.zeros(values.shape, np.uint8)
    low, high = float(usable.min()), float(usable.max())
    finite = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return np.asarray(np.rint((finite - low) * (255.0 / (high - low))), np.uint8)


def has_colours(header: Header) -> bool:
    """Whether the file has colour channels, even if every pixel is grey."""
    return header.mode not in {"L", "LA", *_BIT_DEPTHS} and header.format != "DICOM"


def preview(content: bytes, header: Header, at_least: int = 56) -> tuple[Pixels, bool]:
    """A small, upright version of a picture, made cheaply, and whether the file was truncated.

    uint8 (h, w, 3) BGR where the file has colour channels, else (h, w); at most 1024 pixels a side. A JPEG is decoded
    at the smallest scale that leaves its longer side `at_least` pixels, though every byte is read; other files are
    decoded at full size. Raises ImageError.
    """
    return look(content, header, at_least)[:2]


def look(content: bytes, header: Header, at_least: int = 56) -> tuple[Pixels, bool, Decoded | None]:
    """What `preview` gives, and what `decode` gives at any scale where the preview took a whole decode anyway."""
    truncated = is_truncated(content, header)
    colour = has_colours(header)
    if not truncated and _suits_opencv(content, header):
        found = _decode_with_opencv(content, header, at_least, colour)
        if found is not None:
            whole = _grey_of(found, header) if header.format == "PNG" else None
            return _bounded(found), False, whole
    if colour:
        pixels, cut_short = _decode_with_pillow(content, header, _to_bgr)
        return _bounded(pixels), truncated or cut_short, None
    decoded = decode(content, header=header)
    return _bounded(decoded.pixels), decoded.truncated, None if header.format == "JPEG" else decoded


def _grey_of(pixels: Pixels, header: Header) -> Decoded:
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8) if pixels.ndim == 3 else pixels
    return Decoded(grey, header, truncated=False)


def _bounded(pixels: Pixels) -> Pixels:
    """Reduced to 1024 pixels a side, so that statistics take little memory."""
    factor = _MAX_PREVIEW / max(pixels.shape[:2])
    if factor >= 1:
        return pixels
    width, height = (max(1, round(side * factor)) for side in (pixels.shape[1], pixels.shape[0]))
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
