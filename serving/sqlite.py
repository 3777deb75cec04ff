"""What the databases of this project in SQLite have in common."""

import sqlite3
import time

_RETRY_SECONDS = 0.01
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
"""The second where there is no room for the index of the log (-shm), which even a reader makes."""


def log_ahead(cursor: sqlite3.Cursor, patience: float) -> None:
    """Switch a database to write-ahead logging, in which readers and a writer work at once.

    Of a new file SQLite does not wait while another process does the same, whatever its busy time-out: this tries
    again for `patience` seconds, then raises sqlite3.OperationalError; on a full disk it raises that at once.
    """
    until = time.monotonic() + patience
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if says_full(error) or time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def says_full(error: BaseException) -> bool:
    """Whether an error is what SQLite says of a full disk."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) in _FULL
