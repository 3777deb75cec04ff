"""Modules that are loaded when they are first used: `--help` can do without TensorFlow, which takes seconds."""

import importlib
import sys
from types import ModuleType
from typing import Any

from pipeline.quiet import quiet_import


class _Late(ModuleType):
    """Stands for a module and hands on what is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if (
            name.startswith("__") and name != "__version__"
        ):  # tools that look at every module ask, not code that uses it
            raise AttributeError(f"{self.__name__} is loaded when it is used; {name} does not do that")
        return getattr(_load(self.__name__), name)


def late(name: str) -> Any:
    """The module `name`, loaded when an attribute of it is first used, with what its libraries print hidden.

    A type checker knows a module of our own by an import in the other branch, which never runs:

        if TYPE_CHECKING:
            from pipeline.packaging import export
        else:
            export = late("pipeline.packaging.export")
    """
    return _Late(name)


def _load(name: str) -> ModuleType:
    if name in sys.modules:
        return importlib.import_module(name)  # which waits for a thread that is importing it
    with quiet_import():
        return importlib.import_module(name)
