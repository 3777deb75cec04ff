"""The store on both databases."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from serving.store.database import MIGRATIONS, Database
from serving.store.errors import StoreError
from serving.store.tables import METADATA
from tests.serving.store.rows import NOON, answer, opinion, shadow

LONG_AGO, FAR = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def test_an_answer_comes_back_as_it_was_written(database: Database) -> None:
    row = answer(1, patient="p" * 32, region="hand", region_source="header")
    database.add_answers([row])
    assert database.answers(LONG_AGO, FAR) == [row]


def test_an_answer_bears_the_pseudonym_that_it_was_given_last_and_no_other_does(database: Database) -> None:
    database.add_answers([answer(1, patient="p"), answer(2, patient="p")])
    assert database.rename_patient(answer(1).answer_id, "q")
    assert not database.rename_patient("unknown", "q")
    assert sorted(row.patient or "" for row in database.answers(LONG_AGO, FAR)) == ["p", "q"]


def test_a_shadows_answer_comes_back_as_it_was_written_and_is_written_once(database: Database) -> None:
    row = shadow(1, region="hand")
    database.add_shadows([row, shadow(1, model_sha256="u")])
    database.add_shadows([shadow(1, label="changed")])
    assert {one.model_sha256: one for one in database.shadows(LONG_AGO, FAR)}["t"] == row
    assert len(database.shadows(LONG_AGO, FAR)) == 2


def test_answers_with_feedback_are_those_that_somebody_spoke_of(database: Database) -> None:
    database.add_answers([answer(1), answer(2), answer(3, refused="blank")])
    for number in (2, 3, 4):
        database.add_feedback(opinion(number))
    assert [row.answer_id for row in database.answers_with_feedback()] == [answer(2).answer_id]


def test_a_time_of_another_zone_comes_back_in_utc(database: Database) -> None:
    database.add_answers([answer(1, at=NOON.astimezone(timezone(timedelta(hours=5))))])
    assert database.answers(NOON, NOON + timedelta(seconds=1))[0].at == NOON


def test_a_batch_that_is_sent_again_is_written_once(database: Database) -> None:
    database.add_answers([answer(1), answer(2)])
    database.add_answers([answer(2, label="changed"), answer(3)])
    assert [(row.answer_id[-1], row.label) for row in database.answers(LONG_AGO, FAR)] == [
        ("1", "Normal"), ("2", "Normal"), ("3", "Normal")
    ]  # fmt: skip


def test_only_the_answers_of_the_time_asked_for_are_read(database: Database) -> None:
    database.add_answers([answer(day, at=NOON + timedelta(days=day)) for day in range(4)])
    found = database.answers(NOON + timedelta(days=1), NOON + timedelta(days=3))
    assert [row.answer_id[-1] for row in found] == ["1", "2"]


def test_an_answer_is_found_by_its_id_its_request_and_its_image(database: Database) -> None:
    first, second, third = (
        answer(1),
        answer(2, request_id="asked"),
        answer(3, request_id="asked", image_sha256="f" * 64),
    )
    database.add_answers([third, first, second])
    assert database.find(first.answer_id) == [first]
    assert database.find("asked") == [second, third]
    assert database.find("f" * 64) == [third]
    assert database.find("%") == []


def test_the_last_opinion_of_a_reader_counts_and_the_history_stays(database: Database) -> None:
    assert database.add_feedback(opinion(1)) == 1
    assert database.add_feedback(opinion(1, opinion="disagree", boxes=[[0.1, 0.2, 0.3, 0.4]])) == 2
    assert database.add_feedback(opinion(1, reader="other")) == 1
    found = {row.reader: row for row in database.opinions()}
    assert (found["ward"].opinion, found["ward"].boxes) == ("disagree", [[0.1, 0.2, 0.3, 0.4]])
    assert found["other"].opinion == "agree"


def test_an_opinion_taken_back_is_none(database: Database) -> None:
    database.add_feedback(opinion(1))
    database.add_feedback(opinion(1, opinion="withdrawn"))
    assert database.opinions() == []


def test_feedback_needs_no_answer_in_the_store(database: Database) -> None:
    assert database.add_feedback(opinion(77)) == 1


def test_the_migrations_make_the_tables_that_the_program_uses(database: Database) -> None:
    with database._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_a_store_without_tables_is_told_how_to_get_them(address: str) -> None:
    with pytest.raises(StoreError, match=r"has no tables yet; run: python -m serving\.store upgrade"):
        Database(address).check()


def test_two_upgrades_at_once_do_not_disturb_each_other(address: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: Database(address).upgrade(), range(2))) == ["0002", "0002"]
    Database(address).check()


def test_a_store_of_the_version_before_is_told_so_and_keeps_its_rows(database: Database) -> None:
    database.add_answers([answer(1)])
    with database._engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.downgrade(config, "0001")
    with pytest.raises(StoreError, match="is of version 0001, this program needs 0002"):
        database.check()
    database.upgrade()
    assert database.answers(LONG_AGO, FAR) == [answer(1)]


def test_a_version_that_cannot_be_read_is_one_line(address: str) -> None:
    database = Database(address)
    with database._engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (other INTEGER)")
    with pytest.raises(StoreError, match="version_num"):
        database.check()
    database.close()


@pytest.mark.parametrize("address", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
def test_a_value_too_long_for_its_column_is_a_fault_of_the_row(database: Database) -> None:
    with pytest.raises(ValueError, match="too long"):
        database.add_answers([answer(1, site="x" * 65)])


@pytest.mark.parametrize("changes", [{"site": None}, {"statistics": {"mean": {1}}}])
def test_a_value_that_no_column_takes_is_a_fault_of_the_row(database: Database, changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=r"site|JSON"):  # a driver may raise its own
        database.add_answers([answer(1, **changes)])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "the store's address cannot be read"),
        ("mysql://user:secret@host/x", "begins with mysql; sqlite and postgresql are supported"),
    ],
)
def test_an_address_that_is_no_store_is_one_line(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Database(url)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="file is not a database"):
        Database(f"sqlite:///{tmp_path / 'x.db'}").check()


def test_a_database_that_is_away_is_one_line_without_its_password() -> None:
    with pytest.raises(StoreError) as raised:
        Database("postgresql://user:secret@127.0.0.1:9/x").check()
    assert re.match(r"postgresql\+psycopg://user:\*\*\*@127\.0\.0\.1:9/x: connection", str(raised.value))
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def _command(*words: str, url: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.store", *words], env={"FRACTURE_STORE_URL": url}, capture_output=True,
        text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip


def test_the_command_makes_the_tables(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'answers.db'}"
    assert "has no tables yet" in _command("check", url=url).stderr
    assert not (tmp_path / "answers.db").exists()
    assert _command("upgrade", url=url).stdout == f"{url}: ready\n"
    assert _command("check", url=url).returncode == 0


@pytest.mark.parametrize(
    ("words", "url", "code", "line"),
    [
        (["check"], "", 1, "error: FRACTURE_STORE_URL is not set; it names the database"),
        (["improve"], "sqlite://", 2, "usage: FRACTURE_STORE_URL=... python -m serving.store upgrade|check"),
        (["upgrade"], "sqlite:////nowhere/x.db", 1, "error: sqlite:////nowhere/x.db: unable to open database file"),
    ],
)
def test_a_wrong_command_ends_in_one_line(words: list[str], url: str, code: int, line: str) -> None:
    done = _command(*words, url=url)
    assert (done.returncode, done.stderr.strip()) == (code, line)
