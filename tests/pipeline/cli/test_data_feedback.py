"""`fracture data feedback` and `fracture data test-set`, as a person runs them."""

import shutil
from pathlib import Path

import pytest

from pipeline.data import layout
from pipeline.errors import InputError
from serving.store.database import Database
from tests.conftest import Draw, Encode, MakeData
from tests.pipeline.cli.test_data import run
from tests.pipeline.project import ROOT, Project
from tests.serving.store.rows import answer, opinion

KEY = "k" * 32


@pytest.fixture
def grown(tmp_path: Path, make_data: MakeData, draw: Draw, encode: Encode, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with six images, a store with five confirmed ones, and the pictures that the service kept."""
    root = tmp_path / "project"
    (root / "kept").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, root)
    make_data(root / "data", {f"i{number}": {} for number in range(6)})
    (root / "prepared").mkdir()
    (root / "prepared/split.csv").write_text("image_id,part,patient_id\ni1,test,p1\ni0,test,p0\ni2,train,p2\n")
    database = Database(f"sqlite:///{root / 'answers.db'}")
    database.upgrade()
    for number in range(5):
        row = answer(number, patient=f"p{number}", image_sha256=f"s{number}", probability=0.9)
        database.add_answers([row])
        database.add_feedback(opinion(number))
        (root / f"kept/{row.answer_id}.png").write_bytes(encode(draw(100 + number)))
    database.close()
    monkeypatch.chdir(root)
    monkeypatch.setenv("FRACTURE_STORE_URL", f"sqlite:///{root / 'answers.db'}")
    monkeypatch.setenv("FRACTURE_KEEP_IMAGES", "kept")
    monkeypatch.setenv("FRACTURE_HOLD_BACK_KEY", KEY)
    return root


def _freeze(root: Path) -> None:
    run("test-set", "test_set.csv")
    Project(root).change("preprocess", test_set="test_set.csv")


def test_the_present_test_set_is_listed_without_its_patients(grown: Path) -> None:
    assert "2 images; commit it" in run("test-set", "test_set.csv")
    assert Path("test_set.csv").read_text() == "image_id,part\ni0,test\ni1,test\n"
    assert run("test-set", "test_set.csv")


def test_a_list_of_another_test_set_is_not_overwritten(grown: Path) -> None:
    Path("test_set.csv").write_text("image_id,part\ni5,test\n")
    with pytest.raises(InputError, match="lists another test set, which is meant to stay"):
        run("test-set", "test_set.csv")


def test_confirmed_images_are_added_and_the_next_step_is_named(grown: Path) -> None:
    _freeze(grown)
    output = run("feedback")
    added = len(layout.read(grown / "data").labels) - 6
    held = len(layout.read(grown / "held_back").labels) if (grown / "held_back").is_dir() else 0
    assert added + held == 5
    assert f"added: {added} to data/, {held} to held_back/" in output
    assert "shapes 1+feedback.1 (normal, fractured)" in output
    assert output.strip().endswith("&& dvc repro")
    assert "next: dvc add data" in output
    assert "| held back |" in Path("reports/feedback.md").read_text() or not held
    assert "nothing to add" in run("feedback")


def test_a_test_set_that_may_change_is_no_ground_to_grow_on(grown: Path) -> None:
    with pytest.raises(InputError, match=r"preprocess\.test_set is empty.*fracture data test-set"):
        run("feedback")


@pytest.mark.parametrize("value", ["", "short"])
def test_without_a_key_nobody_is_held_back(grown: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    _freeze(grown)
    monkeypatch.setenv("FRACTURE_HOLD_BACK_KEY", value)
    with pytest.raises(InputError, match="FRACTURE_HOLD_BACK_KEY: is not set or shorter than 32"):
        run("feedback")


def test_without_a_store_or_pictures_one_line_says_which_option(grown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _freeze(grown)
    monkeypatch.delenv("FRACTURE_KEEP_IMAGES")
    with pytest.raises(InputError, match="--kept"):
        run("feedback")
    monkeypatch.delenv("FRACTURE_STORE_URL")
    with pytest.raises(InputError, match="--store: name the database"):
        run("feedback")
