"""Regions and views that the figures say too little of, or nothing good."""

from pathlib import Path

import pytest

from pipeline.evaluation import subgroups

TABLE = """slice,value,images,fractured,auroc,auroc_low,auroc_high
region,hand,250,73,0.91,0.87,0.95
region,hip,56,11,0.96,0.91,1.0
region,foot,90,40,0.85,0.79,0.90
region,skull,40,0,,,
view,frontal,300,70,0.92,0.88,0.96
hardware,1,19,19,,,
"""


def test_few_images_and_poor_figures_are_both_named(tmp_path: Path) -> None:
    file = tmp_path / "slices.csv"
    file.write_text(TABLE)
    assert {shown.value: shown.figures for shown in subgroups.read(file) if not shown.good} == {
        "hip": "11 fractured of 56, AUROC 0.960 (0.910 to 1.000)",
        "foot": "40 fractured of 90, AUROC 0.850 (0.790 to 0.900)",
        "skull": "0 fractured of 40",
    }
    assert "region hip (11 fractured of 56" in subgroups.warning(file)
    assert "hand" not in subgroups.warning(file)


@pytest.mark.parametrize("content", ["\n", "".join(TABLE.splitlines(keepends=True)[:2])])
def test_nothing_is_said_where_all_is_shown_or_the_data_name_nothing(tmp_path: Path, content: str) -> None:
    file = tmp_path / "slices.csv"
    file.write_text(content)
    assert subgroups.warning(file) == ""
