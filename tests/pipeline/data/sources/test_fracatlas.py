"""FracAtlas: the published archive, in good order and in every kind of disorder."""

import errno
import io
import json
import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from pipeline.data import layout
from pipeline.data.sources import fracatlas
from pipeline.data.sources.download import PublishedFile
from pipeline.errors import InputError

ARCHIVE = os.environ.get("FRACATLAS_ARCHIVE", "")
real_data = pytest.mark.skipif(not ARCHIVE, reason="FRACATLAS_ARCHIVE does not say where the published archive is")

HEADER = "image_id,hand,leg,hip,shoulder,mixed,hardware,multiscan,fractured,fracture_count,frontal,lateral,oblique"
FRACTURED = "IMG0000001.jpg,1,0,0,1,1,1,0,1,1,1,1,0"
NORMAL = "IMG0000002.jpg,0,1,0,0,0,0,1,0,0,1,0,0"
YOLO = "Annotations/YOLO/IMG0000001.txt"
TABLE = "dataset.csv"
FIRST, SECOND = "images/Fractured/IMG0000001.jpg", "images/Non_fractured/IMG0000002.jpg"
COCO = {
    "images": [{"id": 1, "width": 200, "height": 100, "file_name": "IMG0000001.jpg"}],
    "annotations": [{"image_id": 1, "segmentation": [[80, 40, 120, 40, 120, 60, 80, 60]]}],
}


def members(**changes: bytes | None) -> dict[str, bytes]:
    """The smallest whole archive: one fractured and one normal radiograph."""
    whole: dict[str, bytes | None] = {
        TABLE: f"{HEADER}\n{FRACTURED}\n{NORMAL}\n".encode(),
        FIRST: b"first picture",
        SECOND: b"second picture",
        YOLO: b"0 0.5 0.5 0.2 0.2\n",
        "Annotations/YOLO/IMG0000002.txt": b"",
        fracatlas.COCO: json.dumps(COCO).encode(),
    }
    return {name: content for name, content in {**whole, **changes}.items() if content is not None}


def packed(path: Path, content: Mapping[str, bytes], top: str = "FracAtlas/") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(f"{top}{name}", data)
    return path


def filled(tmp_path: Path, content: Mapping[str, bytes], top: str = "FracAtlas/") -> layout.Dataset:
    fracatlas.fill(tmp_path / "data", packed(tmp_path / "set.zip", content, top))
    return layout.read(tmp_path / "data")


def test_without_an_archive_the_largest_listed_zip_is_downloaded_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path / "set.zip", members())
    asked = []

    def fetch(url: str, target: Path, size: int, md5: str) -> Path:
        asked.append((url, target, size, md5))
        return archive

    files = [PublishedFile(name, size, "0" * 32, name) for name, size in (("a.txt", 9), ("b.zip", 3), ("c.zip", 2))]
    monkeypatch.setattr(fracatlas, "listing", lambda url: files)
    monkeypatch.setattr(fracatlas, "fetch", fetch)
    fracatlas.fill(tmp_path / "data", url="http://127.0.0.1/articles/1", downloads=tmp_path / "kept")
    assert asked == [("b.zip", tmp_path / "kept" / "b.zip", 3, "0" * 32)]


def complaint(tmp_path: Path, content: Mapping[str, bytes]) -> str:
    """The one line for an archive; data/ must not have come to be."""
    with pytest.raises(InputError) as caught:
        filled(tmp_path, content)
    assert not (tmp_path / "data").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_labels_come_from_the_table(tmp_path: Path) -> None:
    assert list(filled(tmp_path, members()).labels["label"]) == ["fractured", "normal"]


def test_several_regions_and_views_are_joined(tmp_path: Path) -> None:
    row = filled(tmp_path, members()).labels.iloc[0]
    assert (row["region"], row["view"]) == ("hand;shoulder", "frontal;lateral")


def test_hardware_multiscan_and_count_are_kept(tmp_path: Path) -> None:
    labels = filled(tmp_path, members()).labels
    assert labels[["hardware", "multiscan", "fracture_count"]].to_numpy().tolist() == [["1", "0", "1"], ["0", "1", "0"]]


def test_images_are_written_byte_for_byte(tmp_path: Path) -> None:
    filled(tmp_path, members())
    assert (tmp_path / "data" / "images" / "IMG0000001.jpg").read_bytes() == b"first picture"


def test_boxes_are_corners_in_fractions(tmp_path: Path) -> None:
    row = filled(tmp_path, members()).boxes.iloc[0]
    assert [row[corner] for corner in ("x0", "y0", "x1", "y1")] == pytest.approx([0.4, 0.4, 0.6, 0.6])


def test_a_polygon_is_in_fractions_of_the_published_size(tmp_path: Path) -> None:
    polygon = filled(tmp_path, members()).boxes["polygon"].iloc[0]
    assert polygon == "0.40000 0.40000;0.60000 0.40000;0.60000 0.60000;0.40000 0.60000"


def test_a_polygon_of_another_place_is_given_to_no_box() -> None:
    assert fracatlas.match_polygons([(0.1, 0.1, 0.2, 0.2)], [[0.5, 0.5, 0.6, 0.5, 0.6, 0.6]]) == ("",)


def test_polygons_follow_the_order_of_the_boxes() -> None:
    near, far = [0.1, 0.1, 0.2, 0.1, 0.2, 0.2], [0.5, 0.5, 0.6, 0.5, 0.6, 0.6]
    first, second = fracatlas.match_polygons([(0.1, 0.1, 0.2, 0.2), (0.5, 0.5, 0.6, 0.6)], [far, near])
    assert first.startswith("0.1")
    assert second.startswith("0.5")


def test_a_box_is_clipped_to_the_image() -> None:
    assert fracatlas.read_yolo("x.txt", "0 0.05 0.5 0.2 1.2")[0] == pytest.approx((0.0, 0.0, 0.15, 1.0))


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.1", "a b c d e", "0 1.5 0.5 0.1 0.1", "0 0.5 0.5 0 0.1", "0 nan 1 1 1"])
def test_a_line_that_is_no_box_is_named(line: str) -> None:
    with pytest.raises(InputError, match=r"^x\.txt line 2: "):
        fracatlas.read_yolo("x.txt", f"0 0.5 0.5 0.1 0.1\n{line}\n")


def test_a_radiograph_that_is_counted_boxed_and_filed_as_fractured_is_fractured_and_noted(tmp_path: Path) -> None:
    table = f"{HEADER}\n{FRACTURED.replace(',1,1,1,1,0', ',0,1,1,1,0')}\n{NORMAL}\n".encode()
    row = filled(tmp_path, members(**{TABLE: table})).labels.iloc[0]
    assert row["label"] == "fractured"
    assert row["note"] == "conflict: fractured=0, fracture_count=1, 1 box, folder Fractured; taken as fractured"


def test_a_radiograph_without_contradiction_has_no_note(tmp_path: Path) -> None:
    assert list(filled(tmp_path, members()).labels["note"]) == ["", ""]


@pytest.mark.parametrize("top", ["", "FracAtlas/", "some/other folder/"])
def test_the_top_folder_may_have_any_name(tmp_path: Path, top: str) -> None:
    assert len(filled(tmp_path, members(), top).labels) == 2


def test_a_table_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    assert len(filled(tmp_path, members(**{TABLE: b"\xef\xbb\xbf" + members()[TABLE]})).labels) == 2


def test_a_row_without_a_file_is_named(tmp_path: Path) -> None:
    assert "dataset.csv row 3: image 'IMG0000002.jpg' is not in images/" in complaint(
        tmp_path, members(**{SECOND: None})
    )


def test_a_file_without_a_row_is_named(tmp_path: Path) -> None:
    line = complaint(tmp_path, members(**{TABLE: f"{HEADER}\n{FRACTURED}\n".encode()}))
    assert "1 images have no row in dataset.csv, the first is images/Non_fractured/IMG0000002.jpg" in line


def test_a_row_that_names_a_path_is_refused(tmp_path: Path) -> None:
    table = f"{HEADER}\n{FRACTURED.replace('IMG', '../IMG')}\n".encode()
    assert "row 2: image '../IMG0000001.jpg' is not in images/" in complaint(tmp_path, members(**{TABLE: table}))


def test_a_row_that_stands_twice_is_named(tmp_path: Path) -> None:
    table = f"{HEADER}\n{FRACTURED}\n{FRACTURED}\n".encode()
    assert "row 3: image 'IMG0000001.jpg' stands in row 2 already" in complaint(tmp_path, members(**{TABLE: table}))


def test_a_flag_that_is_neither_0_nor_1_is_named(tmp_path: Path) -> None:
    table = f"{HEADER}\n{FRACTURED.replace('jpg,1', 'jpg,yes')}\n".encode()
    assert "row 2: hand is 'yes'; it must be 0 or 1" in complaint(tmp_path, members(**{TABLE: table}))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    assert "column hardware is missing" in complaint(
        tmp_path, members(**{TABLE: members()[TABLE].replace(b"hardware", b"metal")})
    )


def test_a_table_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    assert "dataset.csv is not UTF-8" in complaint(tmp_path, members(**{TABLE: b"\xff\xfe,\n"}))


@pytest.mark.parametrize(
    ("member", "line"),
    [
        (TABLE, "holds no dataset.csv"),
        (fracatlas.COCO, "COCO_fracture_masks.json is missing"),
        (YOLO, "Annotations/YOLO/IMG0000001.txt is missing"),
    ],
)
def test_a_missing_member_is_named(tmp_path: Path, member: str, line: str) -> None:
    assert line in complaint(tmp_path, members(**{member: None}))


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"images": [], "annotations": [{}]}'])
def test_a_broken_annotation_file_is_named(tmp_path: Path, content: bytes) -> None:
    assert "is not a COCO annotation file" in complaint(tmp_path, members(**{fracatlas.COCO: content}))


@pytest.mark.parametrize("name", ["../../etc/evil", "/etc/evil", "a\\..\\evil", "C:evil"])
def test_a_member_that_points_out_of_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    archive = packed(tmp_path / "set.zip", {**{f"FracAtlas/{k}": v for k, v in members().items()}, name: b""}, top="")
    with pytest.raises(InputError, match="points out of the archive"):
        fracatlas.fill(tmp_path / "data", archive)


def test_a_symbolic_link_in_the_archive_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("FracAtlas/images/Fractured/IMG0000003.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = packed(tmp_path / "set.zip", members())
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(link, "/etc/hostname")
    with pytest.raises(InputError, match="is a symbolic link"):
        fracatlas.fill(tmp_path / "data", archive)


def test_an_image_in_both_folders_is_refused(tmp_path: Path) -> None:
    twice = members(**{"images/Non_fractured/IMG0000001.jpg": b""})
    assert "IMG0000001.jpg lies in two folders" in complaint(tmp_path, twice)


def test_a_member_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fracatlas, "MAX_MEMBER_BYTES", 1000)
    assert "absurd size" in complaint(tmp_path, members(**{FIRST: bytes(1001)}))


def test_an_archive_cut_in_the_middle_is_one_line(tmp_path: Path) -> None:
    archive = packed(tmp_path / "set.zip", members())
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(InputError, match=r"set\.zip: is no complete zip archive"):
        fracatlas.fill(tmp_path / "data", archive)


def test_an_archive_without_its_beginning_is_one_line(tmp_path: Path) -> None:
    archive = packed(tmp_path / "set.zip", members())
    archive.write_bytes(archive.read_bytes()[-400:])
    with pytest.raises(InputError, match=r"set\.zip: "):
        fracatlas.fill(tmp_path / "data", archive)


def test_a_damaged_member_is_named_and_leaves_the_data_as_it_was(tmp_path: Path) -> None:
    filled(tmp_path, members())
    archive = tmp_path / "set.zip"
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        info = opened.getinfo(f"FracAtlas/{SECOND}")
    content[info.header_offset + 30 + len(info.filename) + 3] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"IMG0000002\.jpg is damaged"):
        fracatlas.fill(tmp_path / "data", archive, force=True)
    assert len(layout.read(tmp_path / "data").labels) == 2


@pytest.mark.parametrize(("name", "line"), [("none.zip", "not found"), (".", "is a folder")])
def test_an_archive_that_is_not_there_is_one_line(tmp_path: Path, name: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        fracatlas.fill(tmp_path / "data", tmp_path / name)


def test_archive_and_address_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exclude each other"):
        fracatlas.fill(tmp_path / "data", tmp_path / "set.zip", "http://127.0.0.1/")


def test_a_full_disk_leaves_the_data_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, members())
    before = (tmp_path / "data" / "labels.csv").read_bytes()
    whole = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "IMG0000002.jpg":
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as caught:
        fracatlas.fill(tmp_path / "data", tmp_path / "set.zip", force=True)
    assert caught.value.filename == str(tmp_path / "data")
    assert (tmp_path / "data" / "labels.csv").read_bytes() == before


def test_another_archive_is_another_data_set(tmp_path: Path) -> None:
    filled(tmp_path, members())
    with pytest.raises(InputError, match="holds another data set"):
        filled(tmp_path, members(**{FIRST: b"a newer picture"}))


@real_data
def test_the_published_archive_contradicts_itself_about_one_radiograph_only() -> None:
    with fracatlas.Archive(Path(ARCHIVE)) as archive:
        radiographs = fracatlas.read_radiographs(archive)
    assert [radiograph.image_id for radiograph in radiographs if radiograph.label()[1]] == ["IMG0003298"]


@real_data
def test_every_published_box_has_its_polygon() -> None:
    with fracatlas.Archive(Path(ARCHIVE)) as archive:
        radiographs = fracatlas.read_radiographs(archive)
    polygons = [polygon for radiograph in radiographs for polygon in radiograph.polygons]
    assert polygons
    assert all(polygons)


@real_data
def test_the_published_annotations_are_those_of_the_upright_picture() -> None:
    with fracatlas.Archive(Path(ARCHIVE)) as archive:
        coco = json.loads(archive.text(fracatlas.COCO))
        sizes = {image["file_name"]: (image["width"], image["height"]) for image in coco["images"]}
        turned = 0
        for name, (width, height) in sizes.items():
            with Image.open(io.BytesIO(archive.read(f"images/Fractured/{name}"))) as image:
                if image.getexif().get(274) in (6, 8):
                    turned += 1
                    assert (image.height > image.width) == (width > height)
    assert turned
