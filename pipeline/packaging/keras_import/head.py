"""Follow a model from its answer back to the last map, and fold what lies between into dense layers."""

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.quiet import quiet_import

with quiet_import():
    import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from pipeline.errors import InputError

Array = npt.NDArray[np.float64]

IDENTITIES = (
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.Identity,
)
"""Layers that do nothing once training is over."""


@dataclass(frozen=True)
class Affine:
    """x -> x @ weights + bias, float64 (k, m) and (m,); weights (k,) stand for a diagonal matrix."""

    weights: Array
    bias: Array

    @property
    def dense(self) -> bool:
        """Whether it mixes its inputs."""
        return self.weights.ndim == 2

    def then(self, behind: "Affine") -> "Affine":
        """This one and another behind it as one."""
        if not behind.dense:
            return Affine(self.weights * behind.weights, self.bias * behind.weights + behind.bias)
        weights = self.weights @ behind.weights if self.dense else self.weights[:, np.newaxis] * behind.weights
        return Affine(weights, self.bias @ behind.weights + behind.bias)


@dataclass(frozen=True)
class Hidden:
    """A dense layer and the function behind it."""

    affine: Affine
    activation: Literal["relu", "tanh"]


Pooling = Literal["flatten", "average", "maximum"]


@dataclass(frozen=True)
class Head:
    """What stands behind the last map: pooling, hidden layers, one dense layer, one activation.

    `trunk` are the models that lead from the model's input to the map, one behind the other.
    """

    trunk: tuple[keras.Model, ...]
    pooling: Pooling
    hidden: tuple[Hidden, ...]
    logits: Affine
    softmax: bool


def read_head(model: keras.Model, name: object) -> Head:
    """Follow a model from its answer back to the last map (n, h, w, k) that is pooled or flattened.

    `name` stands in messages. Raises InputError where something else stands between the two, because no heatmap
    could be drawn.
    """
    walk = _Walk(model, name)
    while len(walk.tensor.shape) != 4:
        walk.back()
    chain = walk.chain
    pooling = _pools(walk)
    trunk = walk.trunk()
    if not trunk:
        raise _no_head(name, "no convolution stands before its dense layers")
    shape = walk.tensor.shape
    hidden, logits, softmax = _fold(chain[1:], name)
    taken = len(hidden[0].affine.weights if hidden else logits.weights)
    if taken != (int(np.prod(shape[1:])) if pooling == "flatten" else int(shape[-1])):
        raise _no_head(name, "its dense layers do not take the whole map")
    return Head(trunk, pooling, hidden, logits, softmax)


def _no_head(name: object, what: str) -> InputError:
    return InputError(
        f"{name}: {what}; heatmaps need: last map, GlobalAveragePooling2D, GlobalMaxPooling2D or Flatten, any Dense "
        "layers with ReLU or tanh, one Dense layer with sigmoid or softmax"
    )


def _kind(layer: keras.layers.Layer) -> str:
    return f"layer {layer.name!r} ({type(layer).__name__})"


class _Walk:
    """A walk from a model's answer towards its input, through nested models; `chain` holds the layers passed."""

    def __init__(self, model: keras.Model, name: object) -> None:
        self.tensor = model.outputs[0]
        self.chain: list[keras.layers.Layer] = []
        self.name = name
        self._inside = [model]
        self._entering: list[Any] = []  # the tensors that enter the models we are inside of, but the first

    def back(self) -> None:
        """Go one layer towards the input."""
        operation, node, _ = self.tensor._keras_history  # where Keras keeps how a tensor was made
        if isinstance(operation, layers.InputLayer):
            if not self._entering:
                raise _no_head(self.name, "no map of two dimensions leads to its answer")
            self._inside.pop()
            self.tensor = self._entering.pop()
            return
        arguments = operation._inbound_nodes[node].input_tensors
        if len(arguments) != 1:
            raise _no_head(self.name, f"{_kind(operation)} joins several branches behind its last map")
        if isinstance(operation, keras.Model):
            self._entering.append(arguments[0])
            self._inside.append(operation)
            self.tensor = operation.outputs[0]
        else:
            self.chain.insert(0, operation)
            self.tensor = arguments[0]

    def trunk(self) -> tuple[keras.Model, ...]:
        """Models from the input to where the walk stands: one for each nesting that it is inside of."""
        ends = [*self._entering, self.tensor]
        starts = [model.inputs[0] for model in self._inside]
        return tuple(
            keras.Model(start, end, name=f"imported_{number}")
            for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
            if start is not end
        )


def _pools(walk: _Walk) -> Pooling:
    """What becomes of the map the walk has come to; goes on to the map behind a single point."""
    first = walk.chain[0] if walk.chain else None
    pooled = isinstance(first, (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D))
    if pooled and getattr(first, "data_format", "") == "channels_last":
        return "maximum" if isinstance(first, layers.GlobalMaxPooling2D) else "average"
    if not isinstance(first, (layers.Flatten, layers.Reshape)):
        what = "its answer is a map" if first is None else f"{_kind(first)} stands behind its last map"
        raise _no_head(walk.name, what)
    if tuple(walk.tensor.shape[1:3]) != (1, 1):
        return "flatten"
    while tuple(walk.tensor.shape[1:3]) == (1, 1):
        walk.back()
    if isinstance(walk.chain[0], (layers.GlobalMaxPooling2D, layers.MaxPooling2D)):
        return "maximum"
    if not isinstance(walk.chain[0], (layers.GlobalAveragePooling2D, layers.AveragePooling2D)):
        raise _no_head(walk.name, f"{_kind(walk.chain[0])} leaves a single point of its last map")
    return "average"


def _fold(chain: list[keras.layers.Layer], name: object) -> tuple[tuple[Hidden, ...], Affine, bool]:
    """The layers behind the pooling as (hidden layers, dense layer, whether softmax follows)."""
    hidden: list[Hidden] = []
    current: Affine | None = None
    last = ""
    for layer in chain:
        step, kind = _affine(layer), _activation(layer)
        if last or kind not in {"linear", "relu", "tanh", "sigmoid", "softmax"} or not (step or _does_nothing(layer)):
            raise _no_head(name, f"{_kind(layer)} stands before its answer" if not last else f"{last} is not its end")
        current = current.then(step) if current and step else current or step
        if kind in {"relu", "tanh"}:
            if not (current and current.dense):
                raise _no_head(name, f"no dense layer stands before the {kind} of {_kind(layer)}")
            hidden.append(Hidden(current, "tanh" if kind == "tanh" else "relu"))
            current = None
        last = kind if kind in {"sigmoid", "softmax"} else ""
    if not last:
        raise InputError(f"{name}: its answer is no probability; end it with a sigmoid or a softmax")
    if not (current and current.dense):
        raise _no_head(name, f"no dense layer stands before its {last}")
    return tuple(hidden), current, last == "softmax"


def _affine(layer: keras.layers.Layer) -> Affine | None:
    """What a dense or batch normalisation layer does after training; None for any other."""
    pointwise = isinstance(layer, layers.Conv2D) and layer.kernel_size == (1, 1) and layer.groups == 1
    if isinstance(layer, layers.Dense) or pointwise:  # one is the other on a single point
        kernel = to_numpy(layer.kernel).reshape(-1, layer.kernel.shape[-1])
        return Affine(kernel, to_numpy(layer.bias) if layer.use_bias else np.zeros(kernel.shape[1]))
    if isinstance(layer, layers.BatchNormalization):
        factor = 1 / np.sqrt(to_numpy(layer.moving_variance) + layer.epsilon)
        factor = factor * to_numpy(layer.gamma) if layer.scale else factor
        offset = -to_numpy(layer.moving_mean) * factor
        return Affine(factor, offset + to_numpy(layer.beta) if layer.center else offset)
    return None


def to_numpy(variable: Any) -> Array:
    """The values of a Keras variable, float64."""
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)


def _activation(layer: keras.layers.Layer) -> str:
    """Name of the function a layer ends with."""
    if isinstance(layer, layers.ReLU):
        plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
        return "relu" if plain else "another ReLU"
    if isinstance(layer, layers.Softmax):
        return "softmax"
    function = getattr(layer, "activation", None)
    return "linear" if function is None else str(getattr(function, "__name__", function))


def _does_nothing(layer: keras.layers.Layer) -> bool:
    """Whether a layer behind the pooling changes nothing but, perhaps, by its activation."""
    return isinstance(
        layer, (*IDENTITIES, layers.Flatten, layers.Reshape, layers.Activation, layers.ReLU, layers.Softmax)
    )
