"""The canonical data/ layout: what is refused, and that nothing half-written replaces anything."""

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import layout
from pipeline.data.layout import DatasetInfo
from pipeline.errors import InputError

INFO = DatasetInfo("set", "1", "CC0", "nobody", "here", ("normal", "fractured"))


def build(folder: Path, info: DatasetInfo = INFO, force: bool = False, ids: tuple[str, ...] = ("b", "a")) -> None:
    with layout.rebuild(folder, info, force) as building:
        for image_id in ids:
            building.add(image_id, ".png", b"pixels", "fractured", boxes=[(0.1, 0.2, 0.3, 0.4, "fractured")], view="ap")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    build(tmp_path / "data")
    return tmp_path / "data"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_is_written_is_read_back(data: Path) -> None:
    read = layout.read(data)
    assert read.info == INFO
    assert read.labels[["image_id", "file", "label", "view", "region"]].to_numpy().tolist() == [
        ["a", "images/a.png", "fractured", "ap", ""],
        ["b", "images/b.png", "fractured", "ap", ""],
    ]
    assert read.boxes.loc[0, ["x0", "y0", "x1", "y1"]].tolist() == [0.1, 0.2, 0.3, 0.4]


def test_the_same_content_gives_the_same_files(data: Path, tmp_path: Path) -> None:
    build(tmp_path / "again", ids=("a", "b"))
    assert content(tmp_path / "again") == content(data)


def test_a_data_set_without_boxes_is_read(data: Path) -> None:
    (data / "boxes.csv").unlink()
    assert len(layout.read(data).boxes) == 0


def test_a_byte_order_mark_is_accepted(data: Path) -> None:
    path = data / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(layout.read(data).labels) == 2


def test_a_latin_1_table_is_named(data: Path) -> None:
    edit(data / "labels.csv", ",ap,", ",schräg,")
    (data / "labels.csv").write_bytes((data / "labels.csv").read_text(encoding="utf-8").encode("latin-1"))
    with pytest.raises(InputError, match=r"labels\.csv: is not UTF-8 \(byte \d+\); save it"):
        layout.read(data)


def test_an_id_that_stands_twice_is_named_with_its_rows(data: Path) -> None:
    edit(data / "labels.csv", "\nb,images/b", "\na,images/b")
    with pytest.raises(InputError, match=r"labels\.csv: image_id 'a' stands in several rows \(2, 3\)"):
        layout.read(data)


@pytest.mark.parametrize("image_id", ["../a", "", "a b", "-a", "a" * 129])
def test_an_id_that_is_no_plain_name_is_refused(data: Path, image_id: str) -> None:
    edit(data / "labels.csv", "\na,", f"\n{image_id},")
    with pytest.raises(InputError, match="may hold only letters, digits, - and _"):
        layout.read(data)


@pytest.mark.parametrize("file", ["images/../x.png", "/etc/x.png", "x.png", "images\\x.png"])
def test_a_file_outside_images_is_refused(data: Path, file: str) -> None:
    edit(data / "labels.csv", "images/a.png", file)
    with pytest.raises(InputError, match="must lie in images/"):
        layout.read(data)


def test_a_missing_column_is_named(data: Path) -> None:
    edit(data / "labels.csv", "hardware", "metal")
    with pytest.raises(InputError, match=r"labels\.csv: column hardware is missing"):
        layout.read(data)


@pytest.mark.parametrize("text", ["", "a,b\n1,2,3\n4\n1,2,3,4\n"])
def test_a_file_that_is_no_table_is_named(data: Path, text: str) -> None:
    (data / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=r"labels\.csv: "):
        layout.read(data)


@pytest.mark.parametrize("name", ["labels.csv", "dataset.json"])
def test_a_missing_file_is_named(data: Path, name: str) -> None:
    (data / name).unlink()
    with pytest.raises(InputError, match=f"{name}: not found"):
        layout.read(data)


@pytest.mark.parametrize("box", ["0.3,0.2,0.1,0.4", "0.1,0.2,1.3,0.4", "-0.1,0.2,0.3,0.4", "0.1,0.2,0.3,0.2"])
def test_a_box_that_is_no_box_is_named_by_row(data: Path, box: str) -> None:
    edit(data / "boxes.csv", "0.10000,0.20000,0.30000,0.40000", box)
    with pytest.raises(InputError, match=r"boxes\.csv: row 2: a box needs 0 <= x0 < x1 <= 1"):
        layout.read(data)


@pytest.mark.parametrize("value", ["", "left", "nan"])
def test_a_corner_that_is_no_number_is_named_by_row(data: Path, value: str) -> None:
    edit(data / "boxes.csv", "0.10000", value)
    with pytest.raises(InputError, match=rf"boxes\.csv: row 2: x0 '{value}' is not a number"):
        layout.read(data)


def test_a_box_of_an_unknown_image_is_named(data: Path) -> None:
    edit(data / "boxes.csv", "\na,", "\nz,")
    with pytest.raises(InputError, match="image_id 'z' is not in labels"):
        layout.read(data)


@pytest.mark.parametrize("classes", [[], ["normal"], ["a", "a"], "ab"])
def test_fewer_than_two_classes_are_refused(data: Path, classes: Any) -> None:
    raw = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps({**raw, "classes": classes}))
    with pytest.raises(InputError, match="at least two different names"):
        layout.read(data)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_description_is_named(data: Path, text: str) -> None:
    (data / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.json: "):
        layout.read(data)


def test_an_unknown_label_is_refused_while_writing(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="label 'bent' is not one of normal, fractured"),
        layout.rebuild(tmp_path / "data", INFO) as building,
    ):
        building.add("a", ".png", b"", "bent")


def test_another_data_set_is_not_replaced_without_force(data: Path) -> None:
    before = content(data)
    other = DatasetInfo("other", "1", "", "", "", ("normal", "fractured"))
    with pytest.raises(InputError, match=r"holds another data set, set 1 .*; give --force to replace it with other 1"):
        build(data, other)
    assert content(data) == before


def test_foreign_files_are_not_replaced_without_force(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="holds files that no `fracture data` command wrote"):
        build(tmp_path / "data")


def test_an_empty_folder_is_filled_without_force(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    build(tmp_path / "data")
    assert len(layout.read(tmp_path / "data").labels) == 2


def test_another_data_set_is_replaced_with_force(data: Path) -> None:
    build(data, DatasetInfo("other", "1", "", "", "", ("normal", "fractured")), force=True, ids=("c",))
    assert list(layout.read(data).labels["image_id"]) == ["c"]
    assert not (data / "images" / "a.png").exists()


def test_the_same_data_set_is_written_again_without_force(data: Path) -> None:
    build(data, ids=("c",))
    assert list(layout.read(data).labels["image_id"]) == ["c"]


def test_an_error_in_the_block_leaves_the_data_as_it_was(data: Path) -> None:
    before = content(data)
    with pytest.raises(InputError, match="not one of"), layout.rebuild(data, INFO) as building:
        building.add("c", ".png", b"", "bent")
    assert content(data) == before
    assert sorted(path.name for path in data.parent.iterdir()) == [".data.lock", "data"]


def test_an_id_added_twice_leaves_the_data_as_it_was(data: Path) -> None:
    before = content(data)
    with pytest.raises(InputError, match="stands in several rows"):
        build(data, ids=("c", "c"))
    assert content(data) == before


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 256 KiB where mounting is permitted, else a folder where large writes fail likewise."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount and umount:
        command = [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            yield disk
            subprocess.run([umount, disk], check=True)
            return
    whole = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if len(data) > 256 << 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    yield disk


def test_a_full_disk_leaves_the_data_as_it_was(small_disk: Path) -> None:
    data = small_disk / "data"
    build(data)
    before = content(data)
    with pytest.raises(OSError, match="No space left") as caught, layout.rebuild(data, INFO) as building:
        building.add("c", ".png", bytes(300_000), "normal")
    assert caught.value.filename is not None
    assert content(data) == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The administrator may write into a read-only folder, so the refusal is brought about at the call."""
    (tmp_path / "home").mkdir(mode=0o500)

    def refuse(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError) as caught:
        build(tmp_path / "home" / "data")
    assert str(tmp_path / "home") in str(caught.value.filename)


def test_a_process_killed_between_the_two_renames_loses_nothing(data: Path) -> None:
    before = content(data)
    data.rename(data.with_name(".data.retired"))
    with pytest.raises(InputError, match="not one of"), layout.rebuild(data, INFO) as building:
        building.add("c", ".png", b"", "bent")
    assert content(data) == before


def test_a_killed_process_leaves_the_data_as_it_was_and_the_next_one_tidies_up(data: Path) -> None:
    before = content(data)
    script = (
        "import os, sys; from pathlib import Path; from pipeline.data import layout\n"
        "info = layout.DatasetInfo('set', '1', 'CC0', 'nobody', 'here', ('normal', 'fractured'))\n"
        "with layout.rebuild(Path(sys.argv[1]), info) as building:\n"
        "    building.add('c', '.png', b'', 'normal'); os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, data], cwd=Path(layout.__file__).parents[2], check=False)
    assert done.returncode == 9
    assert content(data) == before
    build(data)
    assert sorted(path.name for path in data.parent.iterdir()) == [".data.lock", "data"]


def test_two_commands_cannot_fill_the_same_folder_at_once(tmp_path: Path) -> None:
    info = DatasetInfo("set", "1", "CC0", "nobody", "drawn", ("normal", "fractured"))
    refused = pytest.raises(InputError, match="another command is filling data/")
    with layout.rebuild(tmp_path / "data", info), refused, layout.rebuild(tmp_path / "data", info):
        pass


def test_a_column_that_stands_twice_in_the_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,patient_id,patient_id\na,1,2\n")
    with pytest.raises(InputError, match="column patient_id stands in the header more than once"):
        layout.read_table(tmp_path / "t.csv", ["file"])
