"""Names of trainings."""

from pathlib import Path

from pipeline.training import keys


def test_key_changes_with_parameters_data_and_code_only() -> None:
    code = {"a.py": b"x = 1"}
    key = keys.key_of({"a": 1, "b": 2}, ["d"], code)
    assert keys.key_of({"b": 2, "a": 1}, ["d"], code) == key
    assert keys.key_of({"a": 1, "b": 3}, ["d"], code) != key
    assert keys.key_of({"a": 1, "b": 2}, ["e"], code) != key
    assert keys.key_of({"a": 1, "b": 2}, ["d"], {"a.py": b"x = 2"}) != key


def test_a_stage_has_the_same_modules_in_every_clone(tmp_path: Path) -> None:
    found = []
    for clone in (tmp_path / "one", tmp_path / "two"):
        clone.mkdir()
        (clone / "dvc.yaml").write_text("stages: {train: {deps: [a.py, prepared]}}")
        (clone / "a.py").write_text("x = 1")
        found.append(keys.modules_of_stage(clone, "train"))
    assert found == [{"a.py": b"x = 1"}] * 2
