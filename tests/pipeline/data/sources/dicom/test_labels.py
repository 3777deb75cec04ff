"""The table of labels."""

from pathlib import Path

import pytest

from pipeline.data.sources.dicom.labels import read_labels
from pipeline.errors import InputError

ONE, TWO = "1.2.3", "1.2.4"


def table(folder: Path, text: str) -> Path:
    (folder / "labels.csv").write_text(text)
    return folder / "labels.csv"


def problem(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_labels(table(folder, text))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_columns_may_be_named_as_dicom_names_them(tmp_path: Path) -> None:
    found = read_labels(table(tmp_path, f"SOPInstanceUID,StudyInstanceUID,Class\n{ONE},{TWO},normal\n"))
    row = found.of(ONE, TWO)
    assert row is not None
    assert row.label == "normal"
    assert found.studies_named == (TWO,)


def test_studies_are_not_named_where_a_row_names_none(tmp_path: Path) -> None:
    found = read_labels(table(tmp_path, f"sop_instance_uid,study_instance_uid,label\n{ONE},{TWO},a\n{TWO},,b\n"))
    assert found.studies_named == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"sop_instance_uid\n{ONE}\n", "needs a column label"),
        ("file,label\na.dcm,normal\n", "sop_instance_uid or study_instance_uid"),
        ("sop_instance_uid,label\nDoe^Jane,normal\n", "row 2: names no valid UID"),
        (f"sop_instance_uid,label\n{ONE},\n", "row 2: has no label"),
        (f"sop_instance_uid,label\n{ONE},a\n{ONE},b\n", "rows 2 and 3 are about the same UID"),
        (f"sop_instance_uid,label,patient_id\n{ONE},a,7\n", "column patient_id: comes from the objects"),
        (f"sop_instance_uid,label,birth_date\n{ONE},a,7\n", "may identify a patient"),
        (f"sop_instance_uid,label,class\n{ONE},a,7\n", "several columns mean label"),
    ],
)
def test_a_table_that_cannot_be_used_has_one_line(tmp_path: Path, text: str, words: str) -> None:
    found = problem(tmp_path, text)
    assert words in found
    assert "Doe" not in found


def test_a_row_that_the_source_does_not_hold_is_named(tmp_path: Path) -> None:
    found = read_labels(table(tmp_path, f"sop_instance_uid,label\n{ONE},a\n{TWO},b\n1.2.5,b\n"))
    with pytest.raises(InputError, match=r"row 3: .*and 1 further rows"):
        found.check_used([ONE], [])


@pytest.mark.parametrize(
    ("labels", "normal", "words"),
    [
        (["normal"], None, "have 1 label"),
        (["a", "b"], None, "Say it with --normal NAME"),
        (["a", "b"], "c", "is not one of the labels a, b"),
    ],
)
def test_classes_that_cannot_be_told_have_one_line(
    tmp_path: Path, labels: list[str], normal: str | None, words: str
) -> None:
    found = read_labels(table(tmp_path, f"sop_instance_uid,label\n{ONE},a\n"))
    with pytest.raises(InputError, match=words):
        found.classes(labels, normal)


def test_the_normal_class_comes_first(tmp_path: Path) -> None:
    found = read_labels(table(tmp_path, f"sop_instance_uid,label\n{ONE},a\n"))
    assert found.classes(["fractured", "healthy"], None) == ("healthy", "fractured")
    assert found.classes(["a", "b"], "b") == ("b", "a")
