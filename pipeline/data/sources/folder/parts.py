"""Folders laid out by part and class, as public sets often are: `train/fractured/`, `test/not fractured/`, ..."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.data.sources.folder.search import NORMAL_NAMES, plain

_PARTS = {
    "train": ("train", "training", "trainset"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "testset", "holdout"),
}
_PART_OF: Mapping[str, str] = {name: part for part, names in _PARTS.items() for name in names}
_FRACTURED_NAMES = frozenset(
    ["fracture", "fractures", "fractured", "withfracture", "broken", "positive", "pos", "abnormal"]
)
"""Names of a fractured class, lower case and without separators."""


@dataclass(frozen=True)
class Placed:
    """Class and given part of each image by its path in the folder; `parts` is empty without a given split.

    `merged` holds the names that were taken for one class, the one that is used first.
    """

    labels: Mapping[str, str]
    parts: Mapping[str, str]
    merged: tuple[tuple[str, ...], ...] = ()


def place(images: Iterable[str]) -> Placed:
    """Tell the class of every image, from a layout of classes, of parts with classes, or of classes with parts.

    A layout has parts when every image lies in one of at least two folders named like them, `train` among them. One
    folder around everything is looked through. An image without a class folder has neither class nor part.
    """
    paths = {file: tuple(file.split("/")) for file in images}
    for skipped in (0, 1):
        for outer, inner in ((skipped, skipped + 1), (skipped + 1, skipped)):
            if found := _by_part(paths, outer, inner):
                return found
        if len({path[0] for path in paths.values()}) > 1:
            break
    return Placed({file: path[0] for file, path in paths.items() if len(path) > 1}, {})


def _by_part(paths: Mapping[str, tuple[str, ...]], at_part: int, at_class: int) -> Placed | None:
    deep = {file: path for file, path in paths.items() if len(path) > max(at_part, at_class) + 1}
    parts = {file: _PART_OF.get(plain(path[at_part]), "") for file, path in deep.items()}
    names = set(parts.values())
    shallow = {path[0] for path in paths.values() if len(path) == 2}
    if len(names) < 2 or "train" not in names or "" in names or any(plain(name) not in _PART_OF for name in shallow):
        return None
    given = {file: path[at_class] for file, path in deep.items()}
    if at_class < at_part and len(set(given.values())) < 2:
        return None  # it is a folder around everything
    chosen, merged = _one_name_a_class(given)
    return Placed({file: chosen[name] for file, name in given.items()}, parts, merged)


def _one_name_a_class(given: Mapping[str, str]) -> tuple[dict[str, str], tuple[tuple[str, ...], ...]]:
    """Name -> the most frequent name of its class, and the names of each class that has several."""
    counts = Counter(given.values())
    classes: dict[str, list[str]] = {}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        classes.setdefault(_meaning(name), []).append(name)
    chosen = {name: names[0] for names in classes.values() for name in names}
    return chosen, tuple(tuple(names) for names in classes.values() if len(names) > 1)


def _meaning(name: str) -> str:
    simple = plain(name)
    if simple in NORMAL_NAMES:
        return "normal"
    return "fractured" if simple in _FRACTURED_NAMES else simple
