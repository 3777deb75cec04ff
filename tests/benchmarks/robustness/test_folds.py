"""Folds: which images are drawn, and which network answers them."""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.robustness import __main__ as robustness
from benchmarks.robustness import folds
from pipeline.data import layout
from pipeline.data.layout import DatasetInfo
from pipeline.errors import InputError

CLASSES = ("normal", "fractured")


def table(images: int) -> pd.DataFrame:
    """Two images a group, groups in two folds."""
    rows = [(f"i{n}", CLASSES[n % 2], f"g{n // 2}", str(n // 2 % 2), 0.0) for n in range(images)]
    return pd.DataFrame(rows, columns=["image_id", "label", "group", "fold", "logit"])


def test_a_sample_holds_whole_groups() -> None:
    drawn = folds.sample(table(100), 21)
    assert len(drawn) == 22
    assert (drawn["group"].value_counts() == 2).all()


def test_a_larger_sample_holds_the_smaller_one_whatever_else_is_in_the_table() -> None:
    smaller = set(folds.sample(table(100), 20)["image_id"])
    assert smaller <= set(folds.sample(table(100), 60)["image_id"])
    assert smaller <= set(folds.sample(table(110), 40)["image_id"])


@pytest.fixture
def folder(bundle_folder: Path, tmp_path: Path) -> Path:
    """Two folds with one and the same bundle, a table of the bundle's samples, and data beside them."""
    samples = sorted((bundle_folder / "samples").iterdir())
    with layout.rebuild(tmp_path / "data", DatasetInfo("shapes", "1", "CC0", "nobody", "drawn", CLASSES)) as building:
        for number, path in enumerate(samples):
            building.add(f"i{number}", content=path.read_bytes(), suffix=".png", label=CLASSES[number % 2])
    target = tmp_path / "folds"
    for fold in ("0", "1"):
        shutil.copytree(bundle_folder, target / f"fold-{fold}")
    table(len(samples)).to_csv(target / "out_of_fold.csv", index=False)
    return target


def measured(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    words = ["--folds", str(folder), "--state", str(folder / "state.json"), "--only", "none", *options]
    monkeypatch.setattr(sys, "argv", ["robustness", str(folder.parent / "data"), *words])
    monkeypatch.chdir(folder.parent)
    robustness.main()


def test_each_image_is_answered_by_the_network_of_its_fold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    tell = robustness.tell

    def noted(predictor: robustness.Predictor, name: str, case: robustness.Case) -> robustness.Told:
        asked.append((case.image_id, predictor.bundle.folder.name))
        return tell(predictor, name, case)

    monkeypatch.setattr(robustness, "tell", noted)
    measured(folder, monkeypatch)
    assert sorted(asked) == [("i0", "fold-0"), ("i1", "fold-0"), ("i2", "fold-1"), ("i3", "fold-1")]
    assert not (folder.parent / "reports").exists()  # what `fracture release` reads is of a release alone


def test_more_images_are_added_to_those_that_are_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(folder, monkeypatch, "--images", "2")
    before = json.loads((folder / "state.json").read_text())["changes"]["none"]
    measured(folder, monkeypatch)
    after = json.loads((folder / "state.json").read_text())["changes"]["none"]
    assert (len(before), len(after)) == (2, 4)
    assert after[:2] == before


def test_folds_beside_a_bundle_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="leave out --bundle, --split and --part"):
        measured(folder, monkeypatch, "--part", "test")
