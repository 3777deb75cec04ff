"""The file of `fracture tune --space`: which keys of params.yaml are varied, and over what values.

train.learning_rate: {low: 0.0001, high: 0.003, log: true}
train.dropout: {low: 0, high: 0.6, step: 0.1}
train.batch_size: [16, 32, 64]
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import InputError
from pipeline.params import Params
from serving.errors import one_line

_PIXELS = frozenset(
    {
        "preprocess.image_size",
        "preprocess.denoise",
        "preprocess.clahe",
        "preprocess.canonical.field",
        "preprocess.canonical.range",
        "preprocess.canonical.polarity",
        "preprocess.canonical.orientation",
    }
)
"""What changes the images that a trial sees, but not which of them it is judged by."""
_DIGITS = 4
_TRIES = 1000
_REFUSED = {
    "train.epochs": "every trial has those of params.yaml, and the scheduler decides how many of them it gets",
    "train.workers": "it decides where a training runs; a trial is one process",
    "train.backend": "it decides where a training runs",
    "train.seed": "choosing a seed is choosing luck",
    "train.distil": "teachers belong to the folds of one split",
    "train.distil_weight": "teachers belong to the folds of one split",
    "train.contradicted_weight": "the scores it goes by belong to the folds of one split",
    "train.contradicted_below": "the scores it goes by belong to the folds of one split",
    "train.out_of_fold": "its scores belong to the folds of one split",
}

Values = dict[str, Any]
"""Values of a trial by key, such as {"train.dropout": 0.3}."""


class Range(BaseModel):
    """Numbers from `low` to `high`, both included; evenly on a logarithmic scale with `log`, in steps with `step`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    low: float
    high: float
    log: bool = False
    step: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low:g}) must be less than high ({self.high:g})")
        if self.log and (self.low <= 0 or self.step):
            raise ValueError("with log: true, low must be above 0 and there can be no step")
        return self

    def draw(self, rng: np.random.Generator, whole: bool) -> float | int:
        """One number, an int if `whole`; otherwise of four digits at most, so that params.yaml stays legible."""
        if self.step:
            found = self.low + self.step * int(rng.integers(0, int((self.high - self.low) / self.step + 1e-9) + 1))
        elif self.log:
            found = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        elif whole:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        else:
            found = float(rng.uniform(self.low, self.high))
        found = min(max(float(f"{found:.{_DIGITS}g}"), self.low), self.high)
        return round(found) if whole or found == int(found) else found


@dataclass(frozen=True)
class Choices:
    """Any of some values, all alike."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator, _whole: bool) -> Any:
        """One of the values."""
        return self.values[int(rng.integers(len(self.values)))]


@dataclass(frozen=True)
class Space:
    """What a search varies: a range or choices by key."""

    file: str
    varied: Mapping[str, Range | Choices]

    def trials(self, options: Params, seed: int) -> Iterator[Values]:
        """Values of trial 1, 2, ..., no two the same; the first ones do not depend on how many follow.

        Combinations that params.yaml refuses are passed over. Ends when no further one is found; InputError where
        not even the first is.
        """
        rng = np.random.default_rng(seed)
        seen: list[Values] = []
        fault = ""
        while True:
            for _ in range(_TRIES):
                values = {key: what.draw(rng, _field(key) is int) for key, what in self.varied.items()}
                if values in seen:
                    continue
                try:
                    applied(options, values)
                except InputError as error:
                    fault = str(error)
                    continue
                break
            else:
                if not seen:
                    raise InputError(f"{self.file}: no combination of its values is allowed, for example: {fault}")
                return
            seen.append(values)
            yield values


def read(path: Path) -> Space:
    """Read and check a space; InputError names the key that is unknown or whose values params.yaml would refuse."""
    try:
        raw = YAML(typ="safe").load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; write the keys to vary into it (docs/training.md)") from None
    except (IsADirectoryError, ValueError, YAMLError) as error:
        raise InputError(f"{path}: is not valid YAML ({one_line(error)})") from None
    if not isinstance(raw, Mapping) or not raw:
        raise InputError(f"{path}: must hold keys such as train.learning_rate, each with a range or a list of values")
    return Space(str(path), {key: _checked(str(path), str(key), what) for key, what in raw.items()})


def _checked(file: str, key: str, what: Any) -> Range | Choices:
    fail = f"{file}: {key}: "
    if not key.startswith("train.") and key not in _PIXELS:
        raise InputError(
            f"{fail}cannot be varied; keys of train can, and of preprocess image_size, denoise, clahe and canonical.*: "
            "the others decide what a trial is judged by"
        )
    if key in _REFUSED:
        raise InputError(f"{fail}cannot be varied: {_REFUSED[key]}")
    if _field(key) is None:
        raise InputError(f"{fail}unknown key; a key looks like train.dropout or train.augmentation.rotation")
    try:
        if isinstance(what, list) and what:
            for value in what:
                _adapter(key).validate_python(value)
            return Choices(tuple(what))
        if not isinstance(what, Mapping):
            raise InputError(f"{fail}give a list of values, or a range such as {{low: 0.1, high: 0.5}}")
        found = Range.model_validate(dict(what))
        whole = _field(key) is int
        for bound in (found.low, found.high):
            _adapter(key).validate_python(int(bound) if whole and bound == int(bound) else bound)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{fail}{f'{where}: ' if where else ''}{message} (found {_shown(first['input'])})") from None
    return found


def _shown(value: Any) -> str:
    return one_line(ValueError(repr(value)), 60)


def applied(options: Params, values: Values) -> Params:
    """`options` with a trial's values; InputError where they do not go together."""
    content = options.model_dump(mode="python", by_alias=True)
    for key, value in values.items():
        *groups, last = key.split(".")
        target = content
        for group in groups:
            target = target[group]
        target[last] = value
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise InputError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _info(key: str) -> Any:
    """What pydantic knows of a key; None for an unknown one, or a group of keys."""
    model: Any = Params
    found = None
    for name in key.split("."):
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or name not in model.model_fields:
            return None
        found = model.model_fields[name]
        model = found.annotation
    return None if isinstance(model, type) and issubclass(model, BaseModel) else found


def _field(key: str) -> Any:
    """The type of a key's value."""
    found = _info(key)
    return None if found is None else found.annotation


def _adapter(key: str) -> TypeAdapter[Any]:
    found = _info(key)
    kind: Any = Annotated[(found.annotation, *found.metadata)] if found.metadata else found.annotation
    return TypeAdapter(kind, config=ConfigDict(strict=True))
