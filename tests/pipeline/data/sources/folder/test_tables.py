"""What the user's tables say of the images: usual names and separators, and one clear line for what cannot be used."""

import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from pipeline.data import layout
from pipeline.errors import InputError
from tests.pipeline.data.sources.folder.builders import PATIENT, fill, jpeg

Form = Literal["NFC", "NFD"]


def test_the_table_gives_columns_under_their_usual_names(source: Path) -> None:
    text = f"File Name,Body part,projection,Implant,site\nnormal/{PATIENT}_1.jpg,hand,frontal,1,north\n"
    labels = fill(source, table=text).labels.set_index("label")
    assert labels.loc["normal", ["region", "view", "hardware", "site"]].tolist() == ["hand", "frontal", "1", "north"]


def test_files_without_a_row_have_empty_cells_and_are_counted(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = fill(source, table=f"file,region\n{PATIENT}_1.jpg,hand\n").labels.set_index("label")
    assert labels.loc["fractured", "region"] == ""
    assert "without a row in the table, so with empty cells: 1 file" in capsys.readouterr().err


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
    data = fill(source, boxes=f"file,x0,y0,x1,y1,label\n{PATIENT}_0.jpg,4,8,20,80,cleft\n")
    assert corners(data) == [0.1, 0.1, 0.5, 1.0]
    assert data.boxes["label"].tolist() == ["cleft"]


@pytest.mark.parametrize("box", ["0.5,0,0.5,1", "-0.1,0,1,1", "0,0,81,5", "0.6,0,0.5,1", "nan,0,1,1"])
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
