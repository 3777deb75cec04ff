"""Heads on the network's embedding: region and guard."""

from pathlib import Path

import numpy as np
import pytest

from serving.image_heads import GuardHead, ImageHeads, RegionHead

REGION = RegionHead(("hand", "leg"), np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([-1.0, -1.0]), 0.4)
GUARD = GuardHead(np.array([1.0, 0.0, -1.0]), 0.5, -2.0, 0.0)


def test_the_likeliest_region_comes_with_its_probability() -> None:
    name, probability = REGION.likeliest(np.array([0.0, 1.0]))
    assert name == "leg"
    assert probability == pytest.approx(1 / (1 + np.exp(-1.0)))


def test_one_image_may_show_two_regions() -> None:
    assert (REGION.probabilities(np.array([3.0, 3.0])) > 0.9).all()


def test_the_guard_takes_the_texture_behind_the_embedding() -> None:
    assert float(GUARD.log_odds(np.array([3.0, 9.0]), np.array([1.0]))) == pytest.approx(2.5)


def test_the_guard_judges_several_pictures_at_once() -> None:
    assert GUARD.log_odds(np.zeros((4, 2)), np.ones((4, 1))) == pytest.approx(np.full(4, -0.5))


@pytest.mark.parametrize(
    "heads", [ImageHeads(REGION, GUARD), ImageHeads(REGION), ImageHeads(None, GUARD), ImageHeads()]
)
def test_heads_are_read_as_they_were_written(tmp_path: Path, heads: ImageHeads) -> None:
    path = tmp_path / "image_heads.npz"
    heads.save(path)
    found = ImageHeads.load(path)
    assert (found.region is None) == (heads.region is None)
    assert (found.guard is None) == (heads.guard is None)
    if found.region:
        assert found.region.names == REGION.names
        assert found.region.probabilities(np.ones(2)) == pytest.approx(REGION.probabilities(np.ones(2)))
    if found.guard:
        assert (found.guard.refuse, found.guard.unusual, found.guard.bias) == (-2.0, 0.0, 0.5)


def test_weights_for_another_number_of_regions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "image_heads.npz"
    ImageHeads(RegionHead(("hand", "leg", "hip"), REGION.weights, REGION.bias, 0.4)).save(path)
    with pytest.raises(ValueError, match="regions"):
        ImageHeads.load(path)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "image_heads.npz"
    np.savez(path, guard_weights=np.ones(3))
    with pytest.raises(KeyError, match="guard_bias"):
        ImageHeads.load(path)
