"""`fracture tables`: figures as Markdown, or one line that says what is missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FIGURE = {"value": 0.9, "low": 0.8, "high": 0.95}
POINT = {
    "threshold": 0.5,
    **dict.fromkeys(("accuracy", "precision", "recall", "sensitivity", "specificity", "f1"), FIGURE),
}
POINTS = ("at_threshold", "at_high_sensitivity", "at_high_specificity", "at_best_accuracy")


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """Write what evaluation leaves, as far as the tables need it."""
    test = {"auroc": FIGURE, **dict.fromkeys(POINTS, POINT)}
    context = {
        "images": {"test": 20, "fractured": 5, "validation": 10}, "always_normal_accuracy": 0.75, "architecture": "cnn",
        "hashes": {"data": "d", "split": "s", "test": "t"}, "weights_sha256": "w",
    }  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps({"test": test, **context}))
    row = {"slice": "region", "value": "hand", "images": "20", "fractured": "5"}
    for name in ("auroc", "sensitivity_at_threshold", "sensitivity_at_high_sensitivity"):
        row |= {name: "0.9", f"{name}_low": "0.8", f"{name}_high": "0.95"}
    (tmp_path / "slices.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    return tmp_path


def _print(reports: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "tables", str(reports)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_figures_of_a_run_are_printed(reports: Path) -> None:
    done = _print(reports)
    assert done.returncode == 0, done.stderr
    assert "| auroc | 0.900 (0.800 to 0.950) |" in done.stdout
    assert "| region hand | 20 | 5 | 0.900 (0.800 to 0.950) |" in done.stdout


@pytest.mark.parametrize("name", ["metrics.json", "slices.csv"])
def test_a_missing_file_is_one_line(reports: Path, name: str) -> None:
    (reports / name).unlink()
    done = _print(reports)
    assert done.returncode == 1
    assert done.stderr == f"error: {reports / name}: not found; `dvc repro evaluate` writes it\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [("metrics.json", '{"test": []}'), ("metrics.json", '{"test": {"auroc": 1}}'), ("slices.csv", "slice\nregion\n")],
)
def test_a_file_of_something_else_is_one_line(reports: Path, name: str, text: str) -> None:
    (reports / name).write_text(text)
    done = _print(reports)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {reports / name}: ")
    assert done.stderr.endswith("make it again with `dvc repro -f evaluate`\n")
    assert done.stderr.count("\n") == 1
