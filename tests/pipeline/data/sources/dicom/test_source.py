"""DICOM objects into data/."""

import io
import shutil
import stat
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import pytest

from pipeline.data import layout
from pipeline.data.sources.dicom import source as module
from pipeline.errors import InputError
from serving.errors import SettingsError
from serving.imaging.dicom.deidentify.pseudonyms import VARIABLE
from tests.pipeline.data.sources.dicom.conftest import Fill, image
from tests.serving.imaging.dicom.deidentify.planted import DX, KEY, ROOT, marks_in, radiograph

CT = "1.2.840.10008.5.1.4.1.1.2"


def rows(folder: Path) -> pd.DataFrame:
    return layout.read(folder / "data").labels


def review_list(folder: Path, *numbers: int) -> Path:
    (folder / "reviewed.txt").write_text("".join(f"{ROOT}.1.{number}\n" for number in numbers))
    return folder / "reviewed.txt"


def test_objects_become_labelled_images(source: Path, fill: Fill, tmp_path: Path) -> None:
    info = fill(source)
    assert info.classes == ("normal", "fractured")
    assert sorted(rows(tmp_path)["label"]) == ["fractured", "normal", "normal"]


def test_patients_and_studies_become_groups_under_the_key(source: Path, fill: Fill, tmp_path: Path) -> None:
    fill(source)
    found = rows(tmp_path)
    assert set(found["patient_id"]) == {KEY.patient("Doe^Jane"), KEY.patient("Roe^Richard")}
    assert set(found["study_id"]) == {KEY.study(f"{ROOT}.3.1"), KEY.study(f"{ROOT}.3.2")}


def test_region_and_view_come_from_the_header(source: Path, fill: Fill, tmp_path: Path) -> None:
    fill(source)
    assert set(zip(rows(tmp_path)["region"], rows(tmp_path)["view"], strict=True)) == {("hand", "frontal")}


def test_nothing_in_data_names_the_patient(source: Path, fill: Fill, tmp_path: Path) -> None:
    fill(source)
    for path in (tmp_path / "data").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert marks_in(content + path.name.encode()) == []
        assert not any(name in content for name in (b"Jane", b"Richard"))


def test_images_are_objects_of_the_profile(source: Path, fill: Fill, tmp_path: Path) -> None:
    fill(source)
    found = pydicom.dcmread(next((tmp_path / "data/images").iterdir()))
    assert found.PatientIdentityRemoved == "YES"
    assert found.StudyInstanceUID.startswith("2.25.")


def test_only_the_owner_can_read_the_private_table(source: Path, fill: Fill, tmp_path: Path) -> None:
    fill(source)
    table = tmp_path / "private/set-names.csv"
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    assert set(pd.read_csv(table)["original_patient_id"]) == {"Doe^Jane", "Roe^Richard"}


def test_the_same_source_and_key_give_the_same_data_set(source: Path, fill: Fill, tmp_path: Path) -> None:
    first = fill(source)
    names = sorted(path.name for path in (tmp_path / "data/images").iterdir())
    assert fill(source) == first
    assert sorted(path.name for path in (tmp_path / "data/images").iterdir()) == names


def test_a_row_of_the_object_counts_before_that_of_its_study(source: Path, fill: Fill, tmp_path: Path) -> None:
    table = tmp_path / "both.csv"
    table.write_text(
        "sop_instance_uid;study_instance_uid;label;hardware;side\n"
        f"{ROOT}.1.1;;fractured;cast;left\n;{ROOT}.3.1;normal;;\n"
    )
    fill(source, labels=table)
    found = rows(tmp_path).set_index("label")
    assert found.loc["fractured", ["hardware", "side"]].tolist() == ["cast", "left"]
    assert len(found) == 2


def test_images_without_a_label_are_left_out_and_counted(
    source: Path, fill: Fill, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (source / "more").write_bytes(image(9, study=5))
    fill(source)
    assert "without a label, so left out: 1 object" in capsys.readouterr().err
    assert len(rows(tmp_path)) == 3


def test_what_is_no_radiograph_is_left_out_and_counted(
    source: Path, fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "report").write_bytes(radiograph(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.34"))
    (source / "notes.txt").write_text("Doe^Jane")
    fill(source)
    assert "no radiographs (CR, or DX for presentation), so left out: 2 objects" in capsys.readouterr().err


def test_what_the_model_is_not_for_is_left_out_and_counted_by_reason(
    source: Path, fill: Fill, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (source / "STUDY1" / "IM1").write_bytes(image(1, BodyPartExamined="CHEST"))
    for number in (8, 9):
        (source / f"slice{number}").write_bytes(image(number, SOPClassUID=CT, Modality="CT"))
    fill(source)
    told = capsys.readouterr().err
    assert "out of scope (chest), so left out: 1 object\n" in told
    assert "out of scope (computed tomography (CT)), so left out: 2 objects\n" in told
    listed = pd.read_csv(tmp_path / "private/set-out-of-scope.csv")
    assert listed["file"].tolist() == ["STUDY1/IM1", "slice8", "slice9"]
    assert len(rows(tmp_path)) == 2


def test_what_the_model_is_not_for_is_taken_where_the_service_warns(source: Path, fill: Fill, tmp_path: Path) -> None:
    (source / "STUDY1" / "IM1").write_bytes(image(1, BodyPartExamined="CHEST"))
    fill(source, scope="warn")
    assert len(rows(tmp_path)) == 3


def test_a_region_of_the_table_is_wanted(source: Path, fill: Fill, tmp_path: Path) -> None:
    (source / "STUDY1" / "IM1").write_bytes(image(1, BodyPartExamined="CHEST"))
    table = tmp_path / "chest.csv"
    table.write_text(
        f"study_instance_uid,label,region\n{ROOT}.3.1,normal,chest\n{ROOT}.3.2,fractured,hand\n", encoding="utf-8"
    )
    fill(source, labels=table)
    assert len(rows(tmp_path)) == 3


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"Rows": 16, "PixelData": bytes(2 * 16 * 64)}, "too_small"),
        ({"PixelData": bytes(2 * 32 * 64)}, "blank"),
    ],
)
def test_what_the_service_refuses_is_not_taken(source: Path, fill: Fill, values: dict[str, Any], code: str) -> None:
    (source / "STUDY1" / "IM1").write_bytes(image(1, **values))
    with pytest.raises(InputError, match=rf"1 object cannot be used .the first is none that the service takes .{code}"):
        fill(source)


def test_work_under_another_scope_is_done_again(
    source: Path, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "STUDY1" / "IM1").write_bytes(image(1, BodyPartExamined="CHEST"))
    (source / "broken").write_bytes(image(8)[:-50])
    monkeypatch.setenv("FRACTURE_SCOPE", "warn")
    with pytest.raises(InputError):
        fill(source)
    (source / "broken").unlink()
    monkeypatch.delenv("FRACTURE_SCOPE")
    fill(source)
    assert len(rows(tmp_path)) == 2


def test_text_that_nobody_reviewed_is_left_out_and_listed(
    source: Path, fill: Fill, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (source / "STUDY1" / "IM1").write_bytes(image(1, BurnedInAnnotation="YES"))
    fill(source)
    assert len(rows(tmp_path)) == 2
    listed = pd.read_csv(tmp_path / "private/set-review.csv")
    assert listed["sop_instance_uid"].tolist() == [f"{ROOT}.1.1"]
    assert "--reviewed" in capsys.readouterr().err


def test_reviewed_text_is_taken(source: Path, fill: Fill, tmp_path: Path) -> None:
    (source / "STUDY1" / "IM1").write_bytes(image(1, BurnedInAnnotation="YES"))
    fill(source, reviewed=review_list(tmp_path, 1))
    assert len(rows(tmp_path)) == 3


def test_a_review_that_is_taken_back_counts_no_longer(source: Path, fill: Fill, tmp_path: Path) -> None:
    (source / "STUDY1" / "IM1").write_bytes(image(1, BurnedInAnnotation="YES"))
    fill(source, reviewed=review_list(tmp_path, 1))
    fill(source, force=True)
    assert len(rows(tmp_path)) == 2


def test_a_copy_of_an_object_is_taken_once(
    source: Path, fill: Fill, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shutil.copy(source / "STUDY1/IM1", source / "copy")
    (source / "coerced").write_bytes(image(1, StudyDescription="as another archive sent it"))
    fill(source)
    assert len(rows(tmp_path)) == 3
    assert "there already, so taken once: 2 objects" in capsys.readouterr().err


def test_two_objects_of_one_uid_are_refused(source: Path, fill: Fill, tmp_path: Path) -> None:
    (source / "another").write_bytes(image(1, WindowCenter=1500))
    with pytest.raises(InputError, match=r"2 objects cannot be used.*SOP Instance UID of another object"):
        fill(source)
    assert not (tmp_path / "data").exists()


def test_a_study_of_two_patients_is_refused(source: Path, fill: Fill) -> None:
    (source / "mixed").write_bytes(image(7, study=2, patient="Miles^Michael"))
    with pytest.raises(InputError, match=r"2 objects cannot be used.*study that names several patients") as caught:
        fill(source)
    assert "Michael" not in str(caught.value)


@pytest.mark.parametrize("content", [bytes(128) + b"DICM\x02\0\0\0UL\x04", image(8)[:-50]])
def test_a_broken_object_stops_the_command_before_anything_is_replaced(
    source: Path, fill: Fill, tmp_path: Path, content: bytes
) -> None:
    (source / "broken").write_bytes(content)
    with pytest.raises(InputError, match="1 object cannot be used") as caught:
        fill(source)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_one_broken_object_among_many_is_left_out(
    source: Path, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEW", 0.5)
    (source / "broken").write_bytes(image(8)[:-50])
    fill(source)
    assert len(rows(tmp_path)) == 3


def test_an_interrupted_command_goes_on_where_it_stopped(
    source: Path, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[bytes] = []
    deidentify = module.deidentify

    def until_second(content: bytes, *rest: object) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(content)
        return deidentify(content, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(module, "deidentify", until_second)
        with pytest.raises(KeyboardInterrupt):
            fill(source)
    done.clear()
    monkeypatch.setattr(module, "deidentify", until_second)
    fill(source)
    assert len(done) == 1
    assert "going on: 2 images are de-identified already" in capsys.readouterr().err
    assert len(rows(tmp_path)) == 3
    assert not (tmp_path / "private/set-staged").exists()


def test_work_under_another_key_is_done_again(
    source: Path, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "broken").write_bytes(image(8)[:-50])
    with pytest.raises(InputError):
        fill(source)
    (source / "broken").unlink()
    monkeypatch.setenv(VARIABLE, "another secret of thirty-two characters")
    fill(source)
    assert KEY.patient("Doe^Jane") not in set(rows(tmp_path)["patient_id"])


def test_boxes_are_found_by_uid(source: Path, fill: Fill, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(f"sop_instance_uid,x0,y0,x1,y1\n{ROOT}.1.3,16,8,32,16\n")
    fill(source, boxes=boxes)
    found = layout.read(tmp_path / "data").boxes.iloc[0]
    assert (found["x0"], found["y1"], found["label"]) == (0.25, 0.5, "fractured")


def test_a_box_of_an_unknown_object_is_named_by_its_row(source: Path, fill: Fill, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("sop_instance_uid,x0,y0,x1,y1\n1.2.3,0,0,1,1\n")
    with pytest.raises(InputError, match="row 2: the source holds no object with this sop_instance_uid"):
        fill(source, boxes=boxes)


def test_without_a_key_nothing_is_read(source: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(SettingsError, match=VARIABLE):
        fill(source)


def test_a_private_folder_in_the_source_is_refused(source: Path, fill: Fill) -> None:
    with pytest.raises(InputError, match="must lie outside"):
        fill(source, private_dir=source / "private")


def test_a_missing_source_has_one_line(tmp_path: Path, fill: Fill) -> None:
    with pytest.raises(InputError, match="give a folder, a DICOMDIR, a ZIP archive or an http"):
        fill(tmp_path / "nowhere")


def test_a_dx_object_is_a_radiograph_too(tmp_path: Path, source: Path, fill: Fill) -> None:
    (source / "STUDY1" / "IM1").write_bytes(image(1, SOPClassUID=DX, PresentationIntentType="FOR PRESENTATION"))
    fill(source)
    kinds = {pydicom.dcmread(io.BytesIO(path.read_bytes())).Modality for path in (tmp_path / "data/images").iterdir()}
    assert kinds == {"CR", "DX"}
