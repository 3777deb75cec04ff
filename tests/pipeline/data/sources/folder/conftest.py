"""The folder that most of these tests start from."""

from pathlib import Path

import pytest

from tests.pipeline.data.sources.folder.builders import PATIENT, jpeg


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """One fractured and one normal radiograph, both named after a patient."""
    for i, name in enumerate(("fractured", "normal")):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / f"{PATIENT}_{i}.jpg").write_bytes(jpeg(grey=100 * i))
    return tmp_path / "set"
