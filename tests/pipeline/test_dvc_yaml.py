"""dvc.yaml names what its stages really depend on."""

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def _imported(path: Path) -> set[Path]:
    """The project's modules that a module imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] in {"pipeline", "serving"}:
                found |= _files(name)
    return found


def _files(name: str) -> set[Path]:
    """What importing a module runs: its file, and of the packages above it those that hold more than a docstring."""
    parts = name.split(".")
    packages = [ROOT.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    module = ROOT.joinpath(*parts).with_suffix(".py")
    running = {path for path in packages if path.is_file() and len(ast.parse(path.read_text()).body) > 1}
    return running | ({module} if module.is_file() else set())


def _closure(start: Path) -> set[Path]:
    seen: set[Path] = set()
    waiting = {start}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        waiting |= _imported(path) - seen
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_every_module_its_script_imports_and_no_other(stage: str) -> None:
    named = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    needed = {path.relative_to(ROOT).as_posix() for path in _closure(ROOT / "pipeline" / f"{stage}.py")}
    assert named == needed


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_its_module_and_has_its_own_section_of_params(stage: str) -> None:
    assert STAGES[stage]["cmd"] == f"python -m pipeline.{stage}"
    assert STAGES[stage]["params"] == [stage]


def test_stages_do_not_import_each_other() -> None:
    scripts = {ROOT / "pipeline" / f"{stage}.py" for stage in STAGES}
    for script in scripts:
        assert not _imported(script) & scripts, script


@pytest.mark.parametrize("stage", ["train", "evaluate", "register"])
def test_training_and_what_follows_depend_on_no_decoder(stage: str) -> None:
    imaging = {dep for dep in STAGES[stage]["deps"] if dep.startswith("serving/imaging/")}
    # The guard is fitted to changed radiographs, brought into canonical form again: from pixels to pixels.
    forms = {dep for dep in imaging if stage == "evaluate" and dep.startswith("serving/imaging/canonical/")}
    assert imaging - forms <= {"serving/imaging/canvas.py", "serving/imaging/noise.py"}


def test_serving_imports_neither_the_pipeline_nor_what_only_training_needs() -> None:
    heavy = {"pipeline", "tensorflow", "keras", "mlflow", "dvc", "pandas", "sklearn", "scipy"}
    for path in (ROOT / "serving").rglob("*.py"):
        tree = ast.walk(ast.parse(path.read_text()))
        names = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
        tree = ast.walk(ast.parse(path.read_text()))
        names |= {node.module for node in tree if isinstance(node, ast.ImportFrom) and node.module}
        assert not {name.split(".")[0] for name in names} & heavy, path
