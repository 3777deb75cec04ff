"""More than eight bits a sample: every bit reaches the grey levels, or the file is refused in one clear line."""

import io
import struct
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from serving import guard
from serving.errors import ImageError
from serving.imaging import decode
from tests.serving.imaging.deep_files import packed_tiff_of, png_of, tiff_of

HEIGHT, WIDTH = 60, 44
NOISE = np.random.default_rng(0).integers(0, 15, (HEIGHT, WIDTH))
GREY = np.asarray(np.add.outer(np.arange(HEIGHT) * 40, np.arange(WIDTH) * 20) + NOISE, np.uint16)
"""A dark picture of 12 bits."""
LEVELS = np.random.default_rng(1).integers(3, 240, (HEIGHT, WIDTH), np.uint8)
OPAQUE = np.full_like(GREY, 0xFFFF)
COLOURS = np.dstack([GREY, GREY + 90, GREY // 2])
BRIGHTNESS = COLOURS @ np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601."""
WRITERS: Mapping[str, Callable[[npt.NDArray[np.uint16]], bytes]] = {
    "png": png_of,
    "tiff": lambda samples: tiff_of(samples, photometric="rgb"),
    "tiff, big endian": lambda samples: tiff_of(samples, photometric="rgb", byteorder=">"),
    "tiff, deflated": lambda samples: tiff_of(samples, photometric="rgb", compression="zlib"),
    "tiff, big endian, deflated": lambda samples: tiff_of(
        samples, photometric="rgb", byteorder=">", compression="zlib"
    ),
    "tiff, differences": lambda samples: tiff_of(samples, photometric="rgb", compression="zlib", predictor=True),
    "tiff, tiles": lambda samples: tiff_of(samples, photometric="rgb", tile=(16, 16)),
    "tiff, strips": lambda samples: tiff_of(samples, photometric="rgb", rowsperstrip=7),
    "big tiff": lambda samples: tiff_of(samples, photometric="rgb", bigtiff=True),
}


def three(grey: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def values_of(content: bytes) -> npt.NDArray[np.number]:
    values = decode.decode(content).values
    assert values is not None
    return values


def fault(content: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode.decode(content)
    assert "\n" not in caught.value.message
    return caught.value


# Colours and transparency of 16 bits


@pytest.mark.parametrize("kind", WRITERS)
def test_three_equal_channels_are_answered_as_grey(kind: str) -> None:
    found, grey = decode.decode(WRITERS[kind](three(GREY))), decode.decode(png_of(GREY))
    np.testing.assert_array_equal(found.pixels, grey.pixels)
    assert found.values is not None
    np.testing.assert_array_equal(found.values, GREY)
    assert (found.header.bit_depth, found.truncated) == (16, False)


@pytest.mark.parametrize("kind", WRITERS)
def test_colours_of_16_bits_become_their_brightness(kind: str) -> None:
    np.testing.assert_allclose(values_of(WRITERS[kind](COLOURS)), BRIGHTNESS, atol=0.6)


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if "differences" not in kind])
def test_an_independent_reader_finds_the_same_colours(kind: str) -> None:
    content = WRITERS[kind](COLOURS)
    if kind == "png":
        read = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))[..., ::-1]
    else:
        read = tifffile.imread(io.BytesIO(content))
    assert read.dtype == np.uint16
    np.testing.assert_allclose(values_of(content), read @ np.array([0.299, 0.587, 0.114]), atol=0.6)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("tint", [(1, 1, 1), (0.9, 0.95, 1)], ids=["grey", "tinted"])
@pytest.mark.parametrize(("gain", "offset"), [(257, 0), (256, 0), (1, 0)])
def test_colours_of_eight_bits_saved_with_16_are_the_same_picture(
    kind: str, tint: tuple[float, ...], gain: int, offset: int, encode: Callable[..., bytes]
) -> None:
    colours = (three(LEVELS) * tint).astype(np.uint8)
    found = decode.decode(WRITERS[kind](colours.astype(np.uint16) * gain + offset))
    expected = decode.decode(encode(colours, "TIFF"))
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.values is None


@pytest.mark.parametrize("kind", WRITERS)
def test_eight_bits_with_a_gain_are_recognised_in_three_channels(kind: str) -> None:
    found, grey = (decode.decode(write) for write in (WRITERS[kind](three(SHIFTED)), png_of(SHIFTED)))
    np.testing.assert_array_equal(found.pixels, grey.pixels)
    assert found.values is grey.values is None


SHIFTED = np.asarray(LEVELS.astype(np.uint16) * 200 + 1000, np.uint16)
HALF = np.where(np.arange(WIDTH) < WIDTH // 2, 0, 0x8000) * np.ones((HEIGHT, 1), int)
SHOWN = np.rint(GREY * (HALF / 0xFFFF))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png_of(np.dstack([GREY, OPAQUE])), GREY),
        (png_of(np.dstack([three(GREY), OPAQUE])), GREY),
        (tiff_of(np.dstack([three(GREY), OPAQUE]), photometric="rgb", extrasamples=["unassalpha"]), GREY),
        (tiff_of(np.dstack([three(GREY), OPAQUE]), photometric="rgb", extrasamples=["assocalpha"]), GREY),
        (tiff_of(np.dstack([three(GREY), 0 * GREY]), photometric="rgb", extrasamples=["unspecified"]), GREY),
        (png_of(np.dstack([GREY, HALF]).astype(np.uint16)), SHOWN),
        (png_of(np.dstack([three(GREY), HALF]).astype(np.uint16)), SHOWN),
        (tiff_of(np.dstack([three(GREY), HALF]).astype(np.uint16), photometric="rgb", extrasamples=[2]), SHOWN),
        (tiff_of(np.dstack([three(SHOWN), HALF]).astype(np.uint16), photometric="rgb", extrasamples=[1]), SHOWN),
        (png_of(GREY, transparent=[int(GREY[5, 5])]), np.where(GREY[5, 5] == GREY, 0, GREY)),
        (png_of(three(GREY), transparent=[int(GREY[5, 5])] * 3), np.where(GREY[5, 5] == GREY, 0, GREY)),
        (png_of(three(GREY), transparent=[int(GREY[5, 5]), 7, 7]), GREY),
    ],
    ids=[
        "grey and alpha, opaque", "colours and alpha, opaque", "tiff with alpha, opaque", "tiff premultiplied, opaque",
        "tiff with a sample of no meaning", "grey and alpha", "colours and alpha", "tiff with alpha",
        "tiff premultiplied", "a grey is transparent", "a colour is transparent", "a colour that does not occur",
    ],
)  # fmt: skip
def test_transparent_pixels_are_black_and_the_others_keep_their_bits(
    content: bytes, expected: npt.NDArray[np.number]
) -> None:
    np.testing.assert_array_equal(values_of(content), expected)


@pytest.mark.parametrize(
    "chunk",
    [(b"gAMA", struct.pack(">I", 100_000)), (b"gAMA", struct.pack(">I", 45_455)), (b"sRGB", b"\0"), (b"sBIT", None)],
    ids=["gamma 1", "gamma 1 / 2.2", "sRGB", "significant bits"],
)
@pytest.mark.parametrize("samples", [GREY, three(GREY)], ids=["grey", "colours"])
def test_what_a_png_says_of_its_display_leaves_its_values(
    samples: npt.NDArray[np.uint16], chunk: tuple[bytes, bytes | None]
) -> None:
    name, data = chunk
    given = data or bytes([12]) * (1 if samples.ndim == 2 else 3)
    np.testing.assert_array_equal(values_of(png_of(samples, chunks=[(name, given)])), GREY)


@pytest.mark.parametrize("orientation", [3, 6])
def test_colours_of_16_bits_are_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = png_of(three(GREY), chunks=[(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))])
    np.testing.assert_array_equal(values_of(content), np.rot90(GREY, {3: 2, 6: 3}[orientation]))


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_colours_of_16_bits_that_are_cut_short_are_read_as_far_as_they_go(kind: str) -> None:
    content = WRITERS[kind](three(GREY))
    found = decode.decode(content[: len(content) * 3 // 4])
    assert found.truncated
    assert found.values is not None
    np.testing.assert_array_equal(found.values[: HEIGHT // 2], GREY[: HEIGHT // 2])


@pytest.mark.parametrize("gain", [1, 16, 257])
def test_a_colour_photograph_of_16_bits_is_refused_however_dark(gain: int) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    colours = np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC), np.uint16)
    content = png_of(colours * gain)
    with pytest.raises(ImageError) as caught:
        guard.check_colours(content, decode.inspect(content))
    assert caught.value.code == "colour_photograph"


def test_a_dark_grey_picture_in_colours_of_16_bits_is_no_photograph() -> None:
    content = png_of(three(GREY))
    guard.check_colours(content, decode.inspect(content))


# Every other kind of file with more than eight bits, or with less than a byte a colour

READ: Mapping[str, tuple[bytes, npt.NDArray[np.number]]] = {
    "tiff, big endian": (tiff_of(GREY, byteorder=">"), GREY),
    "tiff, white is zero": (tiff_of(GREY, photometric="miniswhite"), 0xFFFF - GREY.astype(np.float64)),
    "big tiff": (tiff_of(GREY, bigtiff=True), GREY),
    "tiff of 12 bits, packed": (packed_tiff_of(GREY), GREY),
    "tiff of 16 bits with a sign": (tiff_of(GREY.astype(np.int16) - 1000), GREY.astype(np.float64) - 1000),
    "tiff of 32 bits": (tiff_of(GREY.astype(np.uint32) * 1000), GREY * 1000.0),
    "tiff of 32 bits, above half": (tiff_of(GREY.astype(np.uint32) * 1_000_000), GREY * 1e6),
    "tiff of 32 bits with a sign": (tiff_of(GREY.astype(np.int32) - 1000), GREY.astype(np.float64) - 1000),
    "tiff of fractions": (tiff_of(GREY / np.float32(4096)), GREY / 4096),
    "tiff of fractions, big endian": (tiff_of(GREY / np.float32(4096), byteorder=">"), GREY / 4096),
}


@pytest.mark.parametrize("kind", READ)
def test_values_of_many_bits_are_kept(kind: str) -> None:
    content, expected = READ[kind]
    np.testing.assert_allclose(values_of(content).astype(np.float64), expected)


def _jpeg(offset: int, value: int) -> bytes:
    """A JPEG with one byte of its frame header changed."""
    buffer = io.BytesIO()
    Image.fromarray(LEVELS).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    content[content.index(b"\xff\xc0") + offset] = value
    return bytes(content)


REFUSED: Mapping[str, tuple[bytes, str]] = {
    "tiff of separate planes": (
        tiff_of(np.moveaxis(COLOURS, 2, 0).copy(), photometric="rgb", planarconfig="separate"), "separate planes"
    ),
    "tiff of separate planes, deflated": (
        tiff_of(np.moveaxis(COLOURS, 2, 0).copy(), photometric="rgb", planarconfig="separate", compression="zlib"),
        "separate planes",
    ),
    "tiff of inks": (tiff_of(np.dstack([COLOURS, GREY]), photometric="separated"), "CMYK"),
    "tiff of grey with alpha": (
        tiff_of(np.dstack([GREY, OPAQUE]), photometric="minisblack", planarconfig="contig", extrasamples=[2]), "unusual"
    ),
    "tiff of 12 bits, packed, big endian": (packed_tiff_of(GREY, ">"), "unusual"),
    "tiff of 32 bits, big endian": (tiff_of(GREY.astype(np.uint32), byteorder=">"), "unusual"),
    "tiff of 64 bits": (tiff_of(GREY.astype(np.uint64)), "unusual"),
    "tiff of half precision": (tiff_of(GREY.astype(np.float16)), "unusual"),
    "tiff of double precision": (tiff_of(GREY.astype(np.float64)), "unusual"),
    "tiff of colours with fractions": (tiff_of(COLOURS.astype(np.float32), photometric="rgb"), "unusual"),
    "tiff of colours of 32 bits": (tiff_of(COLOURS.astype(np.uint32), photometric="rgb"), "unusual"),
    "jpeg of 12 bits": (_jpeg(4, 12), "12 bits"),
    "jpeg-ls": (b"\xff\xd8\xff\xf7" + _jpeg(4, 12)[4:], "JPEG-LS"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read_is_refused_with_what_to_do(kind: str) -> None:
    content, word = REFUSED[kind]
    found = fault(content)
    assert found.code == "unsupported_format"
    assert word in found.message
    assert "; save it " in found.message


def _palette(kind: str, **options: Any) -> bytes:
    image = Image.fromarray(LEVELS, "P")
    image.putpalette([255 - level for level in range(256) for _ in range(3)])
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _bmp_of_16_bits() -> bytes:
    """Of five bits a colour (BI_RGB), the lowest row first."""
    levels = (LEVELS >> 3).astype("<u2")
    rows: bytes = (levels << 10 | levels << 5 | levels)[::-1].tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 16, 0, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows


EIGHT_BITS: Mapping[str, tuple[bytes, npt.NDArray[np.number]]] = {
    "png of a palette": (_palette("PNG"), 255 - LEVELS),
    "png of a palette, an entry transparent": (_palette("PNG", transparency=9), np.where(LEVELS == 9, 0, 255 - LEVELS)),
    "tiff of a palette": (_palette("TIFF"), 255 - LEVELS),
    "bmp of a palette": (_palette("BMP"), 255 - LEVELS),
    "bmp of 16 bits": (_bmp_of_16_bits(), np.rint((LEVELS >> 3) * (255 / 31))),
    "tiff of separate planes": (
        tiff_of(np.moveaxis(three(LEVELS), 2, 0).copy(), photometric="rgb", planarconfig="separate"), LEVELS
    ),
    "tiff of colours": (tiff_of(three(LEVELS), photometric="rgb"), LEVELS),
    "big tiff": (tiff_of(LEVELS, bigtiff=True), LEVELS),
}  # fmt: skip


@pytest.mark.parametrize("kind", EIGHT_BITS)
def test_files_of_eight_bits_give_their_grey_levels(kind: str) -> None:
    content, expected = EIGHT_BITS[kind]
    found = decode.decode(content)
    np.testing.assert_allclose(found.pixels.astype(int), expected, atol=1 if "16 bits" in kind else 0)
    assert found.values is None
