"""A folder of class-named folders: neutral ids, no names, and one clear line for whatever cannot be used."""

import io
import os
import stat
import unicodedata
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from PIL import Image

from pipeline.data import layout
from pipeline.data.sources import folder
from pipeline.errors import InputError
from tests.serving.imaging.dicom.builders import radiograph

PATIENT = "Doe_Jane"


def jpeg(grey: int = 0, turned: int = 1, size: tuple[int, int] = (20, 10)) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = turned
    exif[0x010E] = PATIENT
    buffer = io.BytesIO()
    Image.new("L", size, grey).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """One fractured and one normal radiograph, both named after a patient."""
    for i, name in enumerate(("fractured", "normal")):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / f"{PATIENT}_{i}.jpg").write_bytes(jpeg(grey=100 * i))
    return tmp_path / "set"


def fill(
    source: Path,
    *,
    normal: str | None = None,
    table: str | None = None,
    boxes: str | None = None,
    keep_split: bool = False,
    force: bool = False,
) -> layout.Dataset:
    """Run the source beside its folder; `table` and `boxes` are the text of the files."""
    root = source.parent
    for name, text in (("table.csv", table), ("boxes.csv", boxes)):
        if text is not None:
            (root / name).write_text(text)
    folder.fill(
        root / "data",
        source,
        normal=normal,
        table=root / "table.csv" if table is not None else None,
        boxes=root / "boxes.csv" if boxes is not None else None,
        keep_split=keep_split,
        force=force,
        private_dir=root / "private",
    )
    return layout.read(root / "data")


def names(source: Path) -> pd.DataFrame:
    return pd.read_csv(source.parent / "private" / "set-names.csv", dtype=str, keep_default_na=False)


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


def test_the_label_is_the_class_folder(source: Path) -> None:
    assert sorted(fill(source).labels["label"]) == ["fractured", "normal"]


def test_nothing_in_data_names_the_patient(source: Path) -> None:
    fill(source)
    for path in (source.parent / "data").rglob("*"):
        assert PATIENT not in path.name
        assert path.is_dir() or PATIENT.encode() not in path.read_bytes()


def test_nothing_printed_names_the_patient(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (source / "normal" / f"{PATIENT}.txt").write_text("")
    fill(source, table=f"file,patient\n{PATIENT}_0.jpg,{PATIENT}\n")
    assert PATIENT not in "".join(capfd.readouterr())


def test_pixels_are_untouched(source: Path) -> None:
    data = fill(source)
    row = data.labels[data.labels["label"] == "normal"].iloc[0]
    with Image.open(data.folder / row["file"]) as written, Image.open(source / "normal" / f"{PATIENT}_1.jpg") as own:
        assert written.tobytes() == own.tobytes()


def test_the_private_table_says_who_is_who(source: Path) -> None:
    data = fill(source)
    table = names(source)
    assert sorted(table["original"]) == [f"fractured/{PATIENT}_0.jpg", f"normal/{PATIENT}_1.jpg"]
    assert set(table["image_id"]) == set(data.labels["image_id"])


def test_the_private_table_is_for_its_owner_only(source: Path) -> None:
    fill(source)
    private = source.parent / "private"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (private, private / "set-names.csv")]
    assert modes == [0o700, 0o600]


def test_the_private_folder_is_not_tracked(source: Path) -> None:
    fill(source)
    assert (source.parent / "private" / ".gitignore").read_text() == "*\n"


def test_the_private_table_must_not_lie_in_the_data(source: Path) -> None:
    with pytest.raises(InputError, match="must lie outside"):
        folder.fill(source.parent / "data", source, private_dir=source.parent / "data" / "private")


def test_images_inside_the_data_folder_are_refused(source: Path) -> None:
    with pytest.raises(InputError, match="lie in each other"):
        folder.fill(source.parent, source, private_dir=source.parent / "private")


def test_ids_depend_on_the_content_not_on_the_name(source: Path) -> None:
    first = fill(source).labels
    (source / "normal" / f"{PATIENT}_1.jpg").rename(source / "normal" / "other.JPEG")
    assert fill(source, force=True).labels.equals(first)


def test_identical_images_get_ids_of_their_own(source: Path) -> None:
    (source / "normal" / "again.jpg").write_bytes(jpeg(grey=100))
    ids = set(fill(source).labels["image_id"])
    assert len(ids) == 3
    assert any(name.endswith("-2") for name in ids)


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


def test_an_empty_file_goes_in_for_validation_to_judge(source: Path) -> None:
    (source / "normal" / "empty.jpg").write_bytes(b"")
    assert len(fill(source).labels) == 3


def test_a_truncated_image_goes_in_for_validation_to_judge(source: Path) -> None:
    (source / "normal" / "cut.jpg").write_bytes(jpeg(50)[:-20])
    assert len(fill(source).labels) == 3


def test_files_of_unknown_format_are_listed_in_the_private_folder_only(source: Path) -> None:
    (source / "normal" / f"{PATIENT}.jpg").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"a file cannot be used .* move what .*set-refused\.csv lists out") as caught:
        fill(source)
    assert PATIENT not in str(caught.value)
    assert PATIENT in (source.parent / "private" / "set-refused.csv").read_text()
    assert not (source.parent / "data").exists()


def test_a_link_out_of_the_folder_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.jpg").write_bytes(jpeg(50))
    (source / "normal" / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(InputError, match="symbolic link that leads out of the folder"):
        fill(source)


def test_a_link_to_a_folder_is_refused(source: Path) -> None:
    (source / "normal" / "again").symlink_to(source / "fractured")
    with pytest.raises(InputError, match="symbolic link to a folder"):
        fill(source)


def test_the_table_gives_columns_under_their_usual_names(source: Path) -> None:
    text = f"File Name,Body part,projection,Implant,site\nnormal/{PATIENT}_1.jpg,hand,frontal,1,north\n"
    labels = fill(source, table=text).labels.set_index("label")
    assert labels.loc["normal", ["region", "view", "hardware", "site"]].tolist() == ["hand", "frontal", "1", "north"]


def test_files_without_a_row_have_empty_cells_and_are_counted(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = fill(source, table=f"file,region\n{PATIENT}_1.jpg,hand\n").labels.set_index("label")
    assert labels.loc["fractured", "region"] == ""
    assert "without a row in the table, so with empty cells: 1 file" in capsys.readouterr().err


def test_patients_and_studies_get_pseudonyms(source: Path) -> None:
    text = f"file,patient,study\n{PATIENT}_0.jpg,{PATIENT},A1\n{PATIENT}_1.jpg,{PATIENT},A2\n"
    labels = fill(source, table=text).labels
    assert set(labels["patient_id"]) == {"p0001"}
    assert set(labels["study_id"]) == {"s0001", "s0002"}
    assert set(names(source)["original_patient_id"]) == {PATIENT}


def test_a_patient_keeps_the_pseudonym_when_images_are_added(source: Path) -> None:
    text = f"file,patient_id\n{PATIENT}_0.jpg,Q\n{PATIENT}_1.jpg,B\n"
    before = fill(source, table=text).labels.set_index("image_id")["patient_id"]
    for grey in range(3, 9):
        (source / "normal" / f"{grey}.jpg").write_bytes(jpeg(grey * 20 + 7))
        text += f"{grey}.jpg,N{grey}\n"
    after = fill(source, table=text, force=True).labels.set_index("image_id")["patient_id"]
    assert after[before.index].equals(before)
    assert after.nunique() == 8


@pytest.mark.parametrize(
    "column",
    [
        "name",
        "Patient Name",
        "birth_date",
        "AccessionNumber",
        "dob",
        "study date",
        "Patient No",
        "pat_id",
        "nhs number",
        "Initials",
        "comment",
        "hospital_no",
    ],
)
def test_a_column_that_may_identify_a_patient_is_refused(source: Path, column: str) -> None:
    with pytest.raises(InputError, match=f"column {column}: may identify a patient"):
        fill(source, table=f"file,{column}\n{PATIENT}_0.jpg,x\n")


@pytest.mark.parametrize("column", ["label", "image_id", "content"])
def test_a_column_the_command_writes_itself_is_refused(source: Path, column: str) -> None:
    with pytest.raises(InputError, match=f"column {column}: is written by this command itself"):
        fill(source, table=f"file,{column}\n{PATIENT}_0.jpg,x\n")


def test_two_columns_of_one_meaning_are_refused(source: Path) -> None:
    with pytest.raises(InputError, match="several columns mean region"):
        fill(source, table=f"file,region,body_part\n{PATIENT}_0.jpg,x,y\n")


def test_a_table_without_files_is_refused(source: Path) -> None:
    with pytest.raises(InputError, match="column file is missing"):
        fill(source, table="region\nhand\n")


def test_a_row_without_a_file_is_named_by_number(source: Path) -> None:
    with pytest.raises(InputError, match="row 3: no class folder holds this image") as caught:
        fill(source, table=f"file\n{PATIENT}_0.jpg\n{PATIENT}_9.jpg\n")
    assert PATIENT not in str(caught.value)


def test_two_rows_about_one_file_are_named(source: Path) -> None:
    with pytest.raises(InputError, match="rows 2 and 3 are about the same file"):
        fill(source, table=f"file\n{PATIENT}_0.jpg\nfractured/{PATIENT}_0.jpg\n")


def test_a_file_name_that_stands_in_two_classes_needs_its_path(source: Path) -> None:
    (source / "normal" / f"{PATIENT}_0.jpg").write_bytes(jpeg(50))
    with pytest.raises(InputError, match="row 2: 2 images have this name"):
        fill(source, table=f"file\n{PATIENT}_0.jpg\n")


def corners(data: layout.Dataset) -> list[float]:
    return [float(data.boxes.iloc[0][corner]) for corner in ("x0", "y0", "x1", "y1")]


def test_boxes_may_be_fractions(source: Path) -> None:
    data = fill(source, boxes=f"file,x0,y0,x1,y1\n{PATIENT}_0.jpg,0.1,0.2,0.3,1\n")
    assert corners(data) == [0.1, 0.2, 0.3, 1.0]
    assert data.boxes["label"].tolist() == ["fractured"]


def test_boxes_may_be_pixels_of_the_upright_image(source: Path) -> None:
    (source / "fractured" / f"{PATIENT}_0.jpg").write_bytes(jpeg(turned=6))
    data = fill(source, boxes=f"file,x0,y0,x1,y1,label\n{PATIENT}_0.jpg,1,2,5,20,cleft\n")
    assert corners(data) == [0.1, 0.1, 0.5, 1.0]
    assert data.boxes["label"].tolist() == ["cleft"]


@pytest.mark.parametrize("box", ["0.5,0,0.5,1", "-0.1,0,1,1", "0,0,21,5", "0.6,0,0.5,1", "nan,0,1,1"])
def test_a_box_outside_its_image_is_named_by_row(source: Path, box: str) -> None:
    with pytest.raises(InputError, match="row 2: the box must lie in the upright image"):
        fill(source, boxes=f"file,x0,y0,x1,y1\n{PATIENT}_0.jpg,{box}\n")


def test_a_corner_that_is_no_number_is_named_by_row(source: Path) -> None:
    with pytest.raises(InputError, match="row 2: x0, y0, x1 and y1 must be numbers"):
        fill(source, boxes=f"file,x0,y0,x1,y1\n{PATIENT}_0.jpg,a,0,1,1\n")


def test_pixels_of_an_image_whose_size_cannot_be_read_are_refused(source: Path) -> None:
    (source / "fractured" / f"{PATIENT}_0.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="row 2: the size of this image cannot be read"):
        fill(source, boxes=f"file,x0,y0,x1,y1\n{PATIENT}_0.jpg,1,2,3,4\n")


def test_other_images_are_another_data_set(source: Path) -> None:
    fill(source)
    (source / "normal" / "new.jpg").write_bytes(jpeg(50))
    with pytest.raises(InputError, match="give --force to replace it"):
        fill(source)


def test_the_same_images_are_written_again_without_force(source: Path) -> None:
    assert fill(source).info == fill(source).info


@pytest.mark.skipif(not os.environ.get("DICOM_SAMPLES"), reason="DICOM_SAMPLES does not say where the files are")
def test_dicom_headers_group_images_by_patient(source: Path) -> None:
    for i, path in enumerate(sorted(Path(os.environ["DICOM_SAMPLES"]).glob("*.dcm"))):
        (source / "normal" / f"1000{i}").write_bytes(path.read_bytes())
    labels = fill(source).labels
    dicom = labels[labels["file"].str.endswith(".dcm")]
    assert sorted(dicom["patient_id"]) == ["p0001", "p0002"]
    assert b"CompressedSamples" not in b"".join(
        path.read_bytes() for path in layout.read(source.parent / "data").image_files()
    )


# Folders of a given split


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Folders train and test, each with two classes, one in other words, and what file managers leave there."""
    for number, name in enumerate(
        ["train/fractured/a.jpg", "train/not fractured/b.jpg", "test/fractured/c.jpg", "test/not_fractured/d.jpg"]
    ):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(jpeg(grey=60 * number))
        (path.parent / "desktop.ini").write_text("[.ShellClassInfo]")
    return tmp_path / "set"


def test_the_classes_in_folders_of_a_split_are_the_classes(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = fill(given)
    assert data.info.classes == ("not fractured", "fractured")
    assert "given_part" not in data.labels
    said = capsys.readouterr().err
    assert "folders of a given split (2 test, 2 train), which is not kept" in said
    assert "taken for one class, not fractured: not fractured, not_fractured" in said
    assert "no images, so left out: 4 files" in said


def test_a_given_split_is_kept_when_asked(given: Path) -> None:
    labels = fill(given, keep_split=True).labels
    assert sorted(labels["given_part"]) == ["test", "test", "train", "train"]


def test_a_split_that_is_not_there_cannot_be_kept(source: Path) -> None:
    with pytest.raises(InputError, match="has no folders train and test that hold the classes; leave --keep-split out"):
        fill(source, keep_split=True)


# Files that cannot be used


Form = Literal["NFC", "NFD"]


def many(source: Path, count: int = 100) -> None:
    for number in range(count):
        (source / "normal" / f"{number}.jpg").write_bytes(jpeg(size=(20 + number, 10)))


def test_a_bad_file_among_many_is_left_out_with_a_line(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many(source)
    (source / "fractured" / f"{PATIENT}.jpg").write_bytes(b"GIF89a" + bytes(99))
    data = fill(source)
    assert len(data.labels) == 102
    said = capsys.readouterr().err
    assert "left out: a file that is a GIF picture, which is not read; save it as PNG; " in said
    assert PATIENT not in said
    assert PATIENT in (source.parent / "private" / "set-refused.csv").read_text()


def test_many_bad_files_are_a_mistake_of_the_folder(source: Path) -> None:
    many(source)
    for number in range(2):
        (source / "fractured" / f"bad{number}.jpg").write_bytes(b"GIF89a" + bytes(99))
    with pytest.raises(InputError, match="2 files cannot be used"):
        fill(source)


# Tables as spreadsheets and scripts write them


def rows(separator: str) -> str:
    cells = [
        ["file", "patient_id", "view"],
        [f"fractured/{PATIENT}_0.jpg", "P1", "AP"],
        [f"{PATIENT}_1.jpg", "P2", "lateral"],
    ]
    return "\n".join(separator.join(row) for row in cells)


@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_a_table_may_have_any_usual_separator(source: Path, separator: str) -> None:
    assert sorted(fill(source, table=rows(separator)).labels["view"]) == ["AP", "lateral"]


def test_a_table_may_begin_with_a_byte_order_mark(source: Path) -> None:
    assert sorted(fill(source, table="\ufeff" + rows(";")).labels["view"]) == ["AP", "lateral"]


@pytest.mark.parametrize("header", ["", "Unnamed: 0", "index"])
def test_the_row_numbers_of_pandas_are_no_column(source: Path, header: str) -> None:
    head, *lines = rows(",").splitlines()
    table = "\n".join([f"{header},{head}", *(f"{number},{line}" for number, line in enumerate(lines))])
    assert sorted(fill(source, table=table).labels["view"]) == ["AP", "lateral"]


def test_a_column_without_a_name_that_holds_something_else_is_refused(source: Path) -> None:
    head, *lines = rows(",").splitlines()
    table = "\n".join([f",{head}", *(f"{number + 7},{line}" for number, line in enumerate(lines))])
    with pytest.raises(InputError, match="column"):
        fill(source, table=table)


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_the_same_however_their_accents_are_written(source: Path, on_disk: Form, in_table: Form) -> None:
    (source / "fractured" / unicodedata.normalize(on_disk, "M\u00fcller.jpg")).write_bytes(jpeg(grey=7))
    table = "file,view\nfractured/" + unicodedata.normalize(in_table, "M\u00fcller.jpg") + ",oblique\n"
    assert sorted(fill(source, table=table).labels["view"]) == ["", "", "oblique"]


def test_a_table_of_boxes_may_have_semicolons_and_decimal_commas(source: Path) -> None:
    boxes = f"file;x0;y0;x1;y1\nfractured/{PATIENT}_0.jpg;0,25;0,5;0,75;1\n"
    found = fill(source, boxes=boxes).boxes
    assert found[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[0.25, 0.5, 0.75, 1.0]]


# The same files as the service


def test_a_bare_data_set_without_a_suffix_is_an_image(source: Path) -> None:
    whole = radiograph()
    (source / "fractured" / "IM0001").write_bytes(whole[144 + int.from_bytes(whole[140:144], "little") :])
    assert len(fill(source).labels) == 3


def test_webp_is_an_image(source: Path) -> None:
    Image.new("L", (20, 10), 7).save(source / "fractured" / "c.webp")
    assert sorted(fill(source).labels["file"].str.rsplit(".").str[-1]) == ["jpg", "jpg", "webp"]
