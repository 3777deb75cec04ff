"""A folder of class-named folders: neutral ids, no names, and one clear line for whatever cannot be used."""

import os
from pathlib import Path

import pytest
from PIL import Image

from pipeline.data import layout
from pipeline.data.sources import folder
from pipeline.errors import InputError
from tests.pipeline.data.sources.folder.builders import PATIENT, SLOPE, fill, jpeg, names
from tests.serving.imaging.dicom.builders import radiograph


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


def test_a_truncated_image_goes_in_for_validation_to_judge(source: Path) -> None:
    (source / "normal" / "cut.jpg").write_bytes(jpeg(50)[:-20])
    assert len(fill(source).labels) == 3


def test_patients_and_studies_get_pseudonyms(source: Path) -> None:
    text = f"file,patient,study\n{PATIENT}_0.jpg,{PATIENT},A1\n{PATIENT}_1.jpg,{PATIENT},A2\n"
    labels = fill(source, table=text).labels
    assert set(labels["patient_id"]) == {"p0001"}
    assert set(labels["study_id"]) == {"s0001", "s0002"}
    assert set(names(source)["original_patient_id"]) == {PATIENT}


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


def many(source: Path, count: int = 100) -> None:
    for number in range(count):
        (source / "normal" / f"{number}.jpg").write_bytes(jpeg(size=(32 + number, 32)))


def test_a_bad_file_among_many_is_left_out_with_a_line(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many(source)
    (source / "fractured" / f"{PATIENT}.jpg").write_bytes(b"GIF89a" + bytes(99))
    data = fill(source)
    assert len(data.labels) == 102
    said = capsys.readouterr().err
    assert "left out: a file that is a GIF picture, which is not read; save it as PNG; " in said
    assert PATIENT not in said
    assert PATIENT in (source.parent / "private" / "set-refused.csv").read_text()


def test_a_file_that_the_service_refuses_is_left_out_with_its_code(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many(source)
    (source / "fractured" / "chest.dcm").write_bytes(radiograph(SLOPE, BodyPartExamined="CHEST"))
    assert len(fill(source).labels) == 102
    assert "left out: a file that the service refuses (out_of_scope: the header says chest; " in capsys.readouterr().err


def test_many_bad_files_are_a_mistake_of_the_folder(source: Path) -> None:
    many(source)
    for number in range(2):
        (source / "fractured" / f"bad{number}.jpg").write_bytes(b"GIF89a" + bytes(99))
    with pytest.raises(InputError, match="2 files cannot be used"):
        fill(source)


def test_images_of_a_region_that_the_table_names_are_wanted(source: Path) -> None:
    (source / "normal" / "chest.dcm").write_bytes(radiograph(SLOPE, BodyPartExamined="CHEST"))
    assert len(fill(source, table="file,region\nchest.dcm,chest\n").labels) == 3
