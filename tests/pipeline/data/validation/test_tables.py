"""Tables of images, classes and features."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from pipeline.data import layout
from pipeline.data.families import large
from pipeline.data.layout import Dataset
from pipeline.data.sources.synthetic.radiograph import render
from pipeline.data.validation import tables

MakeData = Callable[..., Dataset]
Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]


@pytest.fixture
def table_of(tmp_path: Path, make_data: MakeData) -> Callable[..., pd.DataFrame]:
    """Give a function that scans the images it is given and indexes their table by file name."""

    def table(images: dict[str, Any], strays: dict[str, bytes] | None = None) -> pd.DataFrame:
        make_data(tmp_path / "data", images)
        for name, content in (strays or {}).items():
            (tmp_path / "data" / "images" / name).write_bytes(content)
        found = tables.image_table(layout.read(tmp_path / "data"), 0.995)
        return found.set_index(found["file"].str.removeprefix("images/"))

    return table


def test_near_duplicates_share_a_group(table_of: Callable[..., pd.DataFrame], draw: Draw, encode: Encode) -> None:
    table = table_of({"b": {"content": encode(draw(1))}, "a": {"content": encode(draw(1) // 2)}, "c": {}})
    assert table["group"].to_dict() == {"a.png": "a", "b.png": "a", "c.png": "c"}


def test_a_mirrored_copy_shares_the_group_of_its_original(
    table_of: Callable[..., pd.DataFrame], encode: Encode
) -> None:
    hands = [render(seed, "hand", "frontal").pixels for seed in range(2)]
    images = {"b": encode(hands[0]), "a": encode(np.rot90(hands[0][:, ::-1])), "c": encode(hands[1])}
    table = table_of({name: {"content": content} for name, content in images.items()})
    assert table["near_group"].to_dict() == {"a.png": "a", "b.png": "a", "c.png": "c"}


def test_a_turned_copy_without_keypoints_shares_a_group(
    table_of: Callable[..., pd.DataFrame], draw: Draw, encode: Encode
) -> None:
    images = {"b": encode(draw(1)), "a": encode(np.rot90(draw(1))), "c": encode(draw(2))}
    table = table_of({name: {"content": content} for name, content in images.items()})
    assert table["near_group"].to_dict() == {"a.png": "a", "b.png": "a", "c.png": "c"}


def test_a_large_set_has_the_families_of_alike_thumbnails(
    table_of: Callable[..., pd.DataFrame], encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = [render(seed, "hand", "frontal").pixels for seed in range(2)]
    images = {"b": hands[0], "a": np.rot90(hands[0][:, ::-1]), "c": hands[1], "d": hands[1]}
    monkeypatch.setattr(large, "LARGE", 3)
    table = table_of({name: {"content": encode(pixels)} for name, pixels in images.items()})
    assert table["near_group"].to_dict() == {"a.png": "a", "b.png": "a", "c.png": "c", "d.png": "c"}


@pytest.mark.parametrize("column", ["patient_id", "study_id"])
def test_images_of_a_patient_or_study_share_a_group(column: str, table_of: Callable[..., pd.DataFrame]) -> None:
    table = table_of({"a": {column: "p1"}, "b": {column: "p2"}, "c": {column: "p1"}, "d": {}, "e": {}})
    assert table["group"].to_list() == ["a", "b", "a", "d", "e"]
    assert set(table["near_duplicate"]) == {"no"}


def test_groups_are_joined_through_a_common_image(
    table_of: Callable[..., pd.DataFrame], draw: Draw, encode: Encode
) -> None:
    table = table_of(
        {
            "a": {"content": encode(draw(1)), "patient_id": "p"},
            "b": {"content": encode(draw(2)), "patient_id": "p"},
            "c": {"content": encode(draw(2) // 2)},
        }
    )
    assert set(table["group"]) == {"a"}


def test_a_file_without_a_label_contradicts_no_label(
    table_of: Callable[..., pd.DataFrame], draw: Draw, encode: Encode
) -> None:
    content = encode(draw(1))
    table = table_of({"a": {"content": content}}, {"stray.png": content})
    assert set(table["identical_opposite"]) == set(table["near_opposite"]) == {"no"}


def test_a_file_named_like_an_image_is_not_taken_for_it(
    table_of: Callable[..., pd.DataFrame], draw: Draw, encode: Encode
) -> None:
    table = table_of({"a": {"boxes": [(0, 0, 1, 1, "fractured")]}}, {"a.bmp": encode(draw(50), "BMP")})
    assert table["near_duplicate"].to_dict() == {"a.bmp": "no", "a.png": "no"}
    assert table["boxes"].to_dict() == {"a.bmp": 0, "a.png": 1}


def test_a_folder_in_an_images_place_is_a_missing_file(tmp_path: Path, make_data: MakeData) -> None:
    data = make_data(tmp_path / "data", {"a": {}})
    (tmp_path / "data" / "images" / "a.png").unlink()
    (tmp_path / "data" / "images" / "a.png").mkdir()
    assert tables.image_table(data, 0.995)["decoded"].to_list() == ["missing"]


def features(labels: list[str], **columns: list[Any]) -> dict[str, float]:
    measured = dict.fromkeys(tables._MEASURED, 1.0)
    found = tables.feature_table(pd.DataFrame({"label": labels, **measured, **columns}), "normal")
    return dict(zip(found["feature"], found["auroc"], strict=True))


def test_a_low_number_may_predict_a_fracture_as_well_as_a_high_one() -> None:
    labels = ["normal", "normal", "fractured", "fractured"]
    assert features(labels, width=[4, 3, 2, 1])["width"] == features(labels, width=[1, 2, 3, 4])["width"] == 1


def test_what_describes_the_fracture_is_no_feature() -> None:
    assert "fracture_count" not in features(["normal", "fractured"], fracture_count=["0", "1"])


def test_one_class_alone_has_no_features() -> None:
    assert features(["normal", "normal"]) == {}
    assert features(["fractured", "fractured"]) == {}
