"""Bytes to pixels: exact values for every kind of file, and what is refused before it is decoded."""

import contextlib
import io
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving import guard
from serving.errors import ImageError
from serving.imaging import canvas, decode
from serving.imaging.canvas import Preprocessing

Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]

GREY = np.array([[0, 1, 127], [128, 254, 255]], np.uint8)
COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 0], [10, 200, 30], [77, 77, 77]]], np.uint8)
BRIGHTNESS = [[76, 150, 29], [226, 124, 77]]
"""Of COLOURS: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)."""


def pixels_of(content: bytes) -> list[Any]:
    return list(decode.decode(content).pixels.tolist())


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG file that promises width x height grey pixels and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def fault(content: bytes, max_pixels: int = decode.MAX_PIXELS) -> str:
    with pytest.raises(ImageError) as caught:
        decode.decode(content, max_pixels=max_pixels)
    assert "\n" not in caught.value.message
    return caught.value.code


def photograph() -> npt.NDArray[np.uint8]:
    """Patches of many colours, RGB."""
    coarse = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC), np.uint8)


# Pixel values


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_grey_pixels_are_kept(kind: str, encode: Encode) -> None:
    assert pixels_of(encode(GREY, kind)) == GREY.tolist()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_colours_become_their_brightness(kind: str, encode: Encode) -> None:
    assert pixels_of(encode(COLOURS, kind)) == BRIGHTNESS


def test_an_even_grey_jpeg_keeps_its_value(encode: Encode) -> None:
    assert np.unique(pixels_of(encode(np.full((16, 16), 90, np.uint8), "JPEG"))).tolist() == [90]


def test_an_even_red_jpeg_becomes_its_brightness(encode: Encode) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    assert np.unique(pixels_of(encode(red, "JPEG", quality=100))).tolist() == [76]


def test_palette_entries_become_their_brightness() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([255, 0, 0, 10, 200, 30, 77, 77, 77])
    assert pixels_of(saved(image, "PNG")) == [[76, 124, 77]]


def test_a_black_and_white_png_becomes_0_and_255() -> None:
    assert pixels_of(saved(Image.fromarray(np.array([[True, False]])), "PNG")) == [[255, 0]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_spread_from_the_darkest_to_the_brightest_pixel(kind: str, encode: Encode) -> None:
    content = encode(np.array([[1000, 2000], [3000, 5000]], np.uint16), kind)
    assert pixels_of(content) == [[0, 64], [128, 255]]
    assert decode.inspect(content).bit_depth == 16


def test_a_16_bit_tiff_in_which_white_is_zero_is_inverted(encode: Encode) -> None:
    assert pixels_of(encode(np.array([[0, 1000]], np.uint16), "TIFF", tiffinfo={262: 0})) == [[255, 0]]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_signed_bytes_of_a_tiff_keep_their_order(compression: str, encode: Encode) -> None:
    stored = np.array([[-128, -1, 0, 127]], np.int8).view(np.uint8)  # Pillow writes the bytes as they are
    content = encode(stored, "TIFF", tiffinfo={339: 2}, compression=compression)
    assert pixels_of(content) == [[0, 127, 128, 255]]


def test_transparent_pixels_are_black(encode: Encode) -> None:
    rgba = np.array([[[200, 200, 200, 0], [200, 200, 200, 255], [200, 200, 200, 51]]], np.uint8)
    assert pixels_of(encode(rgba)) == [[0, 200, 40]]


def test_grey_with_alpha_is_laid_on_black(encode: Encode) -> None:
    assert pixels_of(saved(Image.merge("LA", [Image.new("L", (1, 1), 90), Image.new("L", (1, 1), 0)]), "PNG")) == [[0]]


def test_a_grey_level_that_stands_for_transparent_is_black(encode: Encode) -> None:
    assert pixels_of(encode(GREY, transparency=127)) == [[0, 1, 0], [128, 254, 255]]


@pytest.mark.parametrize(("black", "grey"), [(0, 255), (127, 128), (255, 0)])
def test_a_cmyk_jpeg_becomes_its_brightness(black: int, grey: int) -> None:
    content = saved(Image.new("CMYK", (8, 8), (0, 0, 0, black)), "JPEG", quality=100)
    assert np.unique(pixels_of(content)).tolist() == [grey]


def test_one_pixel_is_an_image(encode: Encode) -> None:
    assert pixels_of(encode(np.array([[77]], np.uint8))) == [[77]]


def test_stretch_shows_what_is_no_number_as_the_darkest() -> None:
    values = np.array([1000, np.nan, 2000, np.inf, -np.inf], np.float32)
    assert decode.stretch(values).tolist() == [0, 0, 255, 255, 0]


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
def test_stretch_shows_a_flat_image_as_black(value: float) -> None:
    assert decode.stretch(np.full((1, 2), value, np.float32)).tolist() == [[0, 0]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_values_of_16_bits_are_handed_over(kind: str, encode: Encode) -> None:
    values = np.array([[1000, 2000], [3000, 5000]], np.uint16)
    np.testing.assert_array_equal(decode.decode(encode(values, kind)).values, values)


def test_the_values_of_a_tiff_in_which_white_is_zero_are_inverted(encode: Encode) -> None:
    values = decode.decode(encode(np.array([[0, 1000]], np.uint16), "TIFF", tiffinfo={262: 0})).values
    assert values is not None
    assert values[0, 0] > values[0, 1]


def test_the_values_of_16_bits_are_turned_upright(encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode.decode(encode(np.array([[1, 2], [3, 4]], np.uint16), exif=exif))
    assert decoded.values is not None
    assert decoded.values.tolist() == [[3, 1], [4, 2]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_eight_bits_hand_over_no_values(kind: str, encode: Encode) -> None:
    assert decode.decode(encode(GREY, kind)).values is None


# Pictures of several frames


def several(kind: str, *shades: int) -> bytes:
    first, *others = (Image.new("L", (16, 8), shade) for shade in shades)
    return saved(first, kind, save_all=True, append_images=others)


@pytest.mark.parametrize("shades", [(90,), (90, 200), (90, 200, 10)])
def test_the_first_picture_of_a_phones_jpeg_is_read(shades: tuple[int, ...]) -> None:
    content = several("MPO", *shades)
    header = decode.inspect(content)
    assert (header.format, header.frames) == ("JPEG", 1)
    assert np.unique(pixels_of(content)).tolist() == [90]


def test_a_phones_jpeg_cut_short_in_its_second_picture_is_read() -> None:
    assert np.unique(pixels_of(several("MPO", 90, 200)[:-200])).tolist() == [90]


def test_an_animated_webp_has_several_frames() -> None:
    assert decode.inspect(several("WEBP", 90, 200, 10)).frames == 3


def test_webp_is_read(encode: Encode) -> None:
    assert pixels_of(encode(COLOURS, "WEBP", lossless=True)) == BRIGHTNESS
    assert pixels_of(encode(GREY, "WEBP", lossless=True)) == GREY.tolist()


def test_a_broken_webp_is_undecodable(encode: Encode) -> None:
    assert fault(encode(COLOURS, "WEBP")[:40]) == "undecodable"


# Orientation

STORED: dict[int, Callable[[Any], Any]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.T,
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].T,
    8: lambda x: np.rot90(x, -1),
}
"""How the upright image lies in a file of each orientation (Exif 2.3, tag 274)."""
QUARTERS = np.repeat(np.repeat(np.array([[0, 60], [120, 200]], np.uint8), 16, 0), 24, 1)


def lying(orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    return saved(Image.fromarray(np.ascontiguousarray(STORED[orientation](QUARTERS))), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int, kind: str) -> None:
    np.testing.assert_allclose(decode.decode(lying(orientation, kind)).pixels.astype(int), QUARTERS, atol=1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_has_the_upright_size(orientation: int, kind: str) -> None:
    header = decode.inspect(lying(orientation, kind))
    assert (header.width, header.height, header.orientation) == (48, 32, orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_jpeg_is_turned_upright(orientation: int) -> None:
    reduced = decode.decode(lying(orientation, "JPEG"), at_least=24).pixels
    np.testing.assert_allclose(reduced.astype(int), QUARTERS[::2, ::2], atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_preview_is_turned_upright(orientation: int) -> None:
    content = lying(orientation, "TIFF")
    assert decode.preview(content, decode.inspect(content))[0].tolist() == QUARTERS.tolist()


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_does_not_exist_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert pixels_of(saved(Image.fromarray(GREY), "PNG", exif=exif)) == GREY.tolist()


# Damaged and foreign files


def test_truncated_jpeg_is_decoded_and_reported(draw: Draw, encode: Encode) -> None:
    whole = encode(draw(1), "JPEG")
    decoded = decode.decode(whole[: len(whole) * 3 // 4])
    assert decoded.truncated
    assert decoded.pixels.shape == (64, 48)
    np.testing.assert_array_equal(decoded.pixels[:16], decode.decode(whole).pixels[:16])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kept", "refused"), [(0.2, True), (0.45, True), (0.7, False), (0.95, False)])
def test_a_file_that_lacks_most_of_its_rows_is_not_judged(orientation: int, kept: float, refused: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = np.random.default_rng(0).integers(0, 256, (400, 300), dtype=np.uint8)
    whole = saved(Image.fromarray(noise), "JPEG", exif=exif)
    decoded = decode.decode(whole[: int(len(whole) * kept)])
    with pytest.raises(ImageError, match=r"cut short: \d\d% of the image") if refused else contextlib.nullcontext():
        decode.check_complete(decoded)
    decode.check_complete(decode.decode(whole))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_other_truncated_files_are_decoded_and_reported(kind: str, encode: Encode) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    content = encode(noise, kind)
    decoded = decode.decode(content[: len(content) // 2 + 500])
    assert decoded.truncated
    assert decoded.pixels.shape == (64, 64)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_a_whole_file_is_not_reported_as_truncated(kind: str, encode: Encode) -> None:
    assert not decode.decode(encode(GREY, kind)).truncated


@pytest.mark.parametrize("tail", [bytes(100), b"written by a scanner"])
def test_bytes_after_the_end_marker_do_not_make_a_jpeg_truncated(tail: bytes, encode: Encode) -> None:
    assert not decode.decode(encode(GREY, "JPEG") + tail).truncated


def test_a_file_of_zero_bytes_is_empty() -> None:
    assert fault(b"") == "empty"


def test_a_text_file_is_no_image_whatever_its_name() -> None:
    assert fault(b"This is not a radiograph.\n") == "unsupported_format"


@pytest.mark.parametrize("kind", ["GIF", "ICO"])
def test_other_formats_are_refused(kind: str, encode: Encode) -> None:
    assert fault(encode(np.zeros((16, 16), np.uint8), kind)) == "unsupported_format"


def test_a_header_without_an_image_is_undecodable(encode: Encode) -> None:
    assert fault(encode(GREY, "JPEG")[:100]) == "undecodable"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_no_prefix_of_a_file_raises_anything_but_an_image_error(kind: str, encode: Encode) -> None:
    content = encode(GREY, kind)
    for end in range(0, len(content), 7):
        with contextlib.suppress(ImageError):
            assert decode.decode(content[:end]).pixels.shape == GREY.shape


def test_odd_metadata_warns_nobody(encode: Encode) -> None:
    content = encode(GREY, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x02\0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode.decode(content)


@pytest.mark.parametrize("side", [30_000, 10_000])
def test_a_bomb_is_refused_from_its_header(side: int) -> None:
    tracemalloc.start()
    try:
        assert fault(png_header(side, side)) == "too_many_pixels"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_says_how_many_pixels_are_accepted() -> None:
    with pytest.raises(ImageError, match=str(decode.MAX_PIXELS)):
        decode.inspect(png_header(30_000, 30_000))


def test_as_many_pixels_as_are_accepted_are_decoded(encode: Encode) -> None:
    assert decode.decode(encode(GREY), max_pixels=6).pixels.size == 6


def test_one_pixel_more_is_refused(encode: Encode) -> None:
    assert fault(encode(GREY), max_pixels=5) == "too_many_pixels"


# Reduced decoding


@pytest.mark.parametrize(("at_least", "height"), [(None, 512), (257, 512), (256, 256), (128, 128), (64, 64), (9, 64)])
def test_a_jpeg_keeps_the_pixels_that_are_asked_for(
    at_least: int | None, height: int, draw: Draw, encode: Encode
) -> None:
    assert decode.decode(encode(draw(1, 384, 512), "JPEG"), at_least).pixels.shape == (height, height * 3 // 4)


def test_a_png_is_never_reduced(draw: Draw, encode: Encode) -> None:
    assert decode.decode(encode(draw(1, 96, 128)), at_least=16).pixels.shape == (128, 96)


def test_the_header_of_a_reduced_jpeg_has_the_full_size(draw: Draw, encode: Encode) -> None:
    header = decode.decode(encode(draw(1, 384, 512), "JPEG"), at_least=64).header
    assert (header.width, header.height) == (384, 512)


# Letterbox and shrinking

SIDES = st.integers(1, 5000)


@given(width=SIDES, height=SIDES, size=st.integers(32, 1024), x=st.floats(0, 1), y=st.floats(0, 1))
def test_letterbox_there_and_back_is_the_same_place(width: int, height: int, size: int, x: float, y: float) -> None:
    box = canvas.letterbox_of(width, height, size)
    assert box.to_image(*box.to_canvas(x, y)) == pytest.approx((x, y))


@given(width=SIDES, height=SIDES, size=st.integers(32, 1024))
def test_letterbox_lies_centred_on_the_canvas(width: int, height: int, size: int) -> None:
    box = canvas.letterbox_of(width, height, size)
    assert max(box.width, box.height) == size
    assert 0 <= (size - box.width) - 2 * box.left <= 1
    assert 0 <= (size - box.height) - 2 * box.top <= 1


@given(width=SIDES, height=SIDES, size=st.integers(32, 1024))
def test_letterbox_keeps_the_aspect_within_half_a_pixel(width: int, height: int, size: int) -> None:
    box = canvas.letterbox_of(width, height, size)
    scale = size / max(width, height)
    assert abs(box.width - max(1, width * scale)) <= 0.5
    assert abs(box.height - max(1, height * scale)) <= 0.5


def test_the_middle_of_the_image_is_the_middle_of_the_canvas() -> None:
    assert canvas.letterbox_of(100, 50, 64).to_canvas(0.5, 0.5) == (0.5, 0.5)


def test_the_padding_lies_outside_the_image() -> None:
    assert canvas.letterbox_of(100, 50, 64).to_image(0.5, 0)[1] < 0


@given(width=st.integers(200, 600), height=st.integers(200, 600), size=st.integers(32, 300), number=st.integers(0, 9))
def test_shrink_is_within_half_a_grey_level_of_area_averaging(width: int, height: int, size: int, number: int) -> None:
    coarse = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
    pixels = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    box = canvas.letterbox_of(width, height, min(size, max(width, height)))
    area = cv2.resize(pixels, (box.width, box.height), interpolation=cv2.INTER_AREA)
    assert np.abs(canvas.shrink(pixels, box.width, box.height).astype(int) - area).mean() < 0.5


def test_shrink_averages_a_strip_along_its_length() -> None:
    stripes = np.tile(np.array([0, 200], np.uint8), 2000)[None]
    assert np.abs(canvas.shrink(stripes, 32, 1).astype(int) - 100).max() <= 2


def test_an_image_of_the_right_size_is_not_touched() -> None:
    assert canvas.shrink(GREY, 3, 2) is GREY


# Colour and previews


def colourfulness(rgb: npt.NDArray[Any]) -> float:
    return guard.colourfulness(np.ascontiguousarray(rgb.astype(np.uint8)[..., ::-1]))


def test_colourfulness_of_grey_is_zero(draw: Draw) -> None:
    assert colourfulness(np.repeat(draw(1)[..., None], 3, 2)) == 0


@pytest.mark.parametrize("tint", [(0.8, 0.9, 1.0), (1.0, 0.95, 0.8)])
def test_colourfulness_of_a_tinted_film_is_below_two(tint: tuple[float, ...], draw: Draw) -> None:
    assert colourfulness(draw(1)[..., None] * np.array(tint)) < 2


def test_colourfulness_of_a_photograph_is_above_ten() -> None:
    assert colourfulness(photograph()) > 10


@pytest.mark.parametrize(
    "mark", [np.s_[:8, :], np.s_[-8:, :], np.s_[:, :6], np.s_[40:44, 10:40]], ids=["above", "below", "side", "arrow"]
)
@pytest.mark.parametrize("colour", [(0, 90, 200), (255, 255, 0), (255, 0, 0), (0, 255, 0)])
def test_coloured_marks_on_a_grey_picture_do_not_count(
    mark: tuple[slice, slice], colour: tuple[int, ...], draw: Draw
) -> None:
    marked = np.repeat(draw(1)[..., None], 3, 2)
    marked[mark] = colour
    assert colourfulness(marked) == 0


def test_colour_on_a_fifth_of_a_grey_picture_counts(draw: Draw) -> None:
    grey = np.repeat(draw(1)[..., None], 3, 2)
    grey[: len(grey) // 5 + 1] = (0, 90, 200)
    assert colourfulness(grey) > 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_a_preview_of_a_colour_file_has_its_colours(kind: str, encode: Encode) -> None:
    content = encode(photograph(), kind)
    assert guard.colourfulness(decode.preview(content, decode.inspect(content))[0]) > 10


def test_a_preview_of_a_truncated_colour_file_has_its_colours(encode: Encode) -> None:
    content = encode(photograph(), "JPEG")[:-200]
    pixels, truncated = decode.preview(content, decode.inspect(content))
    assert truncated
    assert guard.colourfulness(pixels) > 10


def test_a_preview_does_not_show_the_colours_of_transparent_pixels(encode: Encode) -> None:
    content = encode(np.dstack([photograph(), np.zeros((64, 64), np.uint8)]))
    assert not decode.preview(content, decode.inspect(content))[0].any()


def test_a_preview_of_a_grey_file_has_one_channel(encode: Encode) -> None:
    content = encode(GREY)
    assert decode.preview(content, decode.inspect(content))[0].tolist() == GREY.tolist()


@pytest.mark.parametrize(("kind", "shape"), [("JPEG", (88, 150)), ("PNG", (597, 1024))])
def test_a_preview_is_small(kind: str, shape: tuple[int, int], encode: Encode) -> None:
    content = encode(np.zeros((700, 1200), np.uint8), kind)
    assert decode.preview(content, decode.inspect(content))[0].shape == shape


# Settings


def test_preprocessing_survives_json() -> None:
    preprocessing = Preprocessing(320, "median", True)
    assert Preprocessing.from_dict({**preprocessing.to_dict(), "later": 1}) == preprocessing


LEVELS = np.random.default_rng(2).integers(3, 240, (40, 50), np.uint8)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("PNG", LEVELS.astype(np.uint16) * 257),
        ("TIFF", LEVELS.astype(np.uint16) * 257),
        ("PNG", LEVELS.astype(np.uint16) * 256),
        ("PNG", LEVELS.astype(np.uint16)),
        ("TIFF", LEVELS.astype(np.int32)),
        ("TIFF", LEVELS.astype(np.float32)),
        ("TIFF", LEVELS.astype(np.float32) / 255),
        ("TIFF", LEVELS.astype(np.float32) * 257),
    ],
)
def test_eight_bits_saved_with_more_are_the_same_picture(kind: str, values: npt.NDArray[Any], encode: Encode) -> None:
    decoded = decode.decode(encode(values, kind))
    assert np.array_equal(decoded.pixels, LEVELS)
    assert decoded.values is None


@pytest.mark.parametrize(
    "values",
    [
        LEVELS.astype(np.uint16) * 100 + np.arange(50, dtype=np.uint16),
        (LEVELS // 2).astype(np.uint16),
        LEVELS.astype(np.float32) ** 1.1,
        np.where(LEVELS > 100, np.nan, LEVELS).astype(np.float32),
    ],
)
def test_what_more_than_eight_bits_hold_keeps_its_values(values: npt.NDArray[Any]) -> None:
    assert decode.in_eight_bits(values) is None
