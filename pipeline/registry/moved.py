"""Artifact locations of the project's own MLflow database after the project was moved or copied: they are absolute."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

ARTIFACTS = "mlartifacts"
"""Folder beside the database that holds the artifacts."""
_EXPERIMENTS = "SELECT DISTINCT artifact_location FROM experiments"
_STATEMENTS = {
    "experiments": (_EXPERIMENTS, "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?"),
    "runs": ("SELECT DISTINCT artifact_uri FROM runs", "UPDATE runs SET artifact_uri = ? WHERE artifact_uri = ?"),
    "logged_models": (
        "SELECT DISTINCT artifact_location FROM logged_models",
        "UPDATE logged_models SET artifact_location = ? WHERE artifact_location = ?",
    ),
    "model_versions": (
        "SELECT DISTINCT storage_location FROM model_versions",
        "UPDATE model_versions SET storage_location = ? WHERE storage_location = ?",
    ),
}
"""Table -> how to read and how to change where its artifacts lie, as of MLflow 3."""
_SCHEME = "file://"
_WAIT_S = 5.0


def former_folder(database: Path) -> Path | None:
    """The folder that the project was in when its experiments were made; None where it is the one it is in now.

    Raises sqlite3.Error for a database that cannot be read or has other tables.
    """
    if not database.is_file():
        return None
    with closing(_open(database)) as connection:
        return next((folder.parent for folder in _foreign(connection, database)), None)


def bring_up_to_date(database: Path) -> Path | None:
    """Let the database name the artifacts that lie beside it; the folder it named before, None if nothing changed.

    New runs always go there. What was logged before is named there if it is there, or else if it is nowhere else.
    """
    if former_folder(database) is None:
        return None
    ours = database.absolute().parent / ARTIFACTS
    with closing(_open(database)) as connection, connection:
        folders = list(_foreign(connection, database))
        for folder in folders:
            old, new = folder.as_uri(), ours.as_uri()
            for table, (select, update) in _STATEMENTS.items():
                for (location,) in connection.execute(select).fetchall():
                    if not f"{location}/".startswith(f"{old}/"):
                        continue
                    here = new + location.removeprefix(old)
                    if table == "experiments" or _path(here).exists() or not folder.exists():
                        connection.execute(update, (here, location))
    return folders[0].parent


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=_WAIT_S)


def _foreign(connection: sqlite3.Connection, database: Path) -> Iterator[Path]:
    """Folders of artifacts, other than the one beside the database, that experiments name."""
    ours = database.absolute().parent / ARTIFACTS
    found = set()
    for (location,) in connection.execute(_EXPERIMENTS):
        path = _path(location or "")
        found |= {folder for folder in (path, *path.parents) if folder.name == ARTIFACTS}
    yield from sorted(folder for folder in found if folder not in {ours, ours.resolve()})


def _path(location: str) -> Path:
    return Path(unquote(urlsplit(location).path)) if location.startswith(_SCHEME) else Path()
