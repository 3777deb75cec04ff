"""Reference statistics of the training images."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from serving import statistics
from serving.statistics import TEXTURE, Reference

Array = npt.NDArray[np.float64]


def _textures(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(3, 1, (count, TEXTURE))


def _reference(textures: Array, groups: npt.NDArray[np.str_] | None = None, inputs: Array | None = None) -> Reference:
    if inputs is None:
        inputs = np.random.default_rng(0).normal(0, 1, (300, len(statistics.INPUTS)))
    names = np.arange(len(textures)).astype(str) if groups is None else groups
    return statistics.reference_of(
        inputs=inputs,
        probabilities=np.linspace(0, 1, 300),
        features=inputs,
        textures=textures,
        groups=names,
        known=range(300),
    )


def _field(height: int = 120, width: int = 90, blur: float = 3) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, 1, (height, width)).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(noise, (0, 0), blur), np.float32)
    return np.asarray(np.clip(128 + 40 * soft / soft.std(), 1, 255), np.uint8)


def _on_canvas(content: npt.NDArray[np.uint8], left: int, top: int) -> npt.NDArray[np.uint8]:
    canvas = np.zeros((160, 160), np.uint8)
    canvas[top : top + content.shape[0], left : left + content.shape[1]] = content
    return canvas


def test_statistics_of_a_half_black_canvas_are_exact() -> None:
    canvas = np.zeros((64, 64), np.uint8)
    canvas[:, :32] = 250
    mean, contrast, dark, bright, _, content = statistics.input_statistics(canvas)
    assert (mean, contrast, dark, bright, content) == (125, 125, 0.5, 0.5, 0.5)


def test_texture_of_a_ramp_is_its_slope_at_every_scale() -> None:
    ramp = np.tile(np.arange(0, 240, 3, dtype=np.uint8) + 1, (80, 1))
    found = statistics.texture(ramp).reshape(5, 7)
    # Three grey levels a pixel, so all pixels are in the bin from 3 to 4, and twice as many at each next scale.
    for scale in range(3):
        slope = 3 * 2**scale
        assert np.all((np.log2(1 + slope) <= found[scale]) & (found[scale] <= np.log2(2 + slope)))


def test_texture_of_a_checkerboard_is_its_contrast_at_the_scale_of_its_fields() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 200 + 20
    found = statistics.texture(board.astype(np.uint8)).reshape(5, 7)
    assert found[0].min() >= np.log2(201)
    assert found[1:].max() <= 1


def test_texture_does_not_depend_on_the_padding() -> None:
    content = _field()
    assert np.array_equal(statistics.texture(_on_canvas(content, 0, 0)), statistics.texture(content))
    assert np.array_equal(statistics.texture(_on_canvas(content, 60, 30)), statistics.texture(content))


def test_texture_tells_a_sharp_field_from_a_soft_one() -> None:
    assert np.all(statistics.texture(_field(blur=1))[:7] > statistics.texture(_field(blur=6))[:7])


@pytest.mark.parametrize("shape", [(96, 96), (1, 96), (96, 1), (1, 1)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_texture_of_a_flat_canvas_of_any_form_is_of_nothing_but_zeros(shape: tuple[int, int], level: int) -> None:
    found = statistics.texture(np.full(shape, level, np.uint8))
    assert found.shape == (TEXTURE,)
    assert found.max() <= 1  # within the first bin, of differences from 0 to 1


def test_distance_of_what_is_like_training_is_about_one() -> None:
    reference = _reference(_textures(400))
    assert np.median(reference.distance(_textures(200, seed=1))) == pytest.approx(1, abs=0.2)


def test_distance_grows_with_strangeness() -> None:
    reference, usual = _reference(_textures(400)), _textures(200, seed=1)
    assert reference.distance(usual + 2).min() > reference.distance(usual).max()


def test_distance_knows_what_goes_together() -> None:
    tied = _textures(400)
    tied[:, 1:] = tied[:, :1] + 0.1 * tied[:, 1:]
    reference, together, apart = _reference(tied), np.full((1, TEXTURE), 4.0), np.full((1, TEXTURE), 4.0)
    apart[0, ::2] = 2.0
    assert reference.distance(apart)[0] > 2 * reference.distance(together)[0]


def test_a_statistic_that_never_varied_in_training_may_vary_a_little() -> None:
    constant = _textures(400)
    constant[:, 0] = 5
    other = constant.mean(axis=0, keepdims=True)
    other[0, 0] += 0.02
    assert _reference(constant).distance(other)[0] < 1


def test_fewer_images_than_statistics_still_give_a_distance() -> None:
    few = _textures(12)
    reference = _reference(few)
    assert np.isfinite(reference.distances).all()
    assert reference.distance(few + 5).min() > reference.distance(few).max()


def test_distances_are_measured_by_others_than_the_image_itself() -> None:
    few = _textures(40)
    reference = _reference(few)
    assert np.median(reference.distances) > 1.2 * np.median(reference.distance(few))


def test_images_of_one_group_do_not_measure_each_other() -> None:
    pairs = np.repeat(_textures(20), 2, axis=0)
    in_pairs = np.array([f"{number // 2:02d}" for number in range(40)])
    each_alone = np.array([f"{number:02d}" for number in range(40)])
    assert np.median(_reference(pairs, in_pairs).distances) > 1.2 * np.median(_reference(pairs, each_alone).distances)


@pytest.mark.parametrize("size", [224, 320, 448])
def test_images_of_few_aspects_are_no_shift(size: int) -> None:
    """Nearly all of a clinic's images have one of a few aspects: 7 of 10 here, and any other one of the rest."""
    rng = np.random.default_rng(3)
    height = np.where(rng.random(3000) < 0.7, round(size * 373 / 454), rng.integers(size // 2, size, 3000))
    inputs = np.tile(height[:, None] / size, (1, len(statistics.INPUTS)))
    reference = _reference(_textures(100), inputs=inputs[:2000])
    # As an answer states them; four decimals of 23/32 round either way.
    later = np.array([statistics.stated(value) for value in inputs[2000:, 0]])
    assert statistics.shift(reference.inputs[0], 2000, later).distance < 0.08


def test_images_of_one_patient_count_once_as_evidence() -> None:
    by_five = np.repeat(np.arange(80), 5).astype(str)
    reference = _reference(_textures(400), by_five)
    assert (float(reference.trained), float(reference.scored)) == (60, 20)


def test_a_few_patients_with_many_images_are_no_reason_for_alarm() -> None:
    rng, alarms = np.random.default_rng(0), {30: 0, 150: 0}
    for _ in range(200):
        patients = rng.normal(0, 1, (30, 1))
        images = np.quantile((patients + rng.normal(0, 0.1, (30, 5))).ravel(), statistics.QUANTILES)
        later = rng.normal(0, 1, 500)
        for behind in alarms:
            alarms[behind] += statistics.shift(images, behind, later).moved
    assert alarms[30] <= 2, alarms
    assert alarms[150] > 20, alarms  # what counting images would do


def test_a_reference_from_before_groups_were_counted_states_images(tmp_path: Path) -> None:
    reference = _reference(_textures(100))
    older = {name: array for name, array in vars(reference).items() if name != "trained"}
    np.savez(tmp_path / "reference.npz", allow_pickle=False, **older)
    assert float(Reference.load(tmp_path / "reference.npz").trained) == len(reference.known)


def test_reference_survives_its_file(tmp_path: Path) -> None:
    reference = _reference(_textures(100))
    reference.save(tmp_path / "reference.npz")
    loaded = Reference.load(tmp_path / "reference.npz")
    textures = _textures(3, seed=2)
    assert np.array_equal(loaded.distance(textures), reference.distance(textures))
    assert np.array_equal(loaded.distances, reference.distances)
    assert np.array_equal(loaded.inputs, reference.inputs)
    assert np.array_equal(loaded.scores, reference.scores)
    assert (float(loaded.trained), float(loaded.scored)) == (float(reference.trained), float(reference.scored))


def test_the_file_is_too_small_to_hold_an_image(tmp_path: Path) -> None:
    _reference(_textures(5000)).save(tmp_path / "reference.npz")
    assert (tmp_path / "reference.npz").stat().st_size < 32_000


def test_a_reference_of_another_version_is_refused(tmp_path: Path) -> None:
    reference = _reference(_textures(100))
    older = {
        name: getattr(reference, name)
        for name in ("inputs", "scores", "scored", "features", "precision", "distances", "known")
    }
    np.savez(tmp_path / "reference.npz", allow_pickle=False, mean=np.zeros(134), scale=np.ones(134), **older)
    with pytest.raises(ValueError, match="does not hold the 35 statistics"):
        Reference.load(tmp_path / "reference.npz")
