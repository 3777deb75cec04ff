"""Draws the README's picture from the synthetic generator: python docs/pictures/draw.py."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.sources import synthetic

_CELL = (260, 330)
_SHOWN = (
    (11, "lower leg", "frontal", "transverse"),
    (5, "forearm", "lateral", None),
    (23, "hand", "frontal", "oblique"),
    (31, "thigh", "frontal", "spiral"),
    (47, "finger", "frontal", "comminuted"),
    (58, "upper arm", "frontal", None),
    (64, "forearm", "frontal", "greenstick"),
    (70, "lower leg", "lateral", None),
)


def _cell(seed: int, region: str, view: str, fracture: str | None) -> npt.NDArray[np.uint8]:
    image = synthetic.render(seed, region, view, fracture)
    height, width = image.pixels.shape
    picture = cv2.cvtColor(image.pixels, cv2.COLOR_GRAY2BGR)
    for box in image.boxes:
        corners = [round(value * side) for value, side in zip(box[:4], (width, height) * 2, strict=True)]
        cv2.rectangle(picture, (corners[0], corners[1]), (corners[2], corners[3]), (120, 200, 90), 2, cv2.LINE_AA)
    scale = min((_CELL[0] - 12) / width, (_CELL[1] - 40) / height)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    cell = np.full((_CELL[1], _CELL[0], 3), (31, 24, 18), np.uint8)
    top, left = (_CELL[1] - 30 - small.shape[0]) // 2, (_CELL[0] - small.shape[1]) // 2
    cell[top : top + small.shape[0], left : left + small.shape[1]] = small
    text = f"{region}: {fracture or 'normal'}"
    cv2.putText(cell, text, (12, _CELL[1] - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (220, 226, 230), 1, cv2.LINE_AA)
    return cell


def main() -> None:
    """Write sample.jpg beside this script."""
    cells = [_cell(*shown) for shown in _SHOWN]
    sheet = np.vstack([np.hstack(cells[:4]), np.hstack(cells[4:])])
    cv2.imwrite(str(Path(__file__).with_name("sample.jpg")), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
