"""Answers of an archive in the report of `fracture monitor`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.archive.places import open_place
from pipeline.archive.shards import PLAN
from pipeline.cli import assemble
from pipeline.cli.monitor import monitor
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
    assert f"mean against {earlier}" in said
    assert f"against\n{earlier}," in (tmp_path / "report/monitor.html").read_text()
    assert "the time before" not in said
    assert "against training" not in said.split("## Assumptions")[0]
    assert f"# Monitoring, {scored}" in said
    assert "| site " not in said
    assert "Images a day" not in (tmp_path / "report/monitor.html").read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--earlier", "out"], "--earlier is compared with another scoring; name that with --scored"),
        (["--scored", "out", "--store", "sqlite:///a.db"], "--scored is read instead of a store; leave --store out"),
        (["--scored", "out", "--since", "7d"], "--since: a scoring has no times; leave it out"),
        (["--scored", "out", "--by", "region,site"], "--by site: a scoring has no sites; leave it out"),
        (["--scored", "out", "--shadow"], "--shadow reads a store; leave --scored out"),
        (["--shadow", "--by", "site"], "--by: two models are compared over all answers; leave it out"),
        (["--shadow", "--check"], "--check: a comparison of two models calls nothing moved; leave it out"),
    ],
)
def test_options_that_would_be_passed_over_are_wrong_usage(words: list[str], line: str) -> None:
    done = CliRunner().invoke(assemble(["monitor"]), ["monitor", *words], env={"FRACTURE_STORE_URL": "sqlite:///b.db"})
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {line}")
    assert done.stderr.count("\n") == 1


def test_store_of_the_environment_is_no_wrong_usage_beside_a_scoring(
    places: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRACTURE_STORE_URL", f"sqlite:///{tmp_path}/absent.db")
    words = ["--scored", places[0], "--by", "region", "--bundle", str(RELEASE), "--output", str(tmp_path / "report")]
    assert CliRunner().invoke(assemble(["monitor"]), ["monitor", *words]).exit_code == 0
