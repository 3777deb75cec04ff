"""What other devices do to a radiograph: each change by itself, with a generator that always says yes."""

from typing import Any

import numpy as np
import pytest

from pipeline.training import disturbances
from pipeline.training.params import Augmentation

SIDE = 64
CONTENT = np.array([[16.0, 8.0], [47.0, 8.0], [47.0, 55.0], [16.0, 55.0]])
"""Pixels 16 to 47 across and 8 to 55 down."""

CHANGES: dict[str, Any] = {
    "gamma": 2.0, "fade": 0.7, "brightness": 30.0, "exposure": 0.25, "blur": 2.0, "resolution": 0.25, "grain": 20.0,
    "grey_step": 8.0, "bars": 1.0, "respread": 1.0, "frames": 1.0,
}  # fmt: skip


def picture() -> np.ndarray:
    """Padding around a field of many greys."""
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[8:56, 16:48] = np.random.default_rng(0).integers(40, 200, (48, 32))
    return pixels


def some_results(options: Augmentation, count: int = 40) -> list[np.ndarray]:
    return [disturbances.disturb(picture(), CONTENT, options, np.random.default_rng(n)) for n in range(count)]


def test_nothing_is_wanted_by_default() -> None:
    assert not disturbances.wanted(Augmentation())


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_wanted_and_happens(name: str) -> None:
    options = Augmentation(**{name: CHANGES[name]})
    assert disturbances.wanted(options)
    assert any(not np.array_equal(found, picture()) for found in some_results(options))


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_leaves_some_images_as_they_were(name: str) -> None:
    share: Any = 0.5 if name in {"bars", "respread", "frames"} else CHANGES[name]
    assert any(np.array_equal(found, picture()) for found in some_results(Augmentation(**{name: share})))


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"frames"}))
def test_the_padding_stays_black(name: str) -> None:
    found = np.stack(some_results(Augmentation(**{name: CHANGES[name]})))
    assert not found[:, :8].any()
    assert not found[:, :, :16].any()


def test_a_frame_has_one_grey_and_leaves_the_content() -> None:
    for found in some_results(Augmentation(frames=1.0), 10):
        assert np.array_equal(found[8:56, 16:48], picture()[8:56, 16:48])
        frame = found[32, :16]
        assert len(set(frame[frame > 0].tolist())) <= 1


def test_greys_are_spread_over_the_range_of_canonical_images() -> None:
    pixels = np.random.default_rng(0).integers(40, 200, (256, 256), dtype=np.uint8)
    everywhere = np.array([[0.0, 0.0], [255.0, 0.0], [255.0, 255.0], [0.0, 255.0]])
    found = disturbances.disturb(pixels, everywhere, Augmentation(respread=1.0), np.random.default_rng(0))
    assert np.quantile(found, (0.005, 0.995)) == pytest.approx([8, 230], abs=3)


def test_grey_steps_leave_few_greys() -> None:
    counts = [len(np.unique(found)) for found in some_results(Augmentation(grey_step=8.0), 100)]
    assert min(counts) < 60


def test_the_same_generator_gives_the_same_image() -> None:
    options = Augmentation(**CHANGES)
    one, other = some_results(options, 8), some_results(options, 8)
    assert all(np.array_equal(x, y) for x, y in zip(one, other, strict=True))
