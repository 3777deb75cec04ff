"""The image files of a folder, and which class is the normal one."""

from pathlib import Path

import pytest
from PIL import Image

from pipeline.data.sources import folder
from pipeline.errors import InputError
from tests.pipeline.data.sources.folder.builders import SLOPE, fill, jpeg
from tests.serving.imaging.dicom.builders import radiograph


@pytest.mark.parametrize(
    "name", ["normal", "Negative", "not fractured", "Non_fractured", "NO-FRACTURE", "healthy", "nofracture"]
)
def test_the_normal_class_is_recognised_by_its_name_and_comes_first(name: str) -> None:
    assert folder.order_classes(["a break", name], None, Path("set")) == (name, "a break")


def test_a_normal_class_that_is_not_recognised_is_asked_for() -> None:
    with pytest.raises(InputError, match="which of the classes class0, class1 is the normal one"):
        folder.order_classes(["class1", "class0"], None, Path("set"))


def test_two_likely_normal_classes_are_asked_about() -> None:
    with pytest.raises(InputError, match="--normal NAME"):
        folder.order_classes(["normal", "healthy", "fractured"], None, Path("set"))


def test_the_normal_class_can_be_named() -> None:
    assert folder.order_classes(["b", "a", "c"], "C", Path("set")) == ("c", "a", "b")


def test_a_normal_class_that_is_not_there_is_one_line() -> None:
    with pytest.raises(InputError, match="--normal x: is not one of the class folders a, b"):
        folder.order_classes(["a", "b"], "x", Path("set"))


def test_one_class_is_too_few() -> None:
    with pytest.raises(InputError, match="one folder a class, at least two"):
        folder.order_classes(["a", "a"], None, Path("set"))


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: is no folder"):
        fill(tmp_path / "none")


def test_nested_folders_belong_to_their_class(source: Path) -> None:
    (source / "normal" / "2024" / "may").mkdir(parents=True)
    (source / "normal" / "2024" / "may" / "a.PNG").write_bytes(jpeg(grey=50))
    data = fill(source)
    assert list(data.labels["label"]).count("normal") == 2


def test_a_file_that_is_no_image_is_counted(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "normal" / "Thumbs.db").write_bytes(b"x")
    (source / "normal" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    fill(source)
    assert "no images, so left out: 2 files" in capsys.readouterr().err


def test_an_image_outside_the_class_folders_is_counted(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "a.jpg").write_bytes(jpeg())
    fill(source)
    assert "in no class folder, so left out: 1 file" in capsys.readouterr().err


def test_a_link_out_of_the_folder_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.jpg").write_bytes(jpeg(50))
    (source / "normal" / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(InputError, match="symbolic link that leads out of the folder"):
        fill(source)


def test_a_link_to_a_folder_is_refused(source: Path) -> None:
    (source / "normal" / "again").symlink_to(source / "fractured")
    with pytest.raises(InputError, match="symbolic link to a folder"):
        fill(source)


def test_a_bare_data_set_without_a_suffix_is_an_image(source: Path) -> None:
    whole = radiograph(SLOPE)
    (source / "fractured" / "IM0001").write_bytes(whole[144 + int.from_bytes(whole[140:144], "little") :])
    assert len(fill(source).labels) == 3


def test_webp_is_an_image(source: Path) -> None:
    Image.linear_gradient("L").save(source / "fractured" / "c.webp")
    assert sorted(fill(source).labels["file"].str.rsplit(".").str[-1]) == ["jpg", "jpg", "webp"]
