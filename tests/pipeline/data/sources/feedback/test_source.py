"""Confirmed images in data/ and held_back/, beside a test set that stays."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL.PngImagePlugin import PngInfo

from pipeline.data import layout
from pipeline.data.sources.feedback import source
from pipeline.data.sources.feedback.confirmed import Confirmed, confirm
from pipeline.data.sources.feedback.pictures import find
from pipeline.data.sources.feedback.placing import Place, is_held_back
from pipeline.data.sources.feedback.source import Outcome, Target
from pipeline.data.split import GivenTestSet
from pipeline.errors import InputError
from tests.conftest import Draw, Encode, MakeData
from tests.serving.store.rows import answer, opinion

KEY = "k" * 32
JUDGES = next(f"p{number}" for number in range(99) if is_held_back(KEY, "north", f"p{number}"))
TRAINS = next(f"p{number}" for number in range(99) if not is_held_back(KEY, "north", f"p{number}"))


class Case:
    """Six images of data/, the first two of them the test set, and pictures that the service kept."""

    def __init__(self, folder: Path, make_data: MakeData, picture: Callable[[int], bytes]) -> None:
        patients = ["t1", "t2", "a", "b", "c", "d"]
        images: dict[str, dict[str, Any]] = {
            f"i{number}": {"patient_id": patient} for number, patient in enumerate(patients)
        }
        images["i3"] |= {"boxes": [(0.1, 0.2, 0.3, 0.4, "fractured")], "polygons": ["0.1 0.2;0.3 0.4;0.1 0.4"]}
        make_data(folder / "data", images)
        (folder / "test_set.csv").write_text("image_id,part\ni0,test\ni1,test\n")
        self.kept = folder / "kept"
        self.kept.mkdir()
        self.picture = picture
        self.target = Target(
            data=folder / "data",
            held_back=folder / "held_back",
            test_set=GivenTestSet.read(folder / "test_set.csv"),
            key=KEY,
            correlation=0.995,
        )

    def confirmed(self, number: int, patient: str = "", pixels: int | None = None, **changes: Any) -> Confirmed:
        """An answer that a reader agreed with, with its picture; by default one that nothing else shows."""
        row = answer(number, patient=patient or None, image_sha256=f"s{number}", probability=0.9)
        content = self.picture(100 + number if pixels is None else pixels)
        (self.kept / f"{row.answer_id}.png").write_bytes(content)
        return confirm([row], [opinion(number, **changes)], ("normal", "fractured"))

    def add(self, *parts: Confirmed) -> Outcome:
        images = tuple(image for part in parts for image in part.images)
        return source.add(self.target, Confirmed(images, (), 0), find(self.kept, [], []))

    def labels(self, folder: str) -> pd.DataFrame:
        return layout.read(getattr(self.target, folder)).labels.set_index("image_id")


@pytest.fixture
def case(tmp_path: Path, make_data: MakeData, draw: Draw, encode: Encode) -> Case:
    return Case(tmp_path, make_data, lambda number: encode(draw(number)))


def _id(number: int) -> str:
    return answer(number).answer_id


def test_a_confirmed_image_joins_the_data_with_its_patient_site_and_provenance(case: Case) -> None:
    outcome = case.add(case.confirmed(1, TRAINS, boxes=[[0.2, 0.2, 0.5, 0.5]]))
    assert outcome.placed == {_id(1): Place.training}
    row = case.labels("data").loc[_id(1)]
    assert (row["label"], row["patient_id"], row["site"], row["source"]) == ("fractured", TRAINS, "north", "feedback")
    assert row["provenance"] == "reader"
    assert layout.read(case.target.data).boxes.set_index("image_id").loc[_id(1), "x1"] == 0.5


def test_what_was_there_stays_as_it_was(case: Case) -> None:
    before = layout.read(case.target.data)
    contents = {path.name: path.read_bytes() for path in before.image_files()}
    case.add(case.confirmed(1, TRAINS))
    after = layout.read(case.target.data)
    old = after.labels["image_id"].isin(before.labels["image_id"])
    pd.testing.assert_frame_equal(after.labels[old][before.labels.columns].reset_index(drop=True), before.labels)
    pd.testing.assert_frame_equal(after.boxes, before.boxes)
    assert {path.name: path.read_bytes() for path in after.image_files() if path.name in contents} == contents
    assert (before.info.version, after.info.version) == ("1", "1+feedback.1")


def test_the_images_of_patients_who_judge_lie_apart(case: Case) -> None:
    outcome = case.add(case.confirmed(1, JUDGES), case.confirmed(2, TRAINS))
    assert outcome.placed == {_id(1): Place.held_back, _id(2): Place.training}
    assert list(case.labels("held_back").index) == [_id(1)]
    assert _id(1) not in case.labels("data").index


@pytest.mark.parametrize("changes", [{"patient": "t1"}, {"pixels": 0}])
def test_a_relative_of_the_test_set_by_patient_or_picture_is_left_out(case: Case, changes: Any) -> None:
    outcome = case.add(case.confirmed(1, **changes))
    assert outcome.placed == {_id(1): Place.relative_of_test}
    assert not outcome.changes
    assert layout.read(case.target.data).info.version == "1"


def test_a_copy_of_a_training_image_of_one_who_judges_is_left_out(case: Case) -> None:
    assert case.add(case.confirmed(1, JUDGES, pixels=4)).placed == {_id(1): Place.both_sides}


def test_who_judges_once_judges_in_every_later_round(case: Case) -> None:
    case.add(case.confirmed(1, JUDGES))
    outcome = case.add(case.confirmed(1, JUDGES), case.confirmed(2, JUDGES), case.confirmed(3, TRAINS, pixels=101))
    assert outcome.known == 1
    assert set(outcome.placed.values()) == {Place.held_back}
    assert layout.read(case.target.held_back).info.version == "1+feedback.2"


def test_a_label_that_was_corrected_is_corrected_and_loses_its_boxes(case: Case) -> None:
    case.add(case.confirmed(1, TRAINS, boxes=[[0.2, 0.2, 0.5, 0.5]]))
    outcome = case.add(case.confirmed(1, TRAINS, label="normal"))
    assert outcome.relabelled == {_id(1): ("fractured", "normal")}
    assert case.labels("data").loc[_id(1), "label"] == "normal"
    assert _id(1) not in set(layout.read(case.target.data).boxes["image_id"])


def test_the_same_round_again_changes_nothing(case: Case) -> None:
    case.add(case.confirmed(1, TRAINS))
    outcome = case.add(case.confirmed(1, TRAINS))
    assert (outcome.changes, outcome.known) == (False, 1)


def test_an_image_without_a_picture_and_an_unusable_one_are_counted(case: Case) -> None:
    lost, broken = case.confirmed(1, TRAINS), case.confirmed(2, TRAINS)
    (case.kept / f"{_id(1)}.png").unlink()
    (case.kept / f"{_id(2)}.png").write_bytes(b"no picture")
    outcome = case.add(lost, broken)
    assert (outcome.without_picture, list(outcome.refused)) == (1, [_id(2)])


def test_another_key_is_refused(case: Case) -> None:
    case.add(case.confirmed(1, TRAINS))
    case.target = replace(case.target, key="o" * 32)
    with pytest.raises(InputError, match="was begun with another FRACTURE_HOLD_BACK_KEY"):
        case.add(case.confirmed(2, TRAINS))


def test_held_back_images_that_were_not_fetched_are_not_replaced(case: Case) -> None:
    case.target.held_back.with_name("held_back.dvc").touch()
    with pytest.raises(InputError, match=r"held_back: not found, but held_back\.dvc tracks it; run `dvc pull"):
        case.add(case.confirmed(1, JUDGES))


def test_a_file_that_no_table_lists_is_not_lost(case: Case) -> None:
    (case.target.data / "images" / "stray.png").touch()
    with pytest.raises(InputError, match=r"stray\.png: is not in labels\.csv"):
        case.add(case.confirmed(1, TRAINS))


def test_a_file_as_it_was_sent_is_found_by_its_hash_and_loses_its_header(
    tmp_path: Path, case: Case, draw: Draw, encode: Encode
) -> None:
    note = PngInfo()
    note.add_text("Patient", "Doe_Jane")
    content = encode(draw(50), pnginfo=note)
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "Doe.png").write_bytes(content)
    row = answer(1, image_sha256=sha256(content).hexdigest(), probability=0.9)
    (image,) = confirm([row], [opinion(1)], ("normal", "fractured")).images
    found = find(None, [tmp_path / "sent"], [row.image_sha256 or ""]).of(image)
    assert found is not None
    assert b"Doe" not in found.content


def test_the_report_names_every_image_and_every_conflict(case: Case) -> None:
    outcome = case.add(case.confirmed(1, JUDGES), case.confirmed(2, "t1"))
    conflict = confirm([answer(3)], [opinion(3), opinion(3, reader="b", opinion="disagree")], ("normal", "fractured"))
    text = source.markdown(replace(outcome, conflicts=conflict.conflicts))
    assert f"| {_id(1)} | north | fractured | held back |" in text
    assert f"| {_id(3)} | north | ward: normal, b: fractured |" in text
    assert "1 related to the test set" in text
