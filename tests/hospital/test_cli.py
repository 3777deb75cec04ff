"""The commands beside a gateway: one line for a mistake, the queue by hand."""

import io
import sys
from pathlib import Path

import pytest

from hospital import cli
from hospital.database import Database
from hospital.metrics import Metrics
from hospital.parts import Parts
from hospital.queue import Backoff, Queue
from hospital.spool import Spool
from hospital.worklist.accounts import Accounts
from tests.ports import free_port


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a gateway's folder with a dead letter, job 1, and a waiting job, 2."""
    (tmp_path / "hospital.toml").write_text("")
    spool, database = Spool(tmp_path / "spool"), Database(f"sqlite:///{tmp_path}/spool/gateway.db")
    spool.prepare()
    database.prepare()
    parts = Parts(database, Queue(database, "gateway", "here", 300, Backoff()), spool, Metrics())
    with database.session() as session:
        parts.queue.add(session, "deliver", "1:pacs", 1, destination="pacs")
    lease = parts.queue.claim("deliver", "pacs")
    assert lease
    with database.session() as session:
        parts.queue.bury(session, lease, "rejected", "PACS rejects this AE")
        parts.queue.add(session, "score", "1.2:ab", 1)
    database.close()
    return tmp_path


def run(folder: Path, *words: str) -> int:
    return cli.main(["--config", str(folder / "hospital.toml"), *words])


def test_queue_shows_dead_letters_with_their_reason(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "queue") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "dead" in first
    assert first.endswith("rejected: PACS rejects this AE")
    assert "waiting  score" in second


def test_list_of_a_state_shows_that_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "queue", "list", "--state", "waiting") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_retry_of_all_dead_letters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "queue", "retry", "--dead") == 0
    assert run(folder, "queue", "list", "--state", "dead") == 0
    assert capsys.readouterr().out.splitlines() == ["1 retried", "no such jobs"]


def test_drop_of_one_job(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "queue", "drop", "1") == 0
    assert run(folder, "queue", "list", "--state", "dropped") == 0
    assert "dropped: by hand" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("queue", "retry"), "name jobs by their number"),
        (("queue", "drop", "99"), "job 99: is done or unknown; nothing was changed"),
    ],
)
def test_mistake_has_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], line: str
) -> None:
    assert run(folder, *words) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {line}")
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("words", [("list", "--limit"), ("retry",), ("drop",)])
@pytest.mark.parametrize("number", ["0", "1.5", "x", "9" * 30])
def test_number_that_is_none_is_wrong_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], number: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(folder, "queue", *words, number)
    assert f"{number!r} is no number from 1 to " in capsys.readouterr().err


def test_queue_before_the_first_start_says_what_makes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hospital.toml").touch()
    assert run(tmp_path, "queue") == 1
    told = capsys.readouterr().err
    assert told.endswith("its folder is not there; `fracture hospital check` makes the spool\n")
    assert told.count("\n") == 1


def test_bundle_that_is_not_there_is_named_with_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hospital.toml").write_text('[model]\nbundle = "nowhere"')
    assert run(tmp_path, "check") == 1
    assert capsys.readouterr().err.startswith(f"error: model.bundle: {tmp_path}/nowhere/model.json: not found")


def test_spool_that_is_a_file_has_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hospital.toml").touch()
    (tmp_path / "spool").touch()
    assert run(tmp_path, "check") == 1
    assert capsys.readouterr().err == f"error: spool: {tmp_path}/spool is no folder; name another\n"


def test_missing_configuration_has_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "check") == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_database_of_another_version_has_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = Database(f"sqlite:///{folder}/spool/gateway.db")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE settings SET value = '99' WHERE name = 'schema'")
    database.close()
    assert run(folder, "queue") == 1
    assert "has schema 99" in capsys.readouterr().err


def test_server_of_the_database_that_does_not_answer_is_named_without_its_password(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("HOSPITAL_DATABASE_URL", f"postgresql+psycopg://user:secret@127.0.0.1:{port}/name")
    assert run(folder, "queue") == 1
    assert capsys.readouterr().err == (
        f"error: database postgresql+psycopg://user:***@127.0.0.1:{port}/name: connection failed: connection to server "
        f'at "127.0.0.1", port {port} failed: Connection refused\n'
    )


def test_database_that_fails_meanwhile_has_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = Database(f"sqlite:///{folder}/spool/gateway.db")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE jobs")
        connection.exec_driver_sql("CREATE VIEW jobs AS SELECT 1 AS one")
    database.close()
    assert run(folder, "queue") == 1
    told = capsys.readouterr().err
    assert told.startswith("error: database: no such column: jobs.")
    assert told.count("\n") == 1


def test_example_of_the_deployment_is_well_formed() -> None:
    from hospital import config

    found = config.read(Path(__file__).parents[2] / "deploy/hospital/hospital.toml")
    assert [one.name for one in found.destinations] == ["pacs"]


def test_password_becomes_a_line_for_the_file_of_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse battery\n"))
    assert run(tmp_path, "password", "reader") == 0
    line = capsys.readouterr().out.strip()
    assert Accounts(None, line).holds("reader", "correct horse battery")


def test_short_password_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("short\n"))
    assert run(tmp_path, "password", "reader") == 1
    assert capsys.readouterr().err == "error: a password has 12 to 256 characters\n"
