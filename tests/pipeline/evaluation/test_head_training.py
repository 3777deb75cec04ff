"""What region head and guard are fitted to."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.evaluation.guard_pictures import CHOOSE, TRAIN, collected, drawings, drawn_rows, radiographs
from pipeline.evaluation.head_training import Viewer
from serving.imaging.canonical.form import NO_HEADS
from serving.imaging.canvas import Preprocessing, Steps
from serving.statistics import TEXTURE

Squares = Callable[..., Prepared]


def _embed(canvases: np.ndarray) -> np.ndarray:
    return canvases.reshape(len(canvases), -1).astype(np.float32)


def _nothing(steps: float = 1, /) -> None:
    """No progress is shown."""


def test_drawings_for_choosing_are_none_of_those_for_training() -> None:
    trained = {make().tobytes() for make in drawings(TRAIN, 2)}
    assert not trained & {make().tobytes() for make in drawings(CHOOSE, 2)}


def test_a_radiograph_that_comes_twice_comes_under_other_changes(squares: Squares) -> None:
    data = squares()
    rows = drawn_rows(data, "train", 2 * len(data.rows("train")))
    assert sorted(rows) == sorted([*data.rows("train")] * 2)
    first, second = radiographs(data, rows[[0, len(rows) // 2]])
    assert not np.array_equal(first(), second())


def test_the_same_pictures_are_made_every_time(squares: Squares) -> None:
    data = squares()
    makes = [*radiographs(data, data.rows("train")[:5]), *drawings(TRAIN, 1)]
    assert all(np.array_equal(make(), make()) for make in makes)


def test_pictures_of_a_folder_are_taken_in_grey_as_they_are_and_changed(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 50, 3), (0, 0, 200), np.uint8))
    as_it_is, changed = collected(tmp_path)
    assert as_it_is().shape == (40, 50)
    assert changed().ndim == 2


def test_a_folder_without_pictures_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="guard_pictures"):
        collected(tmp_path / "train")


def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.png"):
        collected(tmp_path)[0]()


def test_pictures_are_shown_to_the_network_in_the_order_they_were_given() -> None:
    viewer = Viewer(Preprocessing(16), NO_HEADS, _embed)
    makes = [lambda level=level: np.full((16, 16), level, np.uint8) for level in range(70)]
    seen = viewer.see(makes, _nothing)
    assert seen.embeddings[:, 0].tolist() == list(range(70))
    assert seen.textures.shape == (70, TEXTURE)


def test_pictures_are_shown_in_the_canonical_form_of_the_training_images() -> None:
    pixels = np.pad(np.random.default_rng(0).integers(60, 120, (80, 80)).astype(np.uint8), 20, constant_values=255)
    plain = Viewer(Preprocessing(64), NO_HEADS, _embed).model_input(pixels)
    cropped = Viewer(Preprocessing(64, canonical=Steps(field=True)), NO_HEADS, _embed).model_input(pixels)
    assert (plain == 255).mean() > 0.3
    assert (cropped == 255).mean() < 0.05
