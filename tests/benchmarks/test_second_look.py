"""The second look: where it looks, and what its table says."""

import numpy as np
import pandas as pd

from benchmarks.second_look import places, table, window


def test_places_are_the_highest_that_lie_apart() -> None:
    likely = np.zeros((56, 56))
    likely[10, 20], likely[11, 21], likely[40, 5], likely[0, 55] = 9, 8, 7, 6
    found = [(round(x * 56 - 0.5), round(y * 56 - 0.5)) for x, y in places(likely, 3)]
    assert found == [(20, 10), (5, 40), (55, 0)]


def test_a_window_lies_around_its_place_and_inside() -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert window(pixels, 0.5, 0.5)[0, 0] == pixels[2, 2]
    assert window(pixels, 0.99, 0.0)[0, 0] == pixels[0, 4]
    assert window(pixels, 0.75, 0.5).shape == (4, 4)


def test_windows_that_know_better_show_in_the_table() -> None:
    rows = pd.DataFrame({"label": [0, 0, 0, 1, 1, 1], "group": list("abcdef")})
    first = np.array([0.0, 2.0, 1.0, 1.5, 0.5, 3.0])
    sure = np.where(rows["label"], 9.0, -9.0)
    looks = np.column_stack([first, first, sure, sure, sure])
    lines = {line.split(" | ")[0].strip("| "): line for line in table(looks, rows)[2:]}
    assert lines["whole image"].startswith("| whole image | 0.667 | +0.000 (+0.000 to +0.000)")
    assert lines["whole image, best window"].startswith("| whole image, best window | 1.000 | +0.333")
