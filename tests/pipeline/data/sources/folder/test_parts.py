"""A folder laid out by part and class: the layout is recognised, and names of one class are joined."""

import pytest

from pipeline.data.sources.folder.parts import place


def test_folders_of_classes_are_no_split() -> None:
    placed = place(["normal/a.png", "fractured/b/c.png"])
    assert placed.labels == {"normal/a.png": "normal", "fractured/b/c.png": "fractured"}
    assert not placed.parts


@pytest.mark.parametrize("around", ["", "set/"])
@pytest.mark.parametrize(
    ("train", "rest"),
    [
        ("train", "val"),
        ("Training", "test"),
        ("TRAIN", "valid"),
    ],
)
def test_folders_of_parts_that_hold_classes_are_a_split(train: str, rest: str, around: str) -> None:
    first, second = f"{around}{train}/normal/a.png", f"{around}{rest}/fractured/more/b.png"
    placed = place([first, second])
    assert placed.labels == {first: "normal", second: "fractured"}
    assert placed.parts == {first: "train", second: "test" if rest == "test" else "validation"}


def test_folders_of_classes_that_hold_parts_are_a_split() -> None:
    placed = place(["normal/train/a.png", "fractured/test/b.png"])
    assert placed.labels == {"normal/train/a.png": "normal", "fractured/test/b.png": "fractured"}
    assert placed.parts == {"normal/train/a.png": "train", "fractured/test/b.png": "test"}


@pytest.mark.parametrize(
    "images",
    [
        ["train/normal/a.png", "train/fractured/b.png"],
        ["val/normal/a.png", "test/fractured/b.png"],
        ["train/normal/a.png", "test/fractured/b.png", "other/normal/c.png"],
        ["train/a.png", "test/b.png", "normal/c.png"],
    ],
    ids=["one part", "no training", "another folder", "no classes"],
)
def test_what_only_resembles_a_split_is_none(images: list[str]) -> None:
    assert not place(images).parts


def test_an_image_without_a_class_folder_has_no_class() -> None:
    placed = place(["train/normal/a.png", "train/stray.png", "test/normal/b.png"])
    assert "train/stray.png" not in placed.labels
    assert "train/stray.png" not in placed.parts


def test_other_words_for_a_class_are_joined_under_the_most_frequent_one() -> None:
    images = ["train/not fractured/a.png", "train/not fractured/b.png", "test/Normal/c.png", "train/fractured/d.png",
              "test/Fracture/e.png", "train/fractured/f.png"]  # fmt: skip
    placed = place(images)
    assert set(placed.labels.values()) == {"not fractured", "fractured"}
    assert sorted(placed.merged) == [("fractured", "Fracture"), ("not fractured", "Normal")]


def test_different_classes_stay_apart() -> None:
    placed = place(["train/avulsion/a.png", "test/spiral/b.png", "train/normal/c.png"])
    assert sorted(placed.labels.values()) == ["avulsion", "normal", "spiral"]
    assert placed.merged == ()
