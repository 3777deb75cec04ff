"""The database behind FRACTURE_STORE_URL: its connection, its version, and what is written and read of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Table, create_engine, event, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    NotSupportedError,
    SQLAlchemyError,
    StatementError,
)

from serving.errors import one_line
from serving.sqlite import log_ahead
from serving.store.errors import StoreError
from serving.store.records import AnswerRecord, FeedbackRecord, ShadowRecord
from serving.store.tables import ANSWERS, FEEDBACK, SHADOWS
from serving.store.wording import address_of, reason_of

MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_SECONDS = 5
"""That a statement waits for another process' lock, and a connection for the server."""
_STATEMENT_MS = 10_000
_INSERTS: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_FAULTS_OF_ROWS = (DataError, IntegrityError, NotSupportedError)
"""What a database that works says of rows that it will never take."""
_UPGRADE_LOCK = 5_081_960_101
"""Of PostgreSQL's advisory locks: two commands that upgrade at once take turns. SQLite locks the file."""


class Database:
    """One store. Threads may share it; it connects when it is first used."""

    def __init__(self, url: str) -> None:
        """StoreError for an address of another kind of database."""
        self._url = _parsed(url)
        self.name = address_of(self._url)
        self._engine = _engine(self._url)

    def check(self) -> None:
        """StoreError unless the tables are there, in the version of this program."""
        if self._is_unmade():
            raise StoreError(f"{self.name}: has no tables yet; run: python -m serving.store upgrade")
        with self._connected() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        if found != (wanted := _head()):
            state = "has no tables yet" if found is None else f"is of version {found}, this program needs {wanted}"
            raise StoreError(f"{self.name}: {state}; run: python -m serving.store upgrade")

    def _is_unmade(self) -> bool:
        """Whether the file of SQLite is not there; connecting would leave an empty one behind."""
        if self._url.get_backend_name() != "sqlite":
            return False
        file = self._url.database or ":memory:"
        is_path = not file.startswith((":memory:", "file:"))
        return is_path and Path(file).parent.is_dir() and not Path(file).exists()

    def upgrade(self) -> str:
        """Make the tables, or bring them to the version of this program; that version. StoreError."""
        with self._connected() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
            else:
                connection.exec_driver_sql("BEGIN EXCLUSIVE")
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
            command.upgrade(config, "head")
            connection.commit()
        return _head()

    def add_answers(self, rows: Sequence[AnswerRecord]) -> None:
        """Write answers; those that are there already stay as they are, so that a batch may be sent again.

        StoreError when the database cannot be reached; ValueError for rows that it will never take.
        """
        self._add(ANSWERS, rows)

    def add_shadows(self, rows: Sequence[ShadowRecord]) -> None:
        """Write answers of a shadow bundle, as `add_answers` does."""
        self._add(SHADOWS, rows)

    def _add(self, table: Table, rows: Sequence[AnswerRecord] | Sequence[ShadowRecord]) -> None:
        key = [column.name for column in table.primary_key]
        statement = _INSERTS[self._engine.dialect.name](table).on_conflict_do_nothing(index_elements=key)
        with self._connected() as connection:
            try:
                connection.execute(statement, [_in_utc(row) for row in rows])
                connection.commit()
            except StatementError as error:
                if isinstance(error, DBAPIError) and not isinstance(error, _FAULTS_OF_ROWS):
                    raise
                raise ValueError(reason_of(error)) from None

    def add_feedback(self, row: FeedbackRecord) -> int:
        """Write an opinion beside the reader's earlier ones; how many there are of this answer now. StoreError."""
        mine = (FEEDBACK.c.answer_id == row.answer_id) & (FEEDBACK.c.reader == row.reader)
        with self._connected() as connection:
            connection.execute(insert(FEEDBACK), [_in_utc(row)])
            count = connection.scalar(select(func.count()).select_from(FEEDBACK).where(mine))
            connection.commit()
        return int(count or 0)

    def rename_patient(self, answer_id: str, patient: str) -> bool:
        """Let an answer bear another pseudonym of its patient; False where there is no such answer. StoreError."""
        with self._connected() as connection:
            changed = connection.execute(
                update(ANSWERS).where(ANSWERS.c.answer_id == answer_id).values(patient=patient)
            ).rowcount
            connection.commit()
        return changed > 0

    def answers(self, since: datetime, until: datetime) -> list[AnswerRecord]:
        """Answers and refusals of a time, the oldest first. StoreError."""
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        chosen = select(ANSWERS).where(ANSWERS.c.at >= since, ANSWERS.c.at < until).order_by(ANSWERS.c.at)
        return [AnswerRecord(**_with_zone(row)) for row in self._rows(chosen)]

    def answers_with_feedback(self) -> list[AnswerRecord]:
        """Answers that somebody ever said something of, the oldest first. StoreError."""
        heard = ANSWERS.c.answer_id.in_(select(FEEDBACK.c.answer_id))
        chosen = select(ANSWERS).where(heard, ANSWERS.c.refused.is_(None)).order_by(ANSWERS.c.at, ANSWERS.c.answer_id)
        return [AnswerRecord(**_with_zone(row)) for row in self._rows(chosen)]

    def shadows(self, since: datetime, until: datetime) -> list[ShadowRecord]:
        """Answers of shadow bundles to the images of a time, the oldest first. StoreError."""
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        chosen = select(SHADOWS).where(SHADOWS.c.at >= since, SHADOWS.c.at < until).order_by(SHADOWS.c.at)
        return [ShadowRecord(**_with_zone(row)) for row in self._rows(chosen)]

    def find(self, name: str) -> list[AnswerRecord]:
        """Answers and refusals by answer_id, request_id or their image's sha256, the oldest first. StoreError."""
        known = (ANSWERS.c.answer_id, ANSWERS.c.request_id, ANSWERS.c.image_sha256)
        chosen = (
            select(ANSWERS)
            .where(or_(*(column == name for column in known)))
            .order_by(ANSWERS.c.at, ANSWERS.c.answer_id)
        )
        return [AnswerRecord(**_with_zone(row)) for row in self._rows(chosen)]

    def opinions(self) -> list[FeedbackRecord]:
        """The current opinion of every reader and answer, without those taken back, the oldest first. StoreError."""
        last = select(func.max(FEEDBACK.c.feedback_id)).group_by(FEEDBACK.c.answer_id, FEEDBACK.c.reader)
        columns = [column for column in FEEDBACK.c if column.name != "feedback_id"]
        chosen = select(*columns).where(FEEDBACK.c.feedback_id.in_(last), FEEDBACK.c.opinion != "withdrawn")
        return [FeedbackRecord(**_with_zone(row)) for row in self._rows(chosen.order_by(FEEDBACK.c.feedback_id))]

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _rows(self, statement: Any) -> list[dict[str, Any]]:
        with self._connected() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection; StoreError for whatever fails while it is used."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"{self.name}: {reason_of(error)}") from None


def _parsed(url: str) -> URL:
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(
            "the store's address cannot be read; write sqlite:////var/lib/fracture/answers.db or "
            "postgresql://user:password@host/database"
        ) from None
    if found.get_backend_name() not in _INSERTS:
        raise StoreError(f"the store's address begins with {found.drivername}; sqlite and postgresql are supported")
    return found.set(drivername="postgresql+psycopg") if found.drivername == "postgresql" else found


def _engine(url: URL) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            made = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
            event.listen(made, "connect", _prepare_sqlite)
            return made
        options = {"connect_timeout": _BUSY_SECONDS, "options": f"-c statement_timeout={_STATEMENT_MS}"}
        return create_engine(url, connect_args=options, pool_pre_ping=True, pool_size=2, max_overflow=2)
    except (NoSuchModuleError, ImportError) as error:
        raise StoreError(f"the store's driver is missing ({one_line(error, 120)}); install locks/store.txt") from None


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """Let readers and a writer work at once, and let a power cut lose seconds, never the file."""
    cursor = connection.cursor()
    log_ahead(cursor, _BUSY_SECONDS)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _head() -> str:
    return str(ScriptDirectory(str(MIGRATIONS)).get_current_head())


def _in_utc(row: AnswerRecord | FeedbackRecord | ShadowRecord) -> dict[str, Any]:
    return {**asdict(row), "at": row.at.astimezone(UTC)}


def _with_zone(row: dict[str, Any]) -> dict[str, Any]:
    """SQLite keeps times without their zone; ours are all UTC."""
    at = row["at"]
    return {**row, "at": at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)}
