"""Logs are JSON lines, and no library adds to them at any level."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator

import pydicom
import pytest

from hospital import logs
from tests.hospital.objects import PATIENT

_SILENCED = ("pynetdicom.assoc", "pydicom", "highdicom.base", "sqlalchemy.engine", "httpx")
_LOGGERS = ("hospital", "pynetdicom", "pydicom", "highdicom", "sqlalchemy", "httpx", "py.warnings")


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the loggers back as they were."""
    import threading

    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    names = [name for name in logging.root.manager.loggerDict if name.startswith(_LOGGERS)]
    loggers = [logging.getLogger(name) for name in {*names, *_SILENCED}]
    before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, handlers, propagate, level in before:
        logger.handlers[:] = handlers
        logger.propagate = propagate
        logger.setLevel(level)
    logging.captureWarnings(False)


def test_line_is_json_with_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.event("ready", port=11112)
    told = json.loads(capsys.readouterr().err)
    assert (told["event"], told["port"], told["level"]) == ("ready", 11112, "info")


@pytest.mark.parametrize("tell", [logs.trouble, logs.exception])
def test_error_is_told_by_type_and_place_alone(capsys: pytest.CaptureFixture[str], tell: Callable[[str], None]) -> None:
    logs.configure()
    try:
        raise ValueError(PATIENT)
    except ValueError:
        tell("failed")
    line = capsys.readouterr().err
    assert PATIENT not in json.loads(line).values()
    assert json.loads(line)["error"] == "ValueError"
    assert json.loads(line)["at"].startswith("test_logs.py:")


@pytest.mark.parametrize("name", _SILENCED)
def test_libraries_are_silent_at_every_level(capsys: pytest.CaptureFixture[str], name: str) -> None:
    logger = logging.getLogger(name)
    logger.addHandler(logging.StreamHandler())  # as MLflow gives SQLAlchemy's
    logs.configure("debug")
    logger.setLevel(logging.DEBUG)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, PATIENT)
    assert capsys.readouterr().err == ""


def test_warnings_of_values_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        pydicom.Dataset().PatientBirthDate = PATIENT
    assert capsys.readouterr().err == ""
