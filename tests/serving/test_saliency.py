"""From a class activation map to a peak, boxes and an overlay."""

import numpy as np

from serving import saliency
from serving.imaging.canvas import Letterbox

SQUARE = Letterbox(0, 0, 64, 64, 64)


def _spot(row: int, column: int, value: float = 1.0) -> saliency.Map:
    signed = np.full((8, 8), -0.5, np.float32)
    signed[row, column] = value
    return signed


def test_peak_lies_at_the_strongest_evidence() -> None:
    x, y = saliency.peak(saliency.evidence(_spot(2, 6), SQUARE)) or (0, 0)
    assert abs(x - 6.5 / 8) < 0.02
    assert abs(y - 2.5 / 8) < 0.02


def test_negative_evidence_is_shown_as_none() -> None:
    shown = saliency.evidence(np.full((8, 8), -1.0, np.float32), SQUARE)
    assert shown.max() == 0
    assert saliency.peak(shown) is None
    assert saliency.boxes(shown) == []


def test_evidence_on_the_padding_is_cut_off() -> None:
    upright = Letterbox(16, 0, 32, 64, 64)
    signed = _spot(4, 0, 5.0)
    signed[4, 4] = 1.0
    x, _ = saliency.peak(saliency.evidence(signed, upright)) or (0, 0)
    assert abs(x - (4.5 * 8 - 16) / 32) < 0.04


def test_boxes_surround_separate_peaks_strongest_first() -> None:
    signed = _spot(1, 1, 1.0)
    signed[6, 6] = 0.8
    found = saliency.boxes(saliency.evidence(signed, SQUARE))
    assert [box.strength for box in found] == sorted((box.strength for box in found), reverse=True)
    assert len(found) == 2
    assert found[0].x0 < 1.5 / 8 < found[0].x1
    assert found[1].y0 < 6.5 / 8 < found[1].y1


def test_overlay_leaves_the_image_grey_where_there_is_no_evidence() -> None:
    pixels = np.full((64, 64), 100, np.uint8)
    drawn = saliency.overlay(pixels, saliency.evidence(_spot(0, 0), SQUARE))
    assert (drawn[40:, 40:] == 100).all()
    assert (drawn[2, 2] != 100).any()
