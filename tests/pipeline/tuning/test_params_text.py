"""params.yaml with a trial's values, as text."""

import subprocess
from pathlib import Path

from pipeline.tuning import params_text

TEXT = (Path(__file__).parents[3] / "params.yaml").read_text()
VALUES = {"train.learning_rate": 0.001, "train.augmentation.rotation": 12, "train.architecture": "MobileNet"}


def test_only_the_lines_of_the_values_change_and_their_comments_stay() -> None:
    lines = zip(TEXT.splitlines(), params_text.changed(TEXT, VALUES).splitlines(), strict=True)
    changed = [(old, new) for old, new in lines if old != new]
    assert len(changed) == 3
    assert all(old.partition("#")[2] == new.partition("#")[2] for old, new in changed)


def test_values_that_stand_there_already_change_nothing() -> None:
    assert params_text.changed(TEXT, {"train.learning_rate": 0.0003, "train.augmentation.rotation": 8.0}) == TEXT


def test_git_takes_the_diff(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(TEXT)
    wanted = params_text.changed(TEXT, VALUES)
    difference = params_text.difference(TEXT, wanted)
    subprocess.run(["git", "apply", "-"], input=difference, text=True, cwd=tmp_path, check=True)
    assert (tmp_path / "params.yaml").read_text() == wanted
