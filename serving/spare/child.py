"""What the spare processes have in common: little of the processor, one frame after the other, one line for each."""

import json
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from serving.errors import one_line
from serving.spare import frames

Work = Callable[[Mapping[str, Any], bytes], dict[str, Any]]
"""Facts and content of a frame to what is said of it: `done`, or `dropped` with a reason and perhaps a `message`."""
_NICEST = 19
_PAUSE_SECONDS = 600.0


def serve(begin: Callable[[Mapping[str, Any]], Work], rest: Callable[[], None] = lambda: None) -> None:
    """Read the settings, then frames from stdin until it ends; `rest` is called first, and in every quiet ten minutes.

    With the setting `idle` it works only while no other process wants the processor. A line of `dropped` ends the
    worker's wait whatever happens; `message` is for its log.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, whose end closes the pipe
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    settings = frames.read(0)
    if settings is None:
        return
    try:
        work = begin({key: value for key, value in settings[0].items() if key != "idle"})
    except Exception as error:  # the worker's log says why there is no such process
        _say(out, {"message": one_line(error), "ready": False})
        raise SystemExit(1) from error
    if settings[0]["idle"]:
        leave_the_processor_to_others()  # from here on: a start that never ends would look like a failure
    _say(out, {"ready": True})
    rest()
    while True:
        if not frames.is_waiting(0, _PAUSE_SECONDS):
            rest()
            continue
        frame = frames.read(0)
        if frame is None:
            return
        try:
            said = work(*frame)
        except Exception as error:  # noqa: BLE001  whatever an image does to a decoder, the next one still counts
            said = {"dropped": "failed", "message": f"{type(error).__name__} of an image"}
        _say(out, said)


def leave_the_processor_to_others() -> None:
    """Run only while no other process wants the processor (sched(7), SCHED_IDLE), or as rarely as the system allows."""
    with suppress(OSError):
        os.nice(_NICEST)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _say(descriptor: int, said: Mapping[str, Any]) -> None:
    with suppress(OSError):
        os.write(descriptor, json.dumps(said).encode() + b"\n")
