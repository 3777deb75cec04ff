"""The model's input: letterboxed, denoised, in canonical form, and always known where it came from."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from serving.imaging import canvas, decode
from serving.imaging.canonical.form import HEADS, Heads, read_heads
from serving.imaging.canvas import Preprocessing, Steps
from serving.imaging.model_input import ModelInput, prepare, prepare_decoded

Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]

SAMPLES = sorted((Path(__file__).parents[3] / "models").glob("*/bundle/samples/*.png"))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_one_pixel_fills_the_canvas(encode: Encode) -> None:
    found = prepare(encode(np.array([[77]], np.uint8)), Preprocessing(32))
    assert np.unique(found.pixels).tolist() == [77]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_reduced_decode_is_close_to_a_full_one(mode: str, draw: Draw) -> None:
    preprocessing = Preprocessing(64)
    content = saved(Image.fromarray(draw(2, 600, 800)).convert(mode), "JPEG", quality=95)
    reduced = prepare(content, preprocessing)
    full, *_ = canvas.fit(decode.decode(content).pixels, 600, 800, preprocessing)
    assert reduced.picture.shape == (100, 75)
    assert np.abs(reduced.pixels.astype(int) - full).mean() < 1


def test_what_surrounds_the_image_is_black(encode: Encode) -> None:
    found = prepare(encode(np.full((50, 100), 200, np.uint8)), Preprocessing(64))
    pixels, box = found.pixels, found.placement.letterbox
    assert (box.left, box.top, box.width, box.height) == (0, 16, 64, 32)
    assert np.unique(pixels[16:48]).tolist() == [200]
    assert not pixels[:16].any()
    assert not pixels[48:].any()


@pytest.mark.parametrize("clahe", [False, True])
@pytest.mark.parametrize("denoise", ["none", "median", "bilateral"])
def test_noise_is_handled_in_the_image_only(denoise: Any, clahe: bool, draw: Draw, encode: Encode) -> None:
    noisy = np.random.default_rng(0).integers(100, 256, (50, 100), dtype=np.uint8)
    found = prepare(encode(noisy), Preprocessing(64, denoise, clahe))
    pixels, box = found.pixels, found.placement.letterbox
    assert not pixels[: box.top].any()
    assert not pixels[box.top + box.height :].any()
    assert pixels[box.top : box.top + box.height].any()


@pytest.mark.parametrize("denoise", ["median", "bilateral"])
def test_the_black_around_the_image_does_not_seep_in(denoise: Any, encode: Encode) -> None:
    bright = np.random.default_rng(0).integers(100, 256, (32, 64), dtype=np.uint8)
    found = prepare(encode(bright), Preprocessing(64, denoise))
    pixels, box = found.pixels, found.placement.letterbox
    assert pixels[box.top : box.top + box.height].min() >= 100


def test_median_takes_a_single_bright_pixel_away(encode: Encode) -> None:
    dot = np.full((64, 64), 50, np.uint8)
    dot[30, 30] = 255
    assert prepare(encode(dot), Preprocessing(64, "median")).pixels.max() == 50


def test_clahe_raises_the_contrast(encode: Encode) -> None:
    faint = np.random.default_rng(0).integers(100, 116, (64, 64), dtype=np.uint8)
    assert prepare(encode(faint), Preprocessing(64, "none", True)).pixels.std() > 1.5 * faint.std()


# Canonical form


def limb(draw: Draw) -> npt.NDArray[np.uint8]:
    """A bright limb on a dark film, 600 rows of 450 pixels."""
    pixels = np.full((600, 450), 30, np.uint8)
    cv2.line(pixels, (160, 0), (290, 450), 140, 130)
    return np.asarray(np.maximum(cv2.GaussianBlur(pixels, (0, 0), 7), draw(3, 450, 600) // 8), np.uint8)


def framed(pixels: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.uint8]:
    return np.asarray(np.pad(pixels, width, constant_values=255), np.uint8)


def in_form(content: bytes, *, size: int = 128, heads: Heads | None = None, **steps: bool) -> ModelInput:
    return prepare(content, Preprocessing(size, canonical=Steps(**steps)), *([heads] if heads else []))  # type: ignore[arg-type]


def test_without_steps_nothing_is_said_of_a_canonical_form(draw: Draw, encode: Encode) -> None:
    assert in_form(encode(limb(draw))).canonical is None


def test_a_framed_radiograph_gives_the_input_of_one_without_a_frame(draw: Draw, encode: Encode) -> None:
    plain, with_frame = (
        in_form(encode(one), field=True).pixels.astype(int) for one in (limb(draw), framed(limb(draw), 60))
    )
    assert np.abs(plain - with_frame).mean() < 3


def test_the_reader_sees_the_frame_that_the_network_does_not(draw: Draw, encode: Encode) -> None:
    assert in_form(encode(framed(limb(draw), 60)), field=True).picture.shape == (720, 570)


@pytest.mark.parametrize("quarters", range(4))
def test_a_place_on_the_canvas_is_found_again_on_the_picture(quarters: int, draw: Draw, encode: Encode) -> None:
    picture = framed(limb(draw), 60)
    found = in_form(encode(picture), field=True)
    view = canvas.View(found.placement.view.box, quarters)
    x, y = view.from_picture(0.4, 0.3)
    assert view.to_picture(x, y) == pytest.approx((0.4, 0.3))
    assert 0 < x < 1
    assert 0 < y < 1


def test_a_small_field_of_a_large_jpeg_is_decoded_finely(draw: Draw) -> None:
    picture = framed(limb(draw), 600)
    content = saved(Image.fromarray(picture), "JPEG", quality=95)
    plain = in_form(saved(Image.fromarray(limb(draw)), "JPEG", quality=95), size=224, field=True)
    found = in_form(content, size=224, field=True)
    assert max(found.placement.view.box[2:]) < 0.8
    height = found.picture.shape[0] * (found.placement.view.box[3] - found.placement.view.box[1])
    assert height >= 224
    assert np.abs(plain.pixels.astype(int) - found.pixels).mean() < 3


def test_a_deep_picture_with_a_hot_pixel_keeps_its_contrast(draw: Draw, encode: Encode) -> None:
    deep = limb(draw).astype(np.uint16) * np.uint16(8)
    hot = deep.copy()
    hot[5, 7] = 65535
    header = decode.inspect(encode(limb(draw)))
    made = [decode.Decoded(decode.stretch(one.astype(np.float32)), header, False, one) for one in (deep, hot)]
    plain, found = (prepare_decoded(one, Preprocessing(128, canonical=Steps(range=True))) for one in made)
    assert np.abs(plain.pixels.astype(int) - found.pixels).mean() < 1
    assert np.abs(plain.picture.astype(int) - found.picture).mean() < 1


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_an_inverted_radiograph_gives_the_input_of_one_that_is_not(sample: Path, encode: Encode) -> None:
    heads, _ = read_heads(HEADS, Steps(polarity=True))
    pixels = np.asarray(cv2.imread(str(sample), cv2.IMREAD_GRAYSCALE), np.uint8)
    plain, found = (
        in_form(encode(one), heads=heads, polarity=True, range=True) for one in (pixels, np.asarray(255 - pixels))
    )
    assert plain.canonical
    assert found.canonical
    assert plain.canonical.inverted < 0.5 < found.canonical.inverted
    assert np.abs(plain.pixels.astype(int) - found.pixels).mean() < 1


def test_boxes_of_a_turned_view_keep_their_corners_in_order() -> None:
    view = canvas.View((0.1, 0.2, 0.9, 0.8), 1)
    x0, y0, x1, y1 = view.box_from_picture((0.2, 0.3, 0.4, 0.5))
    assert 0 < x0 < x1 < 1
    assert 0 < y0 < y1 < 1
