"""What is said of a database that fails: host, port and reason, whole, and never a password."""

import socket

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from serving.store.database import Database, StoreError
from serving.store.wording import address_of, reason_of

FIRST = 'connection to server at "2001:db8::1", port 5432 failed: ' + "a reason that is long, " * 12 + "whole"
REST = """
\tIs the server running on that host and accepting TCP/IP connections?
Multiple connection attempts failed. All failures were:
- host: 'a'"""


def test_first_line_is_whole_and_alone() -> None:
    assert reason_of(OperationalError("SELECT 1", {}, Exception(FIRST + REST))) == FIRST


@pytest.mark.parametrize("said", ["", "\n \n"])
def test_driver_that_says_nothing_is_named(said: str) -> None:
    assert reason_of(OperationalError("SELECT 1", {}, ValueError(said))) == "ValueError"


def test_error_of_no_driver_speaks_for_itself() -> None:
    assert reason_of(SQLAlchemyError("the pool is empty\nmore of it")) == "the pool is empty"


@pytest.mark.parametrize(
    "given",
    [
        "postgresql+psycopg://user:secret@db.example:5432/name",
        "postgresql+psycopg://user@db.example/name?password=secret",
        "postgresql+psycopg://user@db.example/name?sslmode=require&sslpassword=secret",
    ],
)
def test_address_has_no_password(given: str) -> None:
    told = address_of(make_url(given))
    assert "secret" not in told
    assert "db.example" in told


def test_server_that_does_not_answer_is_named_with_port_and_reason() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    with pytest.raises(StoreError) as raised:
        Database(f"postgresql://user:secret@127.0.0.1:{port}/name?password=secret").check()
    assert str(raised.value) == (
        f"postgresql+psycopg://user:***@127.0.0.1:{port}/name: connection failed: connection to server at "
        f'"127.0.0.1", port {port} failed: Connection refused'
    )
