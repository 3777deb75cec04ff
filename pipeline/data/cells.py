"""Cells of a table that hold several values, as in region `hand;shoulder`."""

from collections.abc import Iterable

_SEPARATOR = ";"


def join(values: Iterable[str]) -> str:
    """Several values as one cell."""
    return _SEPARATOR.join(values)


def split(cell: object) -> list[str]:
    """The values of one cell; an empty cell holds one value, the empty one."""
    return str(cell).split(_SEPARATOR)
