"""Weights from files: .npz with one array a variable, named `<layer>/<variable>`, or a whole .keras file."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from pipeline.errors import InputError
from serving.errors import one_line

_LAST_LAYER = "logits/kernel"
"""An array that only the weights of a whole network hold."""

Arrays = Mapping[str, Any]


def read(path: Path) -> dict[str, Any]:
    """The arrays of an .npz file by name; InputError where it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is no readable .npz file of weights ({one_line(error)})") from None


def of_model(model: keras.Model) -> dict[str, Any]:
    """The weights of a model by name, as `read` gives them."""
    return {
        f"{layer.name}/{_stored_name(layer, variable.name)}": np.asarray(variable)
        for layer in _layers(model)
        for variable in layer.weights
    }


def is_whole(path: str) -> bool:
    """Whether a file holds a whole network, not just a backbone."""
    if path.endswith(".keras"):
        return True
    return path.endswith(".npz") and Path(path).is_file() and _LAST_LAYER in read(Path(path))


def read_whole(path: Path) -> dict[str, Any]:
    """The weights of a whole network, .keras or .npz; InputError where they cannot be read."""
    if path.suffix != ".keras":
        return read(path)
    try:
        return of_model(keras.models.load_model(path, safe_mode=True, compile=False))
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is no readable Keras model ({one_line(error)})") from None


def fill(model: keras.Model, arrays: Arrays, path: Path) -> None:
    """Give every layer of a model the arrays that were read from `path`.

    Raises InputError where an array is missing or has another shape.
    """
    for layer in _layers(model):
        values = []
        for variable in layer.weights:
            key = f"{layer.name}/{_stored_name(layer, variable.name)}"
            found = arrays.get(key)
            if found is None or found.shape != tuple(variable.shape):
                held = "has no such array" if found is None else f"has the shape {found.shape}"
                raise InputError(
                    f"{path}: {key} {held}, {model.name} needs {tuple(variable.shape)}; use its own weights"
                )
            values.append(found.astype(np.float32))
        if values:
            layer.set_weights(values)


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model with weights, those of the models within it too."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        elif layer.weights:
            yield layer


def _stored_name(layer: keras.layers.Layer, variable: str) -> str:
    # Keras 3 calls the variable of a depthwise convolution "kernel", the files keep the name of Keras 2.
    return "depthwise_kernel" if isinstance(layer, layers.DepthwiseConv2D) and variable == "kernel" else variable
