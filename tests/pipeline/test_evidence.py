"""Regions and views that the figures say too little of, or nothing good."""

from pathlib import Path

from pipeline import evidence

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
    assert evidence.unproven(file) == {
        ("region", "hip"): "11 fractured of 56, AUROC 0.960 (0.910 to 1.000)",
        ("region", "foot"): "40 fractured of 90, AUROC 0.850 (0.790 to 0.900)",
        ("region", "skull"): "0 fractured of 40",
    }
    assert "region hip (11 fractured of 56" in evidence.warning(file)


def test_nothing_is_said_where_all_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "slices.csv"
    file.write_text("".join(TABLE.splitlines(keepends=True)[:2]))
    assert evidence.warning(file) == ""
