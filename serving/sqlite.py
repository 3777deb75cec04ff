"""What the databases of this project in SQLite have in common."""

import sqlite3
import time

_RETRY_SECONDS = 0.01


def log_ahead(cursor: sqlite3.Cursor, patience: float) -> None:
    """Switch a database to write-ahead logging, in which readers and a writer work at once.

    Of a new file SQLite does not wait while another process does the same, whatever its busy time-out: this tries
    again for `patience` seconds, then raises sqlite3.OperationalError.
    """
    until = time.monotonic() + patience
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return
