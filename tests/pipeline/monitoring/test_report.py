"""`fracture monitor` on a store: the site whose detector changed is named, in every form of the report."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import assemble
from pipeline.errors import InputError
from serving.bundle import Bundle
from serving.store.database import Database
from tests.pipeline.monitoring.conftest import NOON, Answers
from tests.serving.store.rows import opinion


def _monitor(*words: str) -> Result:
    return CliRunner().invoke(assemble(["monitor"]), ["monitor", *words])


@pytest.fixture(scope="module")
def store(answers: Answers, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Fill a store: two sites for two weeks, of which south changed its detector a week ago."""
    url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'answers.db'}"
    database = Database(url)
    database.upgrade()
    moved = datetime.now(UTC) - NOON
    for seed, (site, days, scale) in enumerate(
        [("north", 2, 1.0), ("north", 9, 1.0), ("south", 2, 1.8), ("south", 9, 1.0)]
    ):
        rows = answers(120, timedelta(days=days) - moved, seed=seed, scale=scale, site=site)
        database.add_answers(rows)
    for number in range(30):
        database.add_feedback(
            opinion(0, answer_id=f"{0:016x}{number:016x}", opinion="disagree" if number < 6 else "agree")
        )
    return url


@pytest.fixture(scope="module")
def reported(store: str, bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """Run the command once."""
    folder = tmp_path_factory.mktemp("reports")
    words = ("--store", store, "--since", "7d", "--bundle", str(bundle_folder), "--output", str(folder), "--check")
    return _monitor(*words), folder


def _written(reported: tuple[Result, Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((reported[1] / "monitor.json").read_text())
    return found


def test_the_site_that_changed_its_detector_is_named_and_no_other(reported: tuple[Result, Path]) -> None:
    found = _written(reported)
    assert "site south: sharpness against training" in found["moved"]
    assert "site south: sharpness against before" in found["moved"]
    assert not [line for line in found["moved"] if "site north" in line]
    assert "site south: sharpness against" in reported[0].stdout


def test_a_change_is_an_exit_code_for_scripts(reported: tuple[Result, Path]) -> None:
    assert reported[0].exit_code == 3


def test_volume_agreement_and_performance_are_those_of_the_store(reported: tuple[Result, Path]) -> None:
    groups = {group["name"]: group for group in _written(reported)["groups"]}
    assert (groups["all"]["answers"], groups["all"]["answers_before"]) == (240, 240)
    assert groups["site north"]["agreement"]["opinions"] == {"agree": 24, "disagree": 6, "unsure": 0}
    assert groups["site north"]["performance"]["images"] == 30
    assert groups["site south"]["performance"] is None
    assert groups["site south"]["estimate"]["images"] == 120


def test_the_markdown_on_disk_is_what_was_printed(reported: tuple[Result, Path]) -> None:
    assert (reported[1] / "monitor.md").read_text().strip() == reported[0].stdout.strip()


def test_the_page_holds_everything_it_shows(reported: tuple[Result, Path]) -> None:
    page = (reported[1] / "monitor.html").read_text()
    assert page.count("<svg") == 2
    assert "site south" in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")


def test_a_site_cannot_write_into_the_page(answers: Answers, opened: Bundle) -> None:
    from pipeline.monitoring import page, report
    from pipeline.monitoring.window import window_of

    now = window_of(answers(60, site="<script>x"), [], NOON - timedelta(days=2), NOON, "normal")
    built = report.build(now, window_of([], [], NOON, NOON, "normal"), opened, ["site"])
    assert "<script>" not in page.html(built, now, window_of([], [], NOON, NOON, "normal"), opened)


def test_too_few_answers_are_not_called_unmoved(answers: Answers, opened: Bundle) -> None:
    from pipeline.monitoring import page, report
    from pipeline.monitoring.window import window_of

    now, before = (window_of(answers(number), [], NOON - timedelta(days=2), NOON, "normal") for number in (20, 0))
    built = report.build(now, before, opened, [])
    for said in (report.markdown(built), page.html(built, now, before, opened)):
        assert "Nothing was compared" in said
        assert "Nothing moved" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *(
            (["--since", text], f"--since {text}: write a whole number from 1 to 9999 and h, d or w, such as 30d")
            for text in ("soon", "99999w", "99999999999d", "0d", "-1d", "1.5d", "30", "d", "30 days")
        ),
        (["--by", "colour"], "--by colour: is none of site, region, model"),
        (["--since", "1h"], "the store holds no answer of the last 1h; name a longer time with --since"),
    ],
)
def test_bad_input_is_one_line(store: str, bundle_folder: Path, words: list[str], message: str) -> None:
    done = _monitor("--store", store, "--bundle", str(bundle_folder), *words)
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith(message)


def test_without_a_store_the_variable_is_named() -> None:
    assert "or set FRACTURE_STORE_URL" in str(_monitor("--store", "").exception)
