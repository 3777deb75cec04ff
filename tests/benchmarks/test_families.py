"""What is planted, and what is counted as found."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import families
from pipeline.data import layout
from pipeline.data.layout import Dataset
from pipeline.errors import InputError

MakeData = Callable[..., Dataset]


def planted(source: Dataset, folder: Path, **options: int | str) -> pd.DataFrame:
    defaults = {"each": 1, "images": 0, "fill": "copies", "seed": 1}
    families.plant(source, folder, argparse.Namespace(**{**defaults, **options}))
    return layout.read(folder).labels


def table(**groups: str) -> pd.DataFrame:
    rows = [(name.replace("__", "-"), f"{name}.png", group) for name, group in groups.items()]
    return pd.DataFrame(rows, columns=["image_id", "file", "near_group"])


# Planting


def test_every_kind_is_planted_of_an_image_of_its_own(tmp_path: Path, make_data: MakeData) -> None:
    source = make_data(tmp_path / "data", {f"i{number:02d}": {} for number in range(20)})
    ids = planted(source, tmp_path / "planted")["image_id"]
    copies = [name.removeprefix("copy-").split("-") for name in ids if name.startswith("copy-")]
    assert {kind for kind, _ in copies} == set(families.KINDS)
    assert len({root for _, root in copies}) == len(families.KINDS)


def test_the_set_is_filled_up_with_copies_of_other_images(tmp_path: Path, make_data: MakeData) -> None:
    source = make_data(tmp_path / "data", {f"i{number:02d}": {} for number in range(20)})
    ids = planted(source, tmp_path / "planted", images=50)["image_id"]
    assert len(ids) == 50
    roots = [{name.split("-")[2] for name in ids if name.startswith(f"copy-{kind}")} for kind in families.KINDS]
    filled = {name.split("-")[2] for name in ids if name.startswith("copy-fill")}
    assert len(filled) == 4
    assert not filled & set().union(*roots)


def test_the_set_is_filled_up_with_generated_radiographs(tmp_path: Path, make_data: MakeData) -> None:
    source = make_data(tmp_path / "data", {f"i{number:02d}": {} for number in range(16)})
    ids = planted(source, tmp_path / "planted", images=33, fill="generated")["image_id"]
    assert sum(name.startswith("generated-") for name in ids) == 2


def test_too_few_images_are_refused(tmp_path: Path, make_data: MakeData) -> None:
    source = make_data(tmp_path / "data", {f"i{number:02d}": {} for number in range(10)})
    with pytest.raises(InputError, match="too few images for 1 copies of each kind"):
        planted(source, tmp_path / "planted")


@pytest.mark.parametrize("kind", families.KINDS)
def test_a_copy_is_a_picture_that_a_jpeg_holds(kind: str) -> None:
    rng = np.random.default_rng(3)
    copy = families.KINDS[kind][1](rng.integers(0, 256, (90, 70), np.uint8), rng)
    assert copy.dtype == np.uint8
    assert families.jpeg(copy, 80)[:2] == b"\xff\xd8"


# Counting


def test_copies_in_the_group_of_their_original_are_found() -> None:
    found = families.read(table(a="g", copy__half__a="g", b="h", copy__half__b="k"))
    assert found.kinds["half"] == (1, 2)
    assert found.kinds["blur"] == (0, 0)


def test_images_without_a_copy_are_alone() -> None:
    assert families.read(table(a="g", copy__half__a="g", b="h", c="c")).alone == 2


def test_a_group_of_several_originals_is_one_that_nobody_planted() -> None:
    found = families.read(table(a="g", copy__half__a="g", b="g", c="c"))
    assert found.ids == [["a", "b"]]
    assert found.groups == [["a.png", "b.png"]]


def test_a_group_is_false_where_it_holds_a_stranger() -> None:
    found = families.read(table(a="g", b="g", c="h", d="h", e="e"))
    judged = pd.DataFrame({"image_id": ["a", "b", "c"], "judgement": ["relative", "stranger", "relative"]})
    last = families.report(found, judged)[-1]
    assert last.startswith("1 of them are strangers there: 20.0%")
    assert "the largest of those groups holds 2; 1 images of groups were never judged" in last
