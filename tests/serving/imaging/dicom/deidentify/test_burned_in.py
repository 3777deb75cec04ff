"""Text along the edges is seen; side markers and bones are not taken for it."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from serving.imaging.dicom.deidentify.burned_in import shows_text

Picture = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def limb() -> Picture:
    """Draw something like a limb: a soft bright band with noise, on a dark ground."""
    _, x = np.mgrid[:900, :700]
    band = 150 * np.exp(-(((x - 350) / 120.0) ** 2)) + 20
    noise = np.random.default_rng(3).normal(0, 3, band.shape)
    return np.asarray(np.clip(cv2.GaussianBlur(band + noise, (0, 0), 1.2), 0, 255), np.uint8)


def written(picture: Picture, text: str, place: tuple[int, int], grey: int = 255, scale: float = 0.7) -> Picture:
    copy = picture.copy()
    cv2.putText(copy, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, grey, max(1, round(2 * scale)), cv2.LINE_AA)
    return copy


@pytest.mark.parametrize("place", [(10, 40), (480, 40), (10, 880), (480, 880), (10, 450)])
def test_a_name_at_the_edge_is_seen(limb: Picture, place: tuple[int, int]) -> None:
    assert shows_text(written(limb, "DOE JANE 4711", place))


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.0])
def test_a_date_of_any_usual_size_is_seen(limb: Picture, scale: float) -> None:
    assert shows_text(written(limb, "27.11.2026", (10, 80), scale=scale))


def test_dark_text_on_a_bright_ground_is_seen(limb: Picture) -> None:
    assert shows_text(255 - written(limb, "DOE JANE", (10, 40)))


def test_text_along_the_side_is_seen(limb: Picture) -> None:
    assert shows_text(np.ascontiguousarray(np.rot90(written(limb, "DOE JANE", (10, 40)))))


def test_text_outside_of_the_window_is_seen_in_the_stored_values(limb: Picture) -> None:
    stored = written(limb, "DOE JANE", (10, 40)).astype(np.uint16)
    flat = np.full_like(limb, 255)
    assert not shows_text(flat)
    assert shows_text(flat, stored)


def test_a_radiograph_without_text_has_none(limb: Picture) -> None:
    assert not shows_text(limb)


@pytest.mark.parametrize("marker", ["L", "R", "RE"])
def test_a_side_marker_is_no_text(limb: Picture, marker: str) -> None:
    assert not shows_text(written(limb, marker, (20, 100), scale=2.0))


def test_the_marks_of_a_ruler_are_no_text(limb: Picture) -> None:
    ruled = limb.copy()
    for x in range(20, 600, 14):
        ruled[860:880, x : x + 2] = 255
    assert not shows_text(ruled)


def test_text_in_the_middle_is_not_looked_for(limb: Picture) -> None:
    assert not shows_text(written(limb, "DOE JANE", (280, 450), scale=0.6))
