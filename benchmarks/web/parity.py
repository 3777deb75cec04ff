"""Whether the page in a browser answers as the service does."""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from benchmarks.robustness import changes
from serving.errors import ImageError
from serving.http import pictures
from serving.predictor import Predictor

CLOSE, FAR = 0.01, 0.03
"""Differences of a probability: nearly all lie within the first, all within the second."""
LEFT_OUT = "left out: TIFF, JPEG of 12 bits"
"""The group of files that the page refuses by name, as its documentation says (docs/offline.md)."""
_REFUSED_BY_NAME = re.compile("a TIFF file|with 12 bits is not read here")
_NOT_COMPARED = {"milliseconds", "model", "request_id", "schema_version"}


@dataclass(frozen=True)
class File:
    """A file to ask both about, and the group of files that it is counted with."""

    group: str
    name: str
    content: bytes


@dataclass(frozen=True)
class Compared:
    """What service and device said of one file."""

    file: File
    service: dict[str, Any]
    device: dict[str, Any]
    service_seconds: float  # what the service took, on the clock
    processor: tuple[float, float]  # seconds of processor time that service and browser took

    @property
    def group(self) -> str:
        """The group that the file is counted with."""
        refusal = str(self.device.get("error", {}).get("message", ""))
        return LEFT_OUT if _REFUSED_BY_NAME.search(refusal) else self.file.group

    @property
    def codes(self) -> tuple[str, str]:
        """The refusal codes, empty for an answer."""
        ours, theirs = (str(told.get("error", {}).get("code", "")) for told in (self.service, self.device))
        return ours, theirs

    @property
    def same_code(self) -> bool:
        """Whether both refuse for the same reason, or both answer."""
        return self.codes[0] == self.codes[1]

    @property
    def answered(self) -> bool:
        """Whether both answer."""
        return self.codes == ("", "")

    @property
    def difference(self) -> float:
        """Of the probabilities; 0 where not both answer."""
        if not self.answered:
            return 0.0
        return abs(float(self.service["answer"]["probability"]) - float(self.device["answer"]["probability"]))

    @property
    def same_suspicion(self) -> bool:
        """Whether both give the same suspicion; True where not both answer."""
        return not self.answered or self.service["answer"]["suspicion"] == self.device["answer"]["suspicion"]

    @property
    def differing(self) -> list[str]:
        """Keys of the answers that differ by more than the last digits of a number."""
        if not self.answered:
            return []
        ours, theirs = self.service["answer"], self.device["answer"]
        keys = (ours.keys() | theirs.keys()) - _NOT_COMPARED
        return sorted(key for key in keys if not _alike(ours.get(key), theirs.get(key)))


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= CLOSE
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_alike(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def of_service(predictor: Predictor, content: bytes) -> dict[str, Any]:
    """What POST /predict answers with an explanation, in the form of `Device.ask`."""
    try:
        prediction = predictor.predict(content)
    except ImageError as error:
        return {"error": {"code": error.code, "message": error.message}}
    shown = pictures.explanation(prediction).model_dump(mode="json", exclude={"heatmap"})
    return {"answer": {**prediction.answer(), "explanation": shown}}


class Asked(Protocol):
    """A page in some browser, as `benchmarks.web.browser.Device` is one."""

    def ask(self, content: bytes) -> dict[str, Any]:
        """What it answers to a file."""

    def processor_seconds(self) -> float:
        """What its browser took so far; 0 where that is not known."""


def compare(predictor: Predictor, device: Asked, files: Iterable[File]) -> Iterator[Compared]:
    """Ask both about each file."""
    for file in files:
        began, ours, theirs = time.perf_counter(), time.process_time(), device.processor_seconds()
        told = of_service(predictor, file.content)
        seconds, ours = time.perf_counter() - began, time.process_time() - ours
        answered = device.ask(file.content)
        yield Compared(file, told, answered, seconds, (ours, device.processor_seconds() - theirs))


def radiographs(folder: Path, count: int) -> Iterator[File]:
    """About `count` files of a folder, spread over all."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    for path in paths[:: max(1, len(paths) // count)][:count]:
        yield File("radiographs", path.name, path.read_bytes())


def of_folder(folder: Path) -> Iterator[File]:
    """All files of a folder, as a group of its name."""
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        yield File(folder.name, path.name, path.read_bytes())


def changed(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> Iterator[File]:
    """A radiograph, grey uint8 (h, w), with everything that `benchmarks.robustness` does to one."""
    for name in changes.CHANGES:
        found = changes.change(name, picture, np.zeros((0, 4)), 0)
        if found is not None:
            yield File("changed", name, cv2.imencode(".png", found[0])[1].tobytes())


HEAD = (
    "| files | same refusal | same suspicion | within 0.01 | within 0.03 | largest difference | same answer |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)
"""Of the table whose lines `rows` and `summary` give."""


def rows(found: list[Compared]) -> list[str]:
    """A line for each group."""
    groups = dict.fromkeys(one.group for one in found)
    return [_row(group, [one for one in found if one.group == group]) for group in groups]


def summary(found: list[Compared]) -> list[str]:
    """The last line of the table, and behind it the files that differ."""
    apart = [one for one in found if not one.same_code or one.differing]
    return [
        _row("all but those left out", [one for one in found if one.group != LEFT_OUT]),
        *(f"{one.group} {one.file.name}: {one.codes} {', '.join(one.differing)}" for one in apart),
    ]


def _row(group: str, rows: list[Compared]) -> str:
    answered = [one for one in rows if one.answered]
    largest = max((one.difference for one in answered), default=0.0)
    counts = (
        (sum(one.same_code for one in rows), len(rows)),
        (sum(one.same_suspicion for one in answered), len(answered)),
        (sum(one.difference <= CLOSE for one in answered), len(answered)),
        (sum(one.difference <= FAR for one in answered), len(answered)),
        (sum(not one.differing for one in answered), len(answered)),
    )
    cells = [f"{same} of {many}" for same, many in counts]
    cells.insert(4, f"{largest:.6f}")
    return f"| {group}: {len(rows)}, {len(answered)} answered | {' | '.join(cells)} |"
