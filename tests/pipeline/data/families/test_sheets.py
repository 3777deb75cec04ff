"""Families side by side."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.families.sheets import write_sheets

Grey = npt.NDArray[np.uint8]


def _reader(folder: Path) -> Callable[[str], bytes]:
    return lambda file: (folder / file).read_bytes()


def test_members_stand_side_by_side(tmp_path: Path, hands: list[Grey]) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), hands[number])
    page = write_sheets(_reader(tmp_path), [["0.png", "1.png", "2.png"]], tmp_path)
    picture = cv2.imread(str(tmp_path / "family-1.jpg"), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert picture.shape == (164, 3 * 164)
    assert '<img src="family-1.jpg"' in page


def test_a_large_family_shows_some_members_and_says_how_many_more(tmp_path: Path) -> None:
    assert "f5.png and 3 more" in write_sheets(_reader(tmp_path), [[f"f{number}.png" for number in range(9)]], tmp_path)


def test_names_of_files_are_no_markup(tmp_path: Path) -> None:
    assert "<b>" not in write_sheets(_reader(tmp_path), [["<b>.png", "c.png"]], tmp_path)


def test_without_families_nothing_is_shown(tmp_path: Path) -> None:
    assert write_sheets(_reader(tmp_path), [], tmp_path) == ""
    assert not list(tmp_path.iterdir())
