"""Which way the imports run, and that importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hospital.peers import ROOT

MODULES = sorted((ROOT / "hospital").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level packages that a module imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module_imports_neither_the_pipeline_nor_what_training_needs(path: Path) -> None:
    assert not imported(path) & {"pipeline", "tensorflow", "keras", "mlflow", "dvc", "pandas", "typer"}


def test_serving_imports_nothing_of_the_hospital() -> None:
    for path in (ROOT / "serving").rglob("*.py"):
        assert "hospital" not in imported(path), path


def test_importing_all_of_it_makes_no_folder_and_asks_for_nothing(tmp_path: Path) -> None:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES if path.name != "__main__.py"]
    script = (
        f"import importlib, sys; sys.path.insert(0, {str(ROOT)!r}); [importlib.import_module(n) for n in {names!r}]"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_command_line_loads_no_gateway_to_show_its_help() -> None:
    script = (
        "import sys; import hospital.cli; print([n for n in ('highdicom', 'pynetdicom', 'cv2') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
