"""A fracture shows, and shows inside its box."""

import numpy as np
import pytest

from pipeline.data.sources import synthetic


@pytest.mark.parametrize("fracture", synthetic.TYPES)
@pytest.mark.parametrize("region", synthetic.REGIONS)
def test_a_fracture_changes_the_picture_most_inside_its_box(region: str, fracture: str) -> None:
    seed = 11
    before = synthetic.render(seed, region, "frontal", hardware=False)
    after = synthetic.render(seed, region, "frontal", fracture, hardware=False)
    change = np.abs(after.pixels.astype(int) - before.pixels)
    height, width = change.shape
    inside = np.zeros(change.shape, bool)
    for x0, y0, x1, y1, name in after.boxes:
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
        assert name == fracture
        inside[int(y0 * height) : int(y1 * height) + 1, int(x0 * width) : int(x1 * width) + 1] = True
    assert change[inside].max() > 40
    assert change[inside].mean() > 2.5 * change[~inside].mean()


def test_a_fracture_leaves_the_rest_of_the_picture_as_it_was() -> None:
    before = synthetic.render(5, "finger", "frontal")
    after = synthetic.render(5, "finger", "frontal", "transverse")
    assert (before.laterality, before.hardware) == (after.laterality, after.hardware)
    assert (before.pixels == after.pixels).mean() > 0.6
