"""One part of a split, with the files of its images."""

from pathlib import Path

import pytest

from benchmarks.parts import part_of
from pipeline.errors import InputError
from tests.conftest import MakeData


def _split(folder: Path, lines: list[str]) -> Path:
    path = folder / "split.csv"
    path.write_text("\n".join(["image_id,label,part,group", *lines]))
    return path


def test_a_part_has_its_images_labels_and_files(make_data: MakeData, tmp_path: Path) -> None:
    make_data(tmp_path / "data", {name: {} for name in "abcd"})
    split = _split(tmp_path, ["a,normal,train,a", "c,normal,test,c", "d,fractured,test,d"])
    rows = part_of(tmp_path / "data", split, "test")
    assert rows[["image_id", "label"]].to_numpy().tolist() == [["c", 0], ["d", 1]]
    assert all(Path(path).is_file() for path in rows["path"])


@pytest.mark.parametrize(("part", "named"), [("test", "z"), ("validation", "no image of part validation")])
def test_what_is_missing_is_named(make_data: MakeData, tmp_path: Path, part: str, named: str) -> None:
    make_data(tmp_path / "data", {"a": {}})
    with pytest.raises(InputError, match=f"names {named}"):
        part_of(tmp_path / "data", _split(tmp_path, ["a,normal,test,a", "z,normal,test,z"]), part)
