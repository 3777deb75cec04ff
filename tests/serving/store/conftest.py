"""A store in SQLite, and one in a PostgreSQL of the tests' own."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from serving.store.database import Database
from tests.deploy.tracking_server import DATABASE_PASSWORD, Postgres, postgres, reachable_folder


def address_of(server: Postgres) -> str:
    """The address of its database."""
    return f"postgresql://mlflow:{quote(DATABASE_PASSWORD, safe='')}@127.0.0.1:{server.port}/postgres"


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """Start a PostgreSQL on loopback, in a folder of its own."""
    with reachable_folder() as folder, postgres(folder / "server") as started:
        yield started


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'answers.db'}"
    started: Postgres = request.getfixturevalue("server")
    started.sql("DROP SCHEMA public CASCADE")
    started.sql("CREATE SCHEMA public")
    return address_of(started)


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    """Make the tables of a store of either kind."""
    made = Database(address)
    made.upgrade()
    yield made
    made.close()
