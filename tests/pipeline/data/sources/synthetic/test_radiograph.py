"""One drawn radiograph."""

import numpy as np
import pytest

from pipeline.data.sources import synthetic
from pipeline.errors import InputError


def test_another_seed_gives_other_pictures() -> None:
    first, second = (synthetic.render(seed, "thigh", "frontal").pixels for seed in (1, 2))
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_an_unknown_region_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="region 'skull' is not known; choose one of finger, hand"):
        synthetic.render(1, "skull", "frontal")
