"""The range of pixels that a model takes, as its own first steps show."""

from collections.abc import Mapping
from typing import Any, Literal

from pipeline.quiet import quiet_import

with quiet_import():
    import keras
import numpy as np
from keras import layers

from pipeline.errors import InputError
from pipeline.packaging.keras_import.head import IDENTITIES, to_numpy

Scale = Literal["0-1", "-1-1", "0-255"]
SCALES: Mapping[Scale, tuple[float, float]] = {
    "0-1": (1 / 255, 0.0),
    "-1-1": (1 / 127.5, -1.0),
    "0-255": (1.0, 0.0),
}
"""Range of pixels a model was trained on -> factor and offset that turn grey levels 0..255 into it."""

_RESCALINGS: tuple[tuple[float, float, Scale], ...] = (
    (2.0, -1.0, "0-1"),
    (255.0, 0.0, "0-1"),
    (127.5, 127.5, "-1-1"),
    (0.5, 0.5, "-1-1"),
)
"""Factor and offset of a Rescaling, and the range that they can only be meant for."""
_SMALL, _LARGE, _DARK = 0.1, 100.0, 10.0
"""Factors below and divisors above belong to grey levels 0..255, and so do means above the last."""
_PASSING = frozenset({"Concatenate", "GetItem", "Stack", "Cast", "Resizing", "CenterCrop", "ZeroPadding2D", "Reshape"})
"""Operations that leave the values of pixels as they are."""


def scale_of(model: keras.Model, given: Scale | None, name: object) -> Scale:
    """The range of pixels a model was trained on: as its first steps show, else as the person says.

    Raises InputError that asks for `--scale` where they do not, and one where the two contradict each other.
    """
    first = _first_step(model)
    taken = _taken(first)
    if model.inputs[0].dtype == "uint8":
        if given not in {None, "0-255"}:
            raise InputError(f"{name}: takes whole grey levels (uint8), which are 0-255; leave --scale {given} out")
        return "0-255"
    found = taken or given
    if found is None:
        raise InputError(
            f"{name}: does not say which range of pixels it was trained on; say it with --scale 0-1, --scale=-1-1 or "
            f"--scale 0-255{_hint(model, first)}"
        )
    if taken is not None and given not in {None, taken}:
        begins = f"{type(first).__name__} {first.name!r}"
        raise InputError(f"{name}: begins with {begins}, which takes pixels of {taken}; leave --scale {given} out")
    return found


def _first_step(model: keras.Model) -> Any:
    """The first layer or operation that does something to the values of pixels, inside nested models too."""
    for step in getattr(model, "operations", model.layers):  # a sequential model names layers only
        if isinstance(step, keras.Model):
            if found := _first_step(step):
                return found
            continue
        kind = type(step).__name__
        passes = isinstance(step, (layers.InputLayer, *IDENTITIES)) or kind in _PASSING
        if not passes and not kind.startswith("Random"):
            return step
    return None


def _taken(step: Any) -> Scale | None:
    """The range of pixels that a first step can only be meant for; None where it may be any."""
    if isinstance(step, layers.Rescaling):
        factor, offset = (np.asarray(value, np.float64) for value in (step.scale, step.offset))
        if float(np.max(np.abs(factor))) < _SMALL:
            return "0-255"
        meant = [scale for f, o, scale in _RESCALINGS if np.allclose(factor, f) and np.allclose(offset, o)]
        return meant[0] if meant else None
    number = _constant(step)
    if number is None:
        return None
    kind = type(step).__name__
    of_levels = {
        "TrueDivide": number >= _LARGE,
        "Divide": number >= _LARGE,
        "Multiply": number < _SMALL,
        "Subtract": number > _DARK,
        "Add": number > _DARK,  # a mean below zero, as the weights of Caffe ask for
    }
    return "0-255" if of_levels.get(kind, False) else None


def _constant(step: Any) -> float | None:
    """The largest absolute value of the number or array that an operation puts together with the pixels."""
    nodes = getattr(step, "_inbound_nodes", None)
    if not nodes:
        return None
    constants = [value for value in nodes[0].arguments.args if not isinstance(value, keras.KerasTensor)]
    try:
        return float(np.max(np.abs(np.asarray(constants[0], np.float64)))) if constants else None
    except (TypeError, ValueError):
        return None


def _hint(model: keras.Model, first: Any) -> str:
    """What a model's layers suggest about its range, without being sure."""
    if isinstance(first, layers.Normalization) and first.mean is not None:
        mean = float(np.mean(to_numpy(first.mean)))
        return f" (its first layer expects a mean of {mean:.3g}, as pixels of {'0-1' if mean < 1 else '0-255'} have)"
    names = " ".join(layer.name for layer in model.layers if isinstance(layer, keras.Model)).lower()
    if any(name in names for name in ("mobilenet_", "mobilenetv2", "inception", "xception")):
        return " (its backbone is usually trained on -1-1)"
    return ""
