"""A Keras model of another origin in this project's form, measured and registered like a trained one.

file -> load (safe mode) -> read_head (its layers from the answer back to the last map) -> wrap -> evaluate -> register
"""

import json
import logging
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.quiet import quiet_import

with quiet_import():
    import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from keras import layers

from pipeline import params, register
from pipeline.artifacts import Artifacts, DatasetRecord, ImportedFrom, TrainingRecord
from pipeline.data import prepared
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.evaluation.report import evaluate
from pipeline.files import git_commit, sha256_file
from pipeline.registry import mlflow as tracking
from pipeline.training import architectures

Scale = Literal["0-1", "-1-1", "0-255"]
SCALES: Mapping[Scale, tuple[float, float]] = {
    "0-1": (1 / 255, 0.0), "-1-1": (1 / 127.5, -1.0), "0-255": (1.0, 0.0),
}  # fmt: skip
"""Range of pixels a model was trained on -> factor and offset that turn grey levels 0..255 into it."""
Array = npt.NDArray[np.float64]

_UNSAFE = {"Lambda", "__lambda__", "TorchModuleWrapper"}
_SAME = 1e-4
"""Largest difference of a probability between a model and its wrapped form: rounding of other sums."""
_COMPARED = 64
_BATCH = 16
_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_IDENTITIES = (
    layers.Dropout, layers.SpatialDropout2D, layers.AlphaDropout, layers.GaussianDropout, layers.GaussianNoise,
    layers.ActivityRegularization, layers.Identity,
)  # fmt: skip
"""Layers that do nothing once training is over."""
_TRAINED_ON = "unknown (imported)"


def load(path: Path) -> keras.Model:
    """The model of a `.keras` or `.h5` file, in Keras' safe mode: no code of the file's own is run.

    Raises InputError for another kind of file, one that holds code (a Lambda layer) or weights only, and for what
    this Keras cannot load.
    """
    for config in _configs(path):
        name, kind = config.get("name", config.get("config", {}).get("name", "")), config["class_name"]
        if kind in _UNSAFE:
            raise InputError(
                f"{path}: holds code of its own ({kind} {name!r}), which is never run; replace it by a layer of Keras "
                "and save the model again"
            )
    try:
        with quiet_import(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that Keras calls legacy
            model = keras.models.load_model(path, safe_mode=True, compile=False)
    except Exception as error:  # noqa: BLE001  Keras raises whatever a broken or foreign file leads it to
        raise InputError(
            f"{path}: Keras {keras.__version__} cannot load it ({tracking.one_line(error)}); save it again as .keras "
            "with Keras 3 and without classes of your own"
        ) from None
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise InputError(f"{path}: is no functional or sequential model whose layers are known; save it as one")
    return model


def _configs(path: Path) -> Iterator[dict[str, Any]]:
    """Every object a model file describes, before any of them is made."""
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give a .keras or .h5 file")
    with path.open("rb") as file:
        start = file.read(8)
    suffix = path.suffix.lower()
    wanted = {".keras": _ZIP, ".h5": _HDF5, ".hdf5": _HDF5}.get(suffix)
    if wanted is None or not start.startswith(wanted):
        raise InputError(f"{path}: is no Keras model; give a file that model.save() wrote as .keras or .h5")
    try:
        found = json.loads(_model_config(path, suffix))
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is broken ({tracking.one_line(error)}); save the model again") from None
    yield from _objects(found)


def _model_config(path: Path, suffix: str) -> bytes | str:
    if suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return archive.read("config.json")
    import h5py  # type: ignore[import-untyped]  # noqa: PLC0415  comes with Keras

    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise InputError(f"{path}: holds weights only; save the whole model with model.save()")
        config: bytes | str = file.attrs["model_config"]
        return config


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("class_name"), str):
            yield value
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


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
class Head:
    """What stands behind the last map: pooling, at most one hidden ReLU layer, one dense layer, one activation.

    `trunk` are the models that lead from the model's input to the map, one behind the other.
    """

    trunk: tuple[keras.Model, ...]
    flattened: bool
    hidden: Affine | None
    logits: Affine
    softmax: bool


@dataclass(frozen=True)
class Meaning:
    """What a model's numbers mean: the range of its pixels, and the classes in the order of its columns.

    One sigmoid column is the probability of the second class.
    """

    scale: Scale
    classes: tuple[str, ...]


def read_head(model: keras.Model, name: object) -> Head:
    """Follow a model from its answer back to the last map (n, h, w, k) that is pooled or flattened.

    `name` stands in messages. Raises InputError where something else stands between the two, because no heatmap
    could be drawn.
    """
    walk = _Walk(model, name)
    while len(walk.tensor.shape) != 4:
        walk.back()
    chain = walk.chain
    flattened = _pools(walk)
    trunk = walk.trunk()
    if not trunk:
        raise _no_head(name, "no convolution stands before its dense layers")
    shape = walk.tensor.shape
    hidden, logits, softmax = _fold(chain[1:], name)
    if len(hidden.weights if hidden else logits.weights) != (int(np.prod(shape[1:])) if flattened else int(shape[-1])):
        raise _no_head(name, "its dense layers do not take the whole map")
    return Head(trunk, flattened, hidden, logits, softmax)


def _no_head(name: object, what: str) -> InputError:
    return InputError(
        f"{name}: {what}; heatmaps need: last map, GlobalAveragePooling2D or Flatten, at most one Dense layer with "
        "ReLU, one Dense layer with sigmoid or softmax"
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


def _pools(walk: _Walk) -> bool:
    """Whether the map the walk has come to is flattened, and not averaged; goes on to the map behind a single point."""
    first = walk.chain[0] if walk.chain else None
    if isinstance(first, layers.GlobalAveragePooling2D) and first.data_format == "channels_last":
        return False
    if not isinstance(first, (layers.Flatten, layers.Reshape)):
        what = "its answer is a map" if first is None else f"{_kind(first)} stands behind its last map"
        raise _no_head(walk.name, what)
    if tuple(walk.tensor.shape[1:3]) != (1, 1):
        return True
    while tuple(walk.tensor.shape[1:3]) == (1, 1):
        walk.back()
    if not isinstance(walk.chain[0], (layers.GlobalAveragePooling2D, layers.AveragePooling2D)):
        raise _no_head(walk.name, f"{_kind(walk.chain[0])} leaves a single point of its last map")
    return False


def _fold(chain: list[keras.layers.Layer], name: object) -> tuple[Affine | None, Affine, bool]:
    """The layers behind the pooling as (hidden layer with ReLU, dense layer, whether softmax follows)."""
    hidden: Affine | None = None
    current: Affine | None = None
    last = ""
    for layer in chain:
        step, kind = _affine(layer), _activation(layer)
        if last or kind not in {"linear", "relu", "sigmoid", "softmax"} or not (step or _does_nothing(layer)):
            raise _no_head(name, f"{_kind(layer)} stands before its answer" if not last else f"{last} is not its end")
        current = current.then(step) if current and step else current or step
        if kind == "relu":
            if hidden or not (current and current.dense):
                raise _no_head(name, "more than one hidden layer stands before its last dense layer")
            hidden, current = current, None
        last = kind if kind in {"sigmoid", "softmax"} else ""
    if not last:
        raise InputError(f"{name}: its answer is no probability; end it with a sigmoid or a softmax")
    if not (current and current.dense):
        raise _no_head(name, f"no dense layer stands before its {last}")
    return hidden, current, last == "softmax"


def _affine(layer: keras.layers.Layer) -> Affine | None:
    """What a dense or batch normalisation layer does after training; None for any other."""
    pointwise = isinstance(layer, layers.Conv2D) and layer.kernel_size == (1, 1) and layer.groups == 1
    if isinstance(layer, layers.Dense) or pointwise:  # one is the other on a single point
        kernel = _numbers(layer.kernel).reshape(-1, layer.kernel.shape[-1])
        return Affine(kernel, _numbers(layer.bias) if layer.use_bias else np.zeros(kernel.shape[1]))
    if isinstance(layer, layers.BatchNormalization):
        factor = 1 / np.sqrt(_numbers(layer.moving_variance) + layer.epsilon)
        factor = factor * _numbers(layer.gamma) if layer.scale else factor
        offset = -_numbers(layer.moving_mean) * factor
        return Affine(factor, offset + _numbers(layer.beta) if layer.center else offset)
    return None


def _numbers(variable: Any) -> Array:
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
        layer, (*_IDENTITIES, layers.Flatten, layers.Reshape, layers.Activation, layers.ReLU, layers.Softmax)
    )


def scale_of(model: keras.Model, given: Scale | None, name: object) -> Scale:
    """The range of pixels a model was trained on: as the person says, else as its first layers do.

    Raises InputError that asks for `--scale` where they do not.
    """
    if model.inputs[0].dtype == "uint8":
        if given not in {None, "0-255"}:
            raise InputError(f"{name}: takes whole grey levels (uint8), which are 0-255; leave --scale {given} out")
        return "0-255"
    if given is not None:
        return given
    first = _first_layer(model)
    if isinstance(first, layers.Rescaling) and float(np.max(np.abs(np.asarray(first.scale, np.float64)))) < 0.1:
        return "0-255"
    raise InputError(
        f"{name}: does not say which range of pixels it was trained on; say it with --scale 0-1, --scale=-1-1 or "
        f"--scale 0-255{_hint(model, first)}"
    )


def _first_layer(model: keras.Model) -> keras.layers.Layer | None:
    """The first layer that does something to the pixels, inside nested models too."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            return _first_layer(layer)
        passes = isinstance(layer, (layers.InputLayer, layers.Concatenate, *_IDENTITIES))
        if not passes and not type(layer).__name__.startswith("Random"):
            return layer
    return None


def _hint(model: keras.Model, first: keras.layers.Layer | None) -> str:
    """What a model's layers suggest about its range, without being sure."""
    if isinstance(first, layers.Normalization) and first.mean is not None:
        mean = float(np.mean(_numbers(first.mean)))
        return f" (its first layer expects a mean of {mean:.3g}, as pixels of {'0-1' if mean < 1 else '0-255'} have)"
    names = " ".join(layer.name for layer in model.layers if isinstance(layer, keras.Model)).lower()
    if any(name in names for name in ("mobilenet_", "mobilenetv2", "inception", "xception")):
        return " (its backbone is usually trained on -1-1)"
    return ""


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
    return Head(head.trunk, head.flattened, head.hidden, Affine(weights, bias), len(data.classes) > 2)


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
    if head.flattened:
        x = layers.Flatten(name="flatten")(x)
        if hidden is None:
            # Without a hidden layer the logits are split into their positive and negative parts, which give them back.
            hidden = Affine(np.hstack([logits.weights, -logits.weights]), np.hstack([logits.bias, -logits.bias]))
            both = np.eye(logits.weights.shape[1])
            logits = Affine(np.vstack([both, -both]), np.zeros(len(both)))
    else:
        x = layers.GlobalAveragePooling2D(name="pool" if hidden else architectures.FEATURES)(x)
    if hidden is not None:
        x = _dense(hidden, x, architectures.FEATURES, "relu")
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


@dataclass(frozen=True)
class Imported(register.Candidate):
    """A candidate that was trained elsewhere: no training parameters of this project, and its file among the tags."""

    extra: Mapping[str, str] = field(default_factory=dict)

    def flat_params(self) -> dict[str, Any]:
        """params.yaml without the section of a training that did not happen here."""
        return {name: value for name, value in super().flat_params().items() if not name.startswith("train.")}

    def tags(self) -> dict[str, str]:
        """Those of any version, and where this one comes from."""
        return {**super().tags(), **self.extra}


def _training(model: keras.Model, file: Path, data: Prepared, paths: Artifacts) -> TrainingRecord:
    """Write model.keras and training.json; of the training itself nothing is known."""
    paths.model.mkdir(parents=True)
    model.save(paths.keras_model)
    record = TrainingRecord(
        architecture=model.name,
        classes=data.classes,
        image_size=data.preprocessing.image_size,
        preprocessing=data.preprocessing.to_dict(),
        model_sha256=sha256_file(paths.keras_model),
        weights_sha256=architectures.weights_hash(model),
        parameters=model.count_params(),
        epochs=0,
        best_epoch=0,
        data_hash=data.data_hash,
        split_hash=data.split_hash,
        test_hash=data.test_hash,
        dataset=DatasetRecord(**dict.fromkeys(("name", "version", "licence", "citation", "source"), _TRAINED_ON)),
        regions=(),
        views=(),
        run_id="",
        imported_from=ImportedFrom(file=file.name, sha256=sha256_file(file)),
    )
    record.write(paths.training)
    return record


def _copy_context(root: Path, folder: Path) -> None:
    """Copy what a version's tags and artifacts are taken from, as far as it is there, into a temporary project."""
    source, target = Artifacts(root), Artifacts(folder)
    prepared_record = "prepared.json"
    for path, copy in (
        (source.params, target.params),
        (root / "data.dvc", folder / "data.dvc"),
        (root / "dvc.lock", folder / "dvc.lock"),
        (source.prepared / prepared_record, target.prepared / prepared_record),
        (source.validation, target.validation),
    ):
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def import_model(path: Path, root: Path, scale: Scale | None, classes: tuple[str, ...] | None) -> list[str]:
    """Take over, measure and register a model file; the lines to print.

    Everything is written in a temporary folder: build/ and reports/ of `root` stay as they are.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns that measuring two models takes two graphs
    data = prepared.load(Artifacts(root).prepared)
    options = params.load(Artifacts(root).params)
    model, meaning = take_over(path, data, scale, classes or data.classes)
    with tempfile.TemporaryDirectory(prefix="fracture-import-") as name:
        paths = Artifacts(Path(name))
        _copy_context(root, paths.root)
        training = _training(model, path, data, paths)
        report = evaluate(data, model, training, options.evaluate)
        report.write(paths)
        candidate = Imported(
            paths=paths,
            training=training,
            metrics=report.metrics,
            decision=report.decision,
            history=pd.DataFrame(),
            options=options,
            extra={
                "imported_from": f"{path.name} (sha256 {sha256_file(path)})",
                "git_commit": git_commit(root),
            },
        )
        result = tracking.require(lambda mlflow: register.register(mlflow, candidate))
    state = "registered" if result.new else "already registered"
    auroc = report.metrics.test.auroc.value
    turned = ",".join(reversed(meaning.classes))
    doubt = [f"an AUROC below 0.5 suggests another order of its columns: try --classes {turned}"]
    return [
        f"{path}: pixels of {meaning.scale}, columns {', '.join(meaning.classes)}; probabilities unchanged",
        report.summary,
        *(doubt if auroc is not None and auroc < 0.5 else []),
        "whether the model has seen these test images in its training, only its author knows",
        f"{result.model} version {result.version} {state}; gates {result.gates}; {result.comparison}",
        register.next_step(result),
    ]
