"""Bytes to pixels: content -> inspect (header only) -> decode (grey, upright)."""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from serving.errors import ImageError
from serving.imaging import deep_colour, dicom, formats
from serving.imaging.canvas import Pixels
from serving.imaging.faults import faults
from serving.imaging.lattice import eight_bit_levels, in_eight_bits

MAX_PIXELS = 89_478_485
"""Pillow's own limit, beyond which it warns of a bomb: for files of one's own; a service takes fewer (`Settings`)."""

_PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_SEVERAL_PICTURES = "MPO"  # CIPA DC-007: a JPEG, and behind it further ones, as phones write for depth or brightness
_PILLOW_SWITCH = threading.Lock()  # Pillow's tolerance of truncated files is one switch for the whole process
_ORIENTATION_TAG = 0x0112
_SWAPS_SIDES = (5, 6, 7, 8)
_LEAST_ROWS = 0.5
"""Share of a truncated picture's rows that must be present; missing rows are shown as one shade of grey."""
_WHITE_IS_ZERO_TAG, _WHITE_IS_ZERO = 262, 0  # TIFF 6.0, PhotometricInterpretation
_SAMPLE_FORMAT_TAG, _UNSIGNED, _SIGNED = 339, (1,), (2,)  # TIFF 6.0, section 19
_MAX_PREVIEW = 1024
_REDUCTIONS = (
    (8, cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
)
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
        raise ImageError("empty", "the file is empty; export or copy it again")
    header = dicom.inspect(content) if dicom.is_dicom(content) else None
    found = Header(**header) if header else _inspect_picture(content, max_pixels)
    if found.width < 1 or found.height < 1:
        raise ImageError("undecodable", f"the image is {found.width} x {found.height} pixels")
    if found.pixels > max_pixels:
        size = f"{found.width} x {found.height}" + (f" x {found.frames}" if found.frames > 1 else "")
        raise ImageError("too_many_pixels", f"the image has {size} pixels, more than {max_pixels}; save it smaller")
    return found


def _inspect_picture(content: bytes, max_pixels: int) -> Header:
    with faults("the image's header is broken"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images and odd metadata; what matters is raised
        try:
            image = _open(content)
            orientation = _orientation(image)
            depth = 16 if deep_colour.is_deep(image) else _BIT_DEPTHS.get(image.mode, 8)
        except Image.DecompressionBombError:
            raise ImageError("too_many_pixels", f"the image has over {max_pixels} pixels; save it smaller") from None
        except UnidentifiedImageError:
            if formats.is_tiff_cut_short(content):
                raise ImageError("undecodable", "the file is cut short; send it again whole") from None
            raise ImageError("unsupported_format", formats.refusal(content)) from None
    # Pillow turns a TIFF upright by itself and gives its upright size already.
    turned = orientation in _SWAPS_SIDES and image.format != "TIFF"
    width, height = image.size[::-1] if turned else image.size
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
    stretched from their darkest to their brightest pixel, unless they hold no more than eight (`lattice.in_eight_bits`,
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
        values, cut_short = _decode_with_pillow(content, header, _deep_grey if has_colours(header) else _values)
        return _of_values(values, header, truncated or cut_short)
    pixels, cut_short = _decode_with_pillow(content, header, _grey)
    return Decoded(pixels, header, truncated or cut_short)


def _of_values(values: npt.NDArray[np.number], header: Header, truncated: bool) -> Decoded:
    same = np.asarray(values) if values.dtype == np.uint8 else in_eight_bits(values)
    return Decoded(stretch(values), header, truncated, values) if same is None else Decoded(same, header, truncated)


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
    if header.mode not in {"L", "RGB"} or header.format not in {"JPEG", "PNG"} or header.bit_depth > 8:
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
    content: bytes, header: Header, read: Callable[[bytes, bool], npt.NDArray[Number]]
) -> tuple[npt.NDArray[Number], bool]:
    """Upright pixels, and whether only a tolerant Pillow reads them; `read` takes a file and how tolerant to be."""
    problem = "the image cannot be decoded"
    try:
        with faults(problem):
            return _upright(read(content, False), header), False
    except ImageError as first:
        try:
            with faults(problem):
                return _upright(read(content, True), header), True
        except ImageError:
            raise first from None


@contextmanager
def _pillow(tolerant: bool) -> Iterator[None]:
    """Where Pillow reads pixels: with or without tolerance of truncated files, and without a warning."""
    with _PILLOW_SWITCH, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=_PICTURE_FORMATS)


def _load(content: bytes, tolerant: bool) -> Image.Image:
    with _pillow(tolerant):
        image = _open(content)
        image.load()
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


def _samples(content: bytes, tolerant: bool) -> npt.NDArray[np.uint16]:
    with _pillow(tolerant):
        return deep_colour.samples_of(lambda: _open(content))


def _deep_grey(content: bytes, tolerant: bool) -> npt.NDArray[np.number]:
    return deep_colour.grey_of(_samples(content, tolerant))


def _deep_bgr(content: bytes, tolerant: bool) -> Pixels:
    return deep_colour.shown(_samples(content, tolerant))


def _values(content: bytes, tolerant: bool) -> npt.NDArray[np.number]:
    """The pixels of a grey picture of more than eight bits, in its own number type, with white as their largest value.

    A value that stands for transparent is black.
    """
    image = _load(content, tolerant)
    values = np.asarray(image)
    if not isinstance(image, TiffImageFile):
        transparent = image.info.get("transparency")
        return values if transparent is None else np.where(values == transparent, values.dtype.type(0), values)
    # Pillow reads 32 bits as if they had a sign.
    if image.mode == "I" and _sample_format(image) == _UNSIGNED and values.min() < 0:
        values = values.view(np.uint32)
    # Pillow inverts a TIFF in which white is zero only up to eight bits.
    if image.tag_v2.get(_WHITE_IS_ZERO_TAG) == _WHITE_IS_ZERO:
        return np.asarray(-values if values.dtype.kind == "f" else ~values)
    return values


def _grey(content: bytes, tolerant: bool) -> Pixels:
    image = _load(content, tolerant)
    grey = np.asarray(_on_black(image).convert("L"), np.uint8)
    # Pillow reads signed bytes as if they were unsigned.
    is_signed = isinstance(image, TiffImageFile) and image.mode == "L" and _sample_format(image) == _SIGNED
    return grey ^ np.uint8(0x80) if is_signed else grey


def _sample_format(image: TiffImageFile) -> tuple[int, ...]:
    return tuple(np.atleast_1d(image.tag_v2.get(_SAMPLE_FORMAT_TAG, 1)))


def _bgr(content: bytes, tolerant: bool) -> Pixels:
    return np.asarray(_on_black(_load(content, tolerant)).convert("RGB"), np.uint8)[..., ::-1]


def _on_black(image: Image.Image) -> Image.Image:
    """Replace transparent pixels, whose colours are arbitrary, by black, which surrounds a radiograph."""
    if image.mode not in {"PA", "LA", "RGBA"} and "transparency" not in image.info:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)


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
        pixels, cut_short = _decode_with_pillow(content, header, _deep_bgr if header.bit_depth > 8 else _bgr)
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
