"""Names of trainings."""

from pathlib import Path

from pipeline.training import keys


def test_key_changes_with_parameters_data_and_code_only(tmp_path: Path) -> None:
    code = tmp_path / "a.py"
    code.write_text("x = 1")
    key = keys.key_of({"a": 1, "b": 2}, ["d"], [code])
    assert keys.key_of({"b": 2, "a": 1}, ["d"], [code]) == key
    assert keys.key_of({"a": 1, "b": 3}, ["d"], [code]) != key
    assert keys.key_of({"a": 1, "b": 2}, ["e"], [code]) != key
    code.write_text("x = 2")
    assert keys.key_of({"a": 1, "b": 2}, ["d"], [code]) != key
