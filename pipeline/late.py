"""Modules that are loaded when they are first used: `--help` can do without TensorFlow, which takes seconds."""

import importlib
import sys
from types import ModuleType
from typing import Any

from pipeline.quiet import quiet_import
from serving.late import LateModule


def late(name: str) -> Any:
    """As `serving.late.late`, for commands and stages: what the module's libraries print is hidden.

    Not for a process of many threads, whose lines would be hidden as well.
    """
    return LateModule(name, _load)


def _load(name: str) -> ModuleType:
    if name in sys.modules:
        return importlib.import_module(name)  # which waits for a thread that is importing it
    with quiet_import():
        return importlib.import_module(name)
