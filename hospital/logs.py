"""JSON lines on standard error, without anything of a patient at any level."""

import json
import logging
import sys
import threading
import time
from typing import Any

_QUIET = (
    "pynetdicom",
    "pydicom",
    "highdicom",
    "httpx",
    "httpcore",
    "sqlalchemy",
    "uvicorn",
    "asyncio",
    "py.warnings",
    "python_multipart",
)
"""Loggers of libraries whose messages repeat data sets, names or addresses of objects."""
_LOGGER = logging.getLogger("hospital")


class _JsonLines(logging.Formatter):
    """One object a line; of an exception only its type and place, as its message may repeat a value."""

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info and record.exc_info[0]:
            facts["error"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            if trace is not None:
                facts["at"] = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        return json.dumps(facts, ensure_ascii=False)


def configure(level: str = "info") -> None:
    """Send the gateway's own lines to standard error, and nothing of the libraries below it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    _LOGGER.handlers[:] = [handler]
    _LOGGER.propagate = False
    _LOGGER.setLevel(level.upper())
    threading.excepthook = _thread_failed
    silence()


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    """A line instead of a traceback, whose message may repeat a value."""
    name = failed.thread.name if failed.thread else ""
    error = (failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback)
    _LOGGER.warning("thread_failed", extra={"facts": {"thread": name}}, exc_info=error)


def silence() -> None:
    """Take the libraries' loggers out, whatever level or handler somebody has given them or one below them."""
    for name in _QUIET:
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(tuple(f"{quiet}." for quiet in _QUIET)):
            below = logging.getLogger(name)
            below.handlers[:] = []
            below.propagate = True
    logging.captureWarnings(True)


def event(name: str, **facts: str | float | None) -> None:
    """A line of what happened; `facts` may hold UIDs, codes and counts, never what a header says of a person."""
    _LOGGER.info(name, extra={"facts": facts})


def exception(name: str, **facts: str | float | None) -> None:
    """A line of an exception that nobody foresaw, inside its `except` block: its type and place, not what it says."""
    _LOGGER.warning(name, extra={"facts": facts}, exc_info=True)


def trouble(name: str, **facts: str | float | None) -> None:
    """A line of what went wrong; inside an `except` block with the error's type and place."""
    _LOGGER.warning(name, extra={"facts": facts}, exc_info=sys.exc_info()[0] is not None)
