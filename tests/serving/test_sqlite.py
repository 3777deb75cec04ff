"""SQLite's write-ahead logging, switched on by several at once."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from serving.sqlite import log_ahead


@pytest.fixture
def held(tmp_path: Path) -> sqlite3.Connection:
    """Hold a new database, as a process does that makes its tables."""
    connection = sqlite3.connect(tmp_path / "new.db", check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def test_it_waits_for_whoever_holds_the_new_database(held: sqlite3.Connection, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "new.db", timeout=0)
    letting_go = threading.Timer(0.1, held.rollback)
    letting_go.start()
    log_ahead(other.cursor(), 10)
    letting_go.join()
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_it_gives_up_when_its_patience_ends(held: sqlite3.Connection, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "new.db", timeout=0)
    began = time.monotonic()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        log_ahead(other.cursor(), 0.05)
    assert time.monotonic() - began >= 0.05
    held.close()
