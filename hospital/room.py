"""A start on a full disk waits for space: what it has to write is tried again until it fits."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from hospital import logs
from serving.sqlite import says_full

T = TypeVar("T")

_FULL = (errno.ENOSPC, errno.EDQUOT)
_POSTGRESQL_FULL = "53100"
"""SQLSTATE disk_full."""
_WAIT_SECONDS = 1.0
_TELL_SECONDS = 60.0


class ToldToEndError(Exception):
    """The process was told to end while it waited for space."""


def never() -> bool:
    """Whether to end, for those whom nobody tells."""
    return False


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or the one that it was raised from, is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if says_full(error) or getattr(error, "sqlstate", "") == _POSTGRESQL_FULL:
            return True
        error = error.__cause__
    return False


def with_room(step: Callable[[], T], is_ending: Callable[[], bool] = never) -> T:
    """Do a step of the start, again and again while the disk is full; a line at first and then each minute says so.

    Raises what else the step raises, and ToldToEndError once `is_ending` while it waits.
    """
    began, told = 0.0, 0.0
    while True:
        try:
            done = step()
        except Exception as error:
            if not is_full(error):
                raise
            moment = time.monotonic()
            began = began or moment
            if not told or moment - told >= _TELL_SECONDS:
                told = moment
                logs.trouble("waiting_for_space", seconds=round(moment - began))
        else:
            if began:
                logs.event("space_found", seconds=round(time.monotonic() - began))
            return done
        time.sleep(_WAIT_SECONDS)
        if is_ending():
            raise ToldToEndError
