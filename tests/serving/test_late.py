"""Modules that are loaded when they are first used."""

import pickle
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pipeline import late as pipeline_late
from serving import late as serving_late
from serving.late import late


def test_a_late_module_is_loaded_by_its_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "told_when_used.py").write_text("import sys\nprint('loaded', file=sys.stderr)\nvalue = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    told = late("told_when_used")
    assert "told_when_used" not in sys.modules
    assert (told.value, told.value) == (7, 7)
    assert capfd.readouterr().err == "loaded\n"  # nothing is hidden: other threads write as well


def test_a_module_that_is_not_installed_is_missed_at_its_first_use() -> None:
    extra = late("an_extra_that_nobody_installed")
    with pytest.raises(ModuleNotFoundError, match="an_extra_that_nobody_installed"):
        extra.connect()


@pytest.mark.parametrize("of", [serving_late, pipeline_late])
def test_a_late_module_travels_to_another_process_by_its_name(of: ModuleType) -> None:
    sent = pickle.loads(pickle.dumps(of.late("fractions")))  # noqa: S301  our own bytes
    assert sent.Fraction(1, 2) == 0.5
