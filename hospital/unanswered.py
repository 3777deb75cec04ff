"""What is said of a server that does not answer."""

import httpx

from hospital.errors import TryAgainError
from serving.errors import one_line


def unreachable(name: str, error: httpx.HTTPError | OSError) -> TryAgainError:
    """That a server does not answer, and why."""
    return TryAgainError("unreachable", f"{name} does not answer ({why(error)})")


def why(error: httpx.HTTPError | OSError) -> str:
    """Why a connection could not be made; of what failed on it the kind alone, as its text may repeat data."""
    if isinstance(error, httpx.ConnectError):
        return one_line(error, 200)
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
