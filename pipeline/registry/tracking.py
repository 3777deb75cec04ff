"""Where the tracking server is, and what its errors mean: one line that names the address and what to do."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InputError
from pipeline.files import home_root
from serving import errors

DATABASE = "mlflow.db"
BUSY = "its database is busy, as another process is writing to it; repeat when that is done"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or the SQLite database in the root of the person's checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home_root() / DATABASE}"


def shown_uri() -> str:
    """The tracking address without a password, for messages."""
    return re.sub(r"//[^/@]*@", "//***@", tracking_uri())


def database_file() -> Path | None:
    """The SQLite file behind the tracking address, if it is one."""
    uri = tracking_uri()
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


class TrackingError(InputError):
    """MLflow did not do what was asked; its line names the address and what to do."""

    def __init__(self, error: BaseException) -> None:
        self.gist = one_line(error)
        """MLflow's own message."""
        self.lacking = _refusal(error)
        """What the login, permission or certificate lacks; None for other errors."""
        self.denied = _is_denied(error)
        """Whether the server knows who asks and does not let them."""
        self.missing = getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"
        """Whether there is nothing of that name or number."""
        what = self.lacking or (BUSY if is_busy(error) else f"{self.gist}; {_remedy()}")
        super().__init__(f"MLflow at {shown_uri()}: {what}")


@contextmanager
def answering() -> Iterator[None]:
    """Turn what MLflow, its database and the network raise into a TrackingError; a defect of ours stays what it is."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or not _is_foreign(error):
            raise
        raise TrackingError(error) from None


def one_line(error: BaseException) -> str:
    """The gist of an MLflow error, without its stack of retries."""
    return re.sub(r"//[^/@\s]*@", "//***@", errors.one_line(error, 3000))[:300]


def _is_denied(error: BaseException) -> bool:
    """Whether the server knows who asks and does not let them."""
    return getattr(error, "error_code", "") == "PERMISSION_DENIED" or _status(error) == 403


def is_busy(error: BaseException) -> bool:
    """Whether another process is writing to the SQLite database."""
    return "database is locked" in str(error)


def _status(error: BaseException) -> int:
    """The status of a server's answer that an error is about, 0 for other errors."""
    answer = getattr(error, "response", None)
    found = getattr(answer, "status_code", None) or re.search(r"failed with error code (\d{3})\b", str(error))
    if isinstance(found, re.Match):
        return int(found[1])
    return int(found or 0)


def _refusal(error: BaseException) -> str | None:
    """What a login, a permission or a certificate lacks, and how to mend it; None for other errors."""
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            "its certificate is not one that this machine trusts; name the file of its issuer in "
            "MLFLOW_TRACKING_SERVER_CERT_PATH"
        )
    if _status(error) == 401:
        return (
            "it does not know this login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            " (docs/cloud/tracking-server.md)"
        )
    if _is_denied(error) and "Permission denied" in text:
        user = os.environ.get("MLFLOW_TRACKING_USERNAME") or "this user"
        return f"{user} has no permission for this; its administrator can grant it (docs/cloud/tracking-server.md)"
    return None


def _remedy() -> str:
    file = database_file()
    if file is None:
        return "start the server or set MLFLOW_TRACKING_URI, then repeat"
    return f"if the database is damaged, move {file.name} away and repeat: `dvc repro -sf register` registers anew"


def _is_foreign(error: BaseException) -> bool:
    """Whether an error comes out of MLflow, its database or the network, not out of this project's code."""
    return type(error).__module__.split(".")[0] in {"mlflow", "requests", "urllib3", "sqlalchemy", "sqlite3"}
