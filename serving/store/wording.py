"""A database's address, and what its driver says of a failure, as a line for a person; never with a password."""

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from serving.errors import one_line

_LONGEST = 500
_SECRETS = frozenset({"password", "sslpassword"})
"""Keys behind the question mark that libpq takes a password from, too."""


def address_of(url: URL) -> str:
    """The address, without the passwords in it."""
    return url.difference_update_query(_SECRETS).render_as_string(hide_password=True)


def reason_of(error: SQLAlchemyError) -> str:
    """The first line of what the driver said, whole, without the statement, its values, and advice on servers.

    Of a connection to PostgreSQL that failed it names host, port and reason.
    """
    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    first = next((line for line in str(said).splitlines() if line.strip()), "")
    return one_line(first, _LONGEST) or type(said).__name__
