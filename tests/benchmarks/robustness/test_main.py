"""The benchmark of robustness: a row for each change, and nothing measured twice."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from benchmarks.robustness import __main__ as robustness
from pipeline.data import layout
from pipeline.data.layout import DatasetInfo
from pipeline.evaluation.records import Robustness
from serving import bundle

CLASSES = ("normal", "fractured")


@pytest.fixture
def data(bundle_folder: Path, tmp_path: Path) -> Path:
    """A data set of the bundle's samples and a split of it beside the data."""
    folder = tmp_path / "data"
    samples = sorted((bundle_folder / "samples").iterdir())
    with layout.rebuild(folder, DatasetInfo("shapes", "1", "CC0", "nobody", "drawn", CLASSES)) as building:
        for number, path in enumerate(samples):
            building.add(f"i{number}", content=path.read_bytes(), suffix=".png", label=CLASSES[number % 2])
    rows = [(f"i{n}", "test", f"i{n}", CLASSES[n % 2]) for n in range(len(samples))]
    pd.DataFrame(rows, columns=["image_id", "part", "group", "label"]).to_csv(tmp_path / "split.csv", index=False)
    return folder


def measured(data: Path, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, *changes: str) -> str:
    output = data.parent / "table.md"
    options = {
        "--bundle": bundle_folder,
        "--split": data.parent / "split.csv",
        "--state": data.parent / "state.json",
        "--record": data.parent / "robustness.json",
        "--output": output,
    }
    words = [str(word) for pair in options.items() for word in pair]
    monkeypatch.setattr(sys, "argv", ["robustness", str(data), *words, "--only", *changes])
    robustness.main()
    return output.read_text()


def test_each_change_has_a_row_and_some_of_them_are_no_complete_record(
    data: Path, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = measured(data, bundle_folder, monkeypatch, "gamma_2", "clahe", "dicom_high_bit_15").splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| none", "| gamma_2", "| clahe (never trained)", "| dicom_high_bit_15",
    ]  # fmt: skip
    assert not Robustness.read(data.parent / "robustness.json").complete


def test_what_was_measured_is_not_measured_again(
    data: Path, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = measured(data, bundle_folder, monkeypatch, "gamma_2")
    monkeypatch.setattr(robustness, "tell", None)
    assert measured(data, bundle_folder, monkeypatch, "gamma_2") == before
    kept = json.loads((data.parent / "state.json").read_text())
    assert set(kept["changes"]) == {"none", "gamma_2"}


def test_refused_and_worse_images_are_counted(bundle_folder: Path) -> None:
    cases = [robustness.Case(f"i{n}", Path(), f"g{n}", n % 2 == 1, []) for n in range(4)]
    plain = [{"image_id": f"i{n}", "probability": 0.2 + 0.6 * (n % 2), "refused": "", "warnings": []} for n in range(4)]
    worse = [{**one, "probability": 0.5} for one in plain[:3]]
    gone = [{**one, "probability": None, "refused": "not_a_radiograph"} for one in plain]
    decisions = {robustness.WHOLE: bundle.read(bundle_folder).decision}
    found = robustness.table(cases, {"none": plain, "worse": worse, "gone": gone}, decisions)
    assert [row.images for row in found] == [4, 3, 4]
    assert [row.refused for row in found] == [0, 0, 1]
    assert [row.auroc for row in found] == [1, 0.5, None]
    assert [row.auroc_change for row in found] == [0, -0.5, None]


def test_an_image_that_would_lose_a_box_is_left_out(bundle_folder: Path) -> None:
    sample = sorted((bundle_folder / "samples").iterdir())[0]
    pixels = np.asarray(cv2.imread(str(sample), cv2.IMREAD_GRAYSCALE), np.uint8)
    case = robustness.Case("i0", sample, "g0", True, [[0.0, 0.0, 0.1, 0.1]])
    assert robustness.content_of("middle_60", pixels, case) is None
    assert robustness.content_of("mirrored", pixels, case) is not None
