"""What a data set is worth as a whole."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.families import large
from pipeline.data.layout import Dataset
from pipeline.data.validation.expectations import Judge
from pipeline.data.validation.verdict import Verdict, judge_data, summary_html
from pipeline.params import ValidateParams
from tests.pipeline.data.validation.builders import everything, excluded

MakeData = Callable[..., Dataset]
Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]


def test_the_report_counts_what_is_left(judged: Callable[[str], Verdict]) -> None:
    report = judged("exclude").report
    assert report.images == 29
    assert report.usable == 29 - len(excluded(judged("exclude")))
    assert sum(report.classes.values()) == report.usable
    assert report.near_duplicate_groups == 4
    assert report.near_duplicate_images == 8


def test_the_report_names_the_files_of_some_families(judged: Callable[[str], Verdict]) -> None:
    families = judged("keep").report.families
    assert [[Path(file).stem for file in files] for files in families] == [
        ["copy", "fine_1"],
        ["near_a", "near_b"],
        ["pair_a", "pair_b"],
        ["same_a", "same_b"],
    ]


def test_the_summary_says_how_many_families_there_are(judged: Callable[[str], Verdict]) -> None:
    assert "29 images, 4 families of near duplicates (8 images)" in summary_html(judged("keep"))


def test_conflicts_are_told_in_words(judged: Callable[[str], Verdict]) -> None:
    assert judged("keep").report.conflicts == {
        "images/boxed.png": "labelled normal, but has a box",
        "images/noted.png": "the sources disagree",
    }


def test_an_empty_table_fails(tmp_path: Path, make_data: MakeData, judge: Judge) -> None:
    verdict = judge_data(make_data(tmp_path / "data", {}), ValidateParams(), judge)
    assert verdict.failures == [f"{tmp_path / 'data'}: holds no image; fill it with `fracture data ...`"]


def test_a_set_too_large_for_keypoints_is_told(
    tmp_path: Path, make_data: MakeData, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path / "data", {"a": {}, "b": {}})
    monkeypatch.setattr(large, "LARGE", 1)
    assert judge_data(data, ValidateParams(), judge).warnings[0].startswith("families: above 100,000 images")


def test_a_class_with_too_few_images_fails(tmp_path: Path, make_data: MakeData, judge: Judge) -> None:
    data = make_data(tmp_path / "data", {"a": {}, "b": {}, "c": {}})
    verdict = judge_data(data, ValidateParams(min_per_class=2), judge)
    assert verdict.failures == [
        "min_per_class: class fractured has 1 usable images, fewer than validate.min_per_class = 2; "
        "add images, drop the class, or lower the limit in params.yaml"
    ]


def test_a_data_set_of_which_nothing_is_left_fails(tmp_path: Path, make_data: MakeData, judge: Judge) -> None:
    data = make_data(tmp_path / "data", {"a": {"content": b"no image"}, "b": {"content": b""}})
    verdict = judge_data(data, everything("exclude"), judge)
    assert [line.split(" has ")[0] for line in verdict.failures] == [
        "min_per_class: class normal",
        "min_per_class: class fractured",
    ]


def test_a_feature_that_predicts_the_label_is_found_and_named(
    tmp_path: Path, make_data: MakeData, judge: Judge
) -> None:
    images = {f"{number}": {"view": "lateral" if number % 2 else "frontal"} for number in range(8)}
    verdict = judge_data(make_data(tmp_path / "data", images), ValidateParams(min_per_class=2), judge)
    line = "shortcut: view alone predicts a fracture with AUROC 1.000; a model may learn it instead"
    assert line in verdict.warnings
    assert verdict.failures == []
    assert verdict.report.fracture_rates["view"] == "frontal: 0.000 of 4; lateral: 1.000 of 4"
