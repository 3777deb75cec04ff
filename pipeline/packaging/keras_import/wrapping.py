"""Put a model into this project's form, and check that its probabilities stay the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.quiet import quiet_import

with quiet_import():
    import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.evaluation import saliency
from pipeline.packaging.keras_import.head import Affine, Array, Head, Hidden, read_head
from pipeline.packaging.keras_import.model_file import load
from pipeline.packaging.keras_import.scale import SCALES, Scale, scale_of
from pipeline.training import architectures

_SAME = 1e-4
"""Largest difference of a probability between a model and its wrapped form: rounding of other sums."""
_COMPARED = 64
_BATCH = 16


@dataclass(frozen=True)
class Meaning:
    """What a model's numbers mean: the range of its pixels, and the classes in the order of its columns.

    One sigmoid column is the probability of the second class.
    """

    scale: Scale
    classes: tuple[str, ...]


def check_input(model: keras.Model, data: Prepared, name: object) -> None:
    """Raise InputError unless the model takes one square image of prepared/'s size with one or three channels."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"{name}: has {len(model.inputs)} inputs and {len(model.outputs)} outputs; it must take one image and give "
            "one answer"
        )
    shape, size, dtype = tuple(model.inputs[0].shape), data.preprocessing.image_size, str(model.inputs[0].dtype)
    if dtype != "uint8" and "float" not in dtype:
        raise InputError(f"{name}: takes an input of {dtype}; it must be uint8 or float")
    if len(shape) != 4 or shape[3] not in {1, 3} or shape[1] != shape[2]:
        raise InputError(f"{name}: takes an input of shape {shape}; it must be (n, size, size, 1 or 3)")
    if shape[1] not in {None, size}:
        raise InputError(
            f"{name}: takes images of {shape[1]} px, but prepared/ holds {size} px; set params.yaml: "
            f"preprocess.image_size: {shape[1]} and run `dvc repro preprocess`"
        )


def check_output(head: Head, data: Prepared, name: object) -> None:
    """Raise InputError unless the model gives one sigmoid column or one softmax column per class of prepared/."""
    columns, classes = head.logits.weights.shape[1], len(data.classes)
    if (not head.softmax and columns == 1 and classes == 2) or (head.softmax and columns == classes):
        return
    raise InputError(
        f"{name}: its answer is {columns} {'softmax' if head.softmax else 'sigmoid'} column(s), but prepared/ has the "
        f"classes {', '.join(data.classes)}; it must be one softmax column for each of them"
        f"{', or one sigmoid column' if classes == 2 else ''}"
    )


def in_order(head: Head, own: tuple[str, ...], data: Prepared) -> Head:
    """The head with its columns in the order of prepared/'s classes, and two classes as one column, of the fracture.

    `own` names the classes in the order of the model's columns (`Meaning.classes`).
    """
    weights, bias = head.logits.weights, head.logits.bias
    if head.softmax:
        order = [own.index(name) for name in data.classes]
        weights, bias = weights[:, order], bias[order]
        if len(data.classes) == 2:  # softmax of two is the sigmoid of their difference
            weights, bias = weights[:, 1:] - weights[:, :1], bias[1:] - bias[:1]
    elif own != data.classes:
        weights, bias = -weights, -bias
    return Head(head.trunk, head.pooling, head.hidden, Affine(weights, bias), len(data.classes) > 2)


def wrap(model: keras.Model, head: Head, scale: Scale, size: int) -> keras.Model:
    """A model in this project's form: uint8 pixels (n, size, size, 1) to probabilities, layers named as in `models`.

    Scaling lies inside, and three channels get the grey repeated. The layers before the last map are the model's own.
    """
    pixels = keras.Input((size, size, 1), dtype="uint8", name="pixels")
    x = pixels
    if model.inputs[0].shape[3] == 3:
        x = layers.Concatenate(name="grey_to_rgb")([pixels, pixels, pixels])
    if model.inputs[0].dtype != "uint8":
        x = layers.Rescaling(*SCALES[scale], name="scale")(x)
    for part in head.trunk:
        x = part(x)
    x = layers.Activation("linear", dtype="float32", name=architectures.FEATURE_MAP)(x)
    hidden, logits = head.hidden, head.logits
    if head.pooling == "flatten":
        x = layers.Flatten(name="flatten")(x)
        if not hidden:
            # Without a hidden layer the logits are split into their positive and negative parts, which give them back.
            parts = Affine(np.hstack([logits.weights, -logits.weights]), np.hstack([logits.bias, -logits.bias]))
            hidden = (Hidden(parts, "relu"),)
            both = np.eye(logits.weights.shape[1])
            logits = Affine(np.vstack([both, -both]), np.zeros(len(both)))
    else:
        pool = layers.GlobalMaxPooling2D if head.pooling == "maximum" else layers.GlobalAveragePooling2D
        x = pool(name="pool" if hidden else architectures.FEATURES)(x)
    for number, layer in enumerate(hidden, start=1):
        name = architectures.FEATURES if number == len(hidden) else f"{saliency.HIDDEN}{number}"
        x = _dense(layer.affine, x, name, layer.activation)
    x = _dense(logits, x, architectures.LOGITS)
    activation = "softmax" if head.softmax else "sigmoid"
    probability = layers.Activation(activation, dtype="float32", name=architectures.PROBABILITY)(x)
    return keras.Model(pixels, probability, name=f"imported_{model.name}")


def _dense(affine: Affine, x: Any, name: str, activation: str | None = None) -> Any:
    layer = layers.Dense(affine.weights.shape[1], activation=activation, dtype="float32", name=name)
    found = layer(x)
    layer.set_weights([affine.weights.astype(np.float32), affine.bias.astype(np.float32)])
    return found


def check_same(model: keras.Model, wrapped: keras.Model, meaning: Meaning, data: Prepared, name: object) -> None:
    """Compare the wrapped model with the original on validation images.

    Raises InputError when a probability differs by more than rounding, or is no number.
    """
    images = np.asarray(data.images[data.rows("validation")[:_COMPARED]])[..., np.newaxis]
    factor, offset = SCALES[meaning.scale]
    scaled = images.astype(np.float32) * factor + offset
    scaled = np.repeat(scaled, int(model.inputs[0].shape[3]), axis=3)
    theirs = _in_columns(_predict(model, scaled.astype(model.inputs[0].dtype)), meaning.classes, data.classes)
    difference = float(np.abs(_predict(wrapped, images) - theirs).max())
    if not difference <= _SAME:
        raise InputError(
            f"{name}: its probabilities change by {difference:.2g} when it is taken over; it cannot be used"
        )


def _predict(model: keras.Model, images: npt.NDArray[Any]) -> Array:
    parts = [model.predict_on_batch(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return np.asarray(np.concatenate(parts), np.float64)


def _in_columns(answers: Array, own: tuple[str, ...], classes: tuple[str, ...]) -> Array:
    """Answers of a model whose classes are `own` as this project has them: columns ordered, one of two classes."""
    if answers.shape[1] > 1:
        answers = answers[:, [own.index(name) for name in classes]]
        return answers[:, 1:] if len(classes) == 2 else answers
    return answers if own == classes else 1 - answers


def take_over(path: Path, data: Prepared, scale: Scale | None, classes: tuple[str, ...]) -> tuple[keras.Model, Meaning]:
    """A model file in this project's form, its probabilities unchanged, and what its numbers were found to mean.

    `classes` are in the order of the model's columns; `scale` is None where the model says it. Raises InputError as
    the steps do.
    """
    if sorted(classes) != sorted(data.classes):
        raise InputError(f"--classes {','.join(classes)}: name each of {', '.join(data.classes)} once")
    model = load(path)
    check_input(model, data, path)
    head = read_head(model, path)
    check_output(head, data, path)
    meaning = Meaning(scale_of(model, scale, path), classes)
    wrapped = wrap(model, in_order(head, classes, data), meaning.scale, data.preprocessing.image_size)
    check_same(model, wrapped, meaning, data, path)
    return wrapped, meaning
