"""What is no radiograph gets a reason; what is one, an answer."""

import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from benchmarks import out_of_distribution
from pipeline.data import layout, prepared
from pipeline.data.sources import synthetic
from serving import bundle, guard
from serving.errors import ImageError
from serving.imaging.canvas import Preprocessing
from serving.imaging.decode import Decoded, Header, decode, inspect
from serving.imaging.model_input import prepare
from serving.predictor import Predictor
from serving.statistics import INPUTS, Reference, reference_of, texture

Encode = Callable[..., bytes]
_NEEDS_FRACATLAS = pytest.mark.skipif("FRACATLAS_ARCHIVE" not in os.environ, reason="FRACATLAS_ARCHIVE names no file")


class Fracatlas(NamedTuple):
    """A reference fitted on four fifths of FracAtlas, its limit, and textures (n, 35) of the last fifth."""

    reference: Reference
    limit: float
    others: npt.NDArray[np.float64]


def _header(width: int = 100, height: int = 100, frames: int = 1) -> Header:
    return Header("PNG", "L", 8, width, height, 1, frames)


def _decoded(pixels: Any) -> Decoded:
    return Decoded(np.asarray(pixels, np.uint8), _header(), truncated=False)


@pytest.fixture(scope="module")
def predictor(bundle_folder: Path) -> Predictor:
    return Predictor(bundle.read(bundle_folder))


@pytest.fixture(scope="module")
def fracatlas(fracatlas_data: Path) -> Fracatlas:
    labels = layout.read(fracatlas_data).labels
    textures = np.stack([_texture_of((fracatlas_data / file).read_bytes()) for file in labels["file"]])
    names, last = labels["image_id"].to_numpy(str), np.random.default_rng(0).random(len(textures)) < 0.2
    reference = reference_of(
        inputs=np.zeros((2, len(INPUTS))),
        probabilities=np.zeros(2),
        features=np.zeros((2, 3)),
        textures=textures[~last],
        groups=names[~last],
        known=[],
    )
    return Fracatlas(reference, float(reference.distances[99]), textures[last])


def _texture_of(content: bytes) -> npt.NDArray[np.float64]:
    return texture(prepare(content, Preprocessing()).pixels)


def _code(predictor: Predictor, content: bytes) -> str:
    try:
        predictor.predict(content)
    except ImageError as error:
        return error.code
    return "answered"


@cache
def _drawn(count: int) -> list[bytes]:
    regions, views, kinds = synthetic.REGIONS, synthetic.VIEWS, (None, *synthetic.TYPES)
    pictures = [
        synthetic.render(50_000 + n, regions[n % len(regions)], views[n % len(views)], kinds[n % len(kinds)])
        for n in range(count)
    ]
    return [bytes(cv2.imencode(".png", picture.pixels)[1]) for picture in pictures]


def test_even_a_model_of_128_images_refuses_nine_out_of_distribution_images_in_ten(
    predictor: Predictor, encode: Encode
) -> None:
    codes = Counter(
        _code(predictor, encode(image.pixels, "BMP")) for image in out_of_distribution.everything(per_kind=10, crops=3)
    )
    assert codes.total() >= 200
    assert codes["answered"] <= 0.1 * codes.total()


@pytest.mark.slow
@_NEEDS_FRACATLAS
def test_at_most_one_in_forty_real_radiographs_is_refused(fracatlas: Fracatlas) -> None:
    # A hundredth is what the limit is fitted to; of 650 images more than a fortieth is no chance.
    assert np.mean(fracatlas.reference.distance(fracatlas.others) > fracatlas.limit) < 0.025


@pytest.mark.slow
@_NEEDS_FRACATLAS
def test_at_least_95_percent_of_out_of_distribution_images_are_refused(fracatlas: Fracatlas, encode: Encode) -> None:
    textures = [
        _texture_of(encode(image.pixels, "BMP")) for image in out_of_distribution.everything(per_kind=20, crops=3)
    ]
    assert len(textures) >= 400
    assert np.mean(fracatlas.reference.distance(np.stack(textures)) > fracatlas.limit) >= 0.95


@pytest.mark.slow
@_NEEDS_FRACATLAS
@pytest.mark.skipif("DICOM_SAMPLES" not in os.environ, reason="DICOM_SAMPLES names no folder")
def test_radiographs_of_another_origin_are_accepted(fracatlas: Fracatlas) -> None:
    paths = sorted(Path(os.environ["DICOM_SAMPLES"]).glob("*.dcm"))
    distances = fracatlas.reference.distance(np.stack([_texture_of(path.read_bytes()) for path in paths]))
    assert distances.max() < fracatlas.limit


def test_nearly_every_out_of_distribution_image_is_refused_for_its_distance(
    predictor: Predictor, encode: Encode
) -> None:
    codes = Counter(
        _code(predictor, encode(image.pixels, "BMP")) for image in out_of_distribution.generated(per_kind=6)
    )
    assert codes["not_a_radiograph"] >= 0.9 * codes.total()


def test_radiographs_like_those_of_training_are_answered(predictor: Predictor) -> None:
    drawn = _drawn(30)
    assert sum(_code(predictor, content) == "answered" for content in drawn) >= 0.95 * len(drawn)


def test_the_limit_refuses_one_in_a_hundred_of_the_images_it_was_fitted_on(bundle_folder: Path) -> None:
    opened = bundle.read(bundle_folder)
    assert np.mean(opened.reference.distances > opened.manifest.guard.limit) == pytest.approx(0.01, abs=0.01)
    assert np.mean(opened.reference.distances > opened.manifest.guard.unusual) == pytest.approx(0.05, abs=0.01)


def test_the_test_set_fitted_nothing_and_is_accepted(bundle_folder: Path, trained_folder: Path) -> None:
    opened, data = bundle.read(bundle_folder), prepared.load(trained_folder / "prepared")
    distances = opened.reference.distance(np.stack([texture(data.images[row]) for row in data.rows("test")]))
    assert np.mean(distances > opened.manifest.guard.limit) <= 0.1


def test_every_packaged_sample_is_answered(predictor: Predictor) -> None:
    folder, names = predictor.bundle.folder, predictor.bundle.manifest.samples
    assert len(names) == 4
    assert [_code(predictor, (folder / name).read_bytes()) for name in names] == ["answered"] * 4


@pytest.mark.parametrize("scale", [0.5, 2])
def test_the_size_of_a_radiograph_does_not_matter(predictor: Predictor, scale: float, encode: Encode) -> None:
    scaled = [
        cv2.resize(decode(content).pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for content in _drawn(30)[:12]
    ]
    assert sum(_code(predictor, encode(picture)) == "answered" for picture in scaled) >= 11


@pytest.mark.parametrize("kept", [(slice(None), slice(20, -20)), (slice(20, -20), slice(None))])
def test_the_aspect_of_a_radiograph_does_not_matter(
    predictor: Predictor, kept: tuple[slice, slice], encode: Encode
) -> None:
    cut = [np.ascontiguousarray(decode(content).pixels[kept]) for content in _drawn(30)[:12]]
    assert sum(_code(predictor, encode(picture)) == "answered" for picture in cut) >= 11


def test_what_is_refused_never_reaches_the_network(
    predictor: Predictor, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "_network", None)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    assert _code(predictor, encode(noise)) == "not_a_radiograph"


def test_out_of_distribution_images_are_the_same_every_time() -> None:
    for kind in out_of_distribution.KINDS:
        assert np.array_equal(out_of_distribution.draw(kind, 3), out_of_distribution.draw(kind, 3)), kind


def test_out_of_distribution_images_of_one_scene_are_in_one_half() -> None:
    scenes: dict[str, set[str]] = {}
    for image in out_of_distribution.photographs(crops=1):
        scene = image.name.split()[0].removesuffix("_left").removesuffix("_right").lower()
        scenes.setdefault(scene.removesuffix("_gray").removesuffix("_rgb"), set()).add(image.half)
    assert len(scenes) >= 20
    assert {len(halves) for halves in scenes.values()} == {1}


def test_a_colour_photograph_is_refused_for_its_colours(predictor: Predictor) -> None:
    content = next(path for path in out_of_distribution.colour_files() if path.stem == "coffee").read_bytes()
    assert _code(predictor, content) == "colour_photograph"


def test_a_tinted_film_is_not_refused_for_its_colours(encode: Encode) -> None:
    grey = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    content = encode(np.stack([grey * 0.8, grey * 0.9, grey], axis=-1).astype(np.uint8))
    guard.check_colours(content, inspect(content))


@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_picture_of_one_grey_is_blank(predictor: Predictor, level: int, encode: Encode) -> None:
    assert _code(predictor, encode(np.full((100, 80), level, np.uint8))) == "blank"


def test_a_faint_picture_is_not_blank() -> None:
    guard.check_contrast(_decoded(np.arange(100).reshape(10, 10) / 10 + 100).pixels)


@pytest.mark.parametrize(("width", "height"), [(31, 500), (500, 31), (1, 1)])
def test_a_picture_with_a_side_below_32_pixels_is_too_small(width: int, height: int) -> None:
    with pytest.raises(ImageError, match=f"is {width} x {height} pixels; at least 32") as error:
        guard.check_header(_header(width, height), max_frames=1)
    assert error.value.code == "too_small"


def test_a_picture_of_32_pixels_a_side_is_large_enough() -> None:
    guard.check_header(_header(32, 32), max_frames=1)


def test_several_frames_are_refused_where_one_is_expected() -> None:
    with pytest.raises(ImageError) as error:
        guard.check_header(_header(frames=2), max_frames=1)
    assert error.value.code == "too_many_frames"


@pytest.mark.parametrize("distance", [1.01, float("inf"), float("nan")])
def test_a_distance_beyond_the_limit_or_none_at_all_is_refused(distance: float) -> None:
    with pytest.raises(ImageError, match="unlike the radiographs") as error:
        guard.check_distance(distance, limit=1.0)
    assert error.value.code == "not_a_radiograph"


def test_a_distance_of_the_limit_itself_is_accepted() -> None:
    guard.check_distance(1.0, limit=1.0)
