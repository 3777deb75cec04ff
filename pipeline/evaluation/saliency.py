"""A trained model with its reasons: scores, features and the Grad-CAM map in one forward pass, without a tape."""

from typing import Any

import keras
import numpy as np
from keras import ops

from pipeline.training import architectures

SCORES, MAP, EMBEDDING = "scores", "map", "embedding"
HIDDEN = "hidden_"
"""What the names of dense layers before the last hidden one begin with; a number from 1 follows."""
_MAPS = ("neck_8", "neck_16", "neck_32")
"""Layers of a localisation head that read the backbone's maps, the finest first."""
LEAST_PLACE = -3.0
"""Log odds from which on a localisation head's place counts as evidence: a probability of about 0.05."""


def explained(model: keras.Model) -> keras.Model:
    """A model from the same pixels to {scores (n, 1 or classes), features (n, k), map (n, h, w), embedding (n, m)}.

    `map` is the signed Grad-CAM (Selvaraju et al., ICCV 2017) of the likeliest fracture class on the last pooled
    feature map. Its weights, the gradient of the logit averaged over positions, have a closed form for every head
    here: behind global pooling, of the average or the maximum, they are the dense weights over the number of
    positions; behind hidden layers they are products of the dense layers, that on flattened maps averaged over
    positions beforehand, with the slopes of ReLU and tanh taken from their outputs. `models` names the layers this
    relies on.

    A model with a localisation head needs no Grad-CAM: its map is the log odds of a fracture at each place, less
    LEAST_PLACE. The embedding is mean and maximum of each channel of each of `feature_maps`.
    """
    maps = model.get_layer(architectures.FEATURE_MAP).output
    features = model.get_layer(architectures.FEATURES).output
    if says_where(model):
        places = ops.squeeze(model.get_layer(architectures.LOCATION_LOGITS).output, axis=-1)
        outputs = {SCORES: model.output, architectures.FEATURES: features, MAP: places - LEAST_PLACE}
        outputs[EMBEDDING] = _embedding(model)
        return keras.Model(model.input, outputs, name=f"{model.name}_explained")
    logits_layer = model.get_layer(architectures.LOGITS)
    chosen = _weights_of_likeliest(logits_layer, model.get_layer(architectures.LOGITS).output)
    hidden = _hidden_layers(model)
    alpha = chosen
    for layer in reversed(hidden):
        kernel = ops.convert_to_numpy(layer.kernel)
        if layer is hidden[0]:
            kernel = kernel.reshape(-1, int(maps.shape[-1]), kernel.shape[1]).mean(axis=0)
        alpha = ops.matmul(ops.multiply(alpha, _slope(layer)), np.ascontiguousarray(kernel.T))
    if not hidden:
        alpha = ops.multiply(chosen, 1.0 / float(maps.shape[1] * maps.shape[2]))
    weighted = ops.multiply(maps, ops.expand_dims(ops.expand_dims(alpha, 1), 1))
    outputs = {SCORES: model.output, architectures.FEATURES: features, MAP: ops.sum(weighted, axis=-1)}
    outputs[EMBEDDING] = _embedding(model)
    return keras.Model(model.input, outputs, name=f"{model.name}_explained")


def _hidden_layers(model: keras.Model) -> list[keras.layers.Dense]:
    """The dense layers between map and logits, in order."""
    names = [architectures.FEATURES]
    named = {layer.name for layer in model.layers}
    while f"{HIDDEN}{len(names)}" in named:
        names.insert(-1, f"{HIDDEN}{len(names)}")
    return [layer for layer in map(model.get_layer, names) if isinstance(layer, keras.layers.Dense)]


def _slope(layer: keras.layers.Dense) -> Any:
    """The derivative of a hidden layer's activation, from its output (n, k)."""
    if layer.activation is keras.activations.tanh:
        return ops.subtract(1.0, ops.square(layer.output))
    return ops.cast(ops.greater(layer.output, 0), "float32")


def says_where(model: keras.Model) -> bool:
    """Whether a model has a localisation head."""
    return architectures.LOCATION_LOGITS in {layer.name for layer in model.layers}


def feature_maps(model: keras.Model) -> list[Any]:
    """The maps that a model's head reads, the finest first: one, or those of three depths of a localisation head."""
    if says_where(model):
        return [model.get_layer(name).input for name in _MAPS]
    return [model.get_layer(architectures.FEATURE_MAP).output]


def finer_part(model: keras.Model) -> int:
    """How many of the embedding's numbers, from the first on, come from maps finer than the last; all for one map."""
    sizes = [2 * int(maps.shape[-1]) for maps in feature_maps(model)]
    return sum(sizes[:-1]) or sizes[0]


def _embedding(model: keras.Model) -> Any:
    pooled = [pool(maps, axis=(1, 2)) for maps in feature_maps(model) for pool in (ops.mean, ops.max)]
    return ops.concatenate(pooled, axis=-1)


def _weights_of_likeliest(layer: keras.layers.Dense, logits: Any) -> Any:
    """Rows of dense weights (n or 1, k) that lead to the likeliest fracture class of each image."""
    kernel = ops.convert_to_numpy(layer.kernel)
    if kernel.shape[1] == 1:
        return kernel.T.copy()
    fractures = logits[:, 1:]
    # Not argmax: Keras writes it with operations that LiteRT does not have.
    likeliest = ops.cast(ops.equal(fractures, ops.max(fractures, axis=-1, keepdims=True)), "float32")
    return ops.matmul(likeliest, np.ascontiguousarray(kernel[:, 1:].T))
