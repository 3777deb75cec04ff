"""Modules that are loaded when they are first used."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.late import late

ROOT = Path(__file__).parents[2]
PACKAGES = ("hospital", "pipeline", "serving")
MODULES = [ROOT / "service.py", *(path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py")))]


def test_a_late_module_is_loaded_by_its_first_use(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text("print('loaded')\nvalue = 7\n")
    code = "from pipeline.late import late\ntold = late('told')\nprint('before')\nprint(told.value, told.value)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
    )
    assert done.stdout.split("\n")[:3] == ["before", "loaded", "7 7"]


def test_a_missing_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        late("json").nothing_of_this_name  # noqa: B018  asking is what is tested


def _late(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "late":
            yield from (str(word.value) for word in node.args if isinstance(word, ast.Constant))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_late_module_of_ours_is_known_to_the_type_checker_and_to_dvc_yaml(path: Path) -> None:
    tree = ast.parse(path.read_text())
    ours = {name for name in _late(tree) if name.split(".")[0] in PACKAGES}
    assert ours <= set(_imported(tree))


def test_a_module_tells_its_version() -> None:
    assert late("numpy").__version__ == np.__version__
