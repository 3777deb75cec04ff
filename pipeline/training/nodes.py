"""What runs on a cluster's nodes beside the processes that train, and must not load TensorFlow as these do.

Ray imports the module of what it runs: one that holds the training took each of these processes seven seconds and
800 MB.
"""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Told:
    """What the processes said since the last look, and where they stand."""

    lines: list[str] = field(default_factory=list)
    figures: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    fault: str = ""
    whole: bool = False


class Board:
    """An actor beside the command, to which the processes speak."""

    def __init__(self) -> None:
        self._told = Told()

    def line(self, line: str) -> None:
        """Let a person read a line."""
        self._told.lines.append(line)

    def figures(self, step: int, values: dict[str, float]) -> None:
        """Tell the metrics of an epoch."""
        self._told.figures.append((step, values))

    def fail(self, fault: str) -> None:
        """Say what a person has to put right: another try would be no use."""
        self._told.fault = self._told.fault or fault

    def end(self) -> None:
        """Say that the last epoch is done."""
        self._told.whole = True

    def failed(self) -> bool:
        """Whether a process has failed."""
        return bool(self._told.fault)

    def take(self) -> Told:
        """What was told, each line and metric once."""
        found = self._told
        self._told = Told(fault=found.fault, whole=found.whole)
        return found


def read_text(path: Path) -> str:
    """What a file holds as a node sees it; nothing where it sees none."""
    return path.read_text() if path.is_file() else ""
