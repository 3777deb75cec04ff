"""Answers of an archive in the report of `fracture monitor`."""

from pathlib import Path

import pytest

from pipeline.archive.places import open_place
from pipeline.archive.shards import PLAN
from pipeline.cli.monitor import monitor
from pipeline.errors import InputError
from serving.bundle import Bundle
from tests.pipeline.archive.conftest import RELEASE
from tests.pipeline.archive.scorings import rows_like_training, write_answers


@pytest.fixture
def places(opened: Bundle, tmp_path: Path) -> tuple[str, str]:
    """Write a scoring with a refusal, and an earlier one of darker images."""
    rows = rows_like_training(opened, 200)
    refused = rows[0] | {"error_code": "not_a_radiograph", "probability": None}
    dark = [row | {"input_mean": 20.0} for row in rows]
    for name, content in (("now", [refused, *rows[1:]]), ("earlier", dark)):
        place = open_place(str(tmp_path / name))
        write_answers(place, content)
        place.write(PLAN, b"{}")
    return str(tmp_path / "now"), str(tmp_path / "earlier")


def test_two_scorings_are_compared_with_training_and_each_other(
    places: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored, earlier = places
    monitor(scored=scored, earlier=earlier, bundle=RELEASE, output=tmp_path / "report")
    said = capsys.readouterr().out
    assert "| all | 199 | 200 | 1 " in said
    assert "mean against the time before" in said
    assert "against training" not in said.split("## Assumptions")[0]
    assert f"# Monitoring, {scored}" in said
    assert "| site " not in said
    assert "Images a day" not in (tmp_path / "report/monitor.html").read_text()


def test_an_earlier_scoring_alone_is_refused() -> None:
    with pytest.raises(InputError, match="name that with --scored"):
        monitor(earlier="out")
