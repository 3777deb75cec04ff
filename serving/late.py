"""Modules that are loaded when they are first used: they take seconds, or come with an extra."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


class LateModule(ModuleType):
    """Stands for a module and hands on what is asked of it; `load` finds the module by its name."""

    def __init__(self, name: str, load: Callable[[str], ModuleType]) -> None:
        super().__init__(name)
        self._load = load

    def __getattr__(self, name: str) -> Any:
        if (
            name.startswith("__") and name != "__version__"
        ):  # tools that look at every module ask, not code that uses it
            raise AttributeError(f"{self.__name__} is loaded when it is used; {name} does not do that")
        return getattr(self._load(self.__name__), name)

    def __reduce__(self) -> tuple[type["LateModule"], tuple[str, Callable[[str], ModuleType]]]:
        """Travel by name: what refers to this module may be sent to another process, as Ray sends a trial."""
        return LateModule, (self.__name__, self._load)


def late(name: str) -> Any:
    """The module `name`, loaded when an attribute of it is first used; ModuleNotFoundError there, where it is missing.

    A type checker knows it by an import in the other branch, which never runs:

        if TYPE_CHECKING:
            from serving.store import database
        else:
            database = late("serving.store.database")
    """
    return LateModule(name, import_module)
