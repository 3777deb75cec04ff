"""Architectures by name. Every model maps uint8 pixels (n, size, size, 1) to class probabilities.

Layer names are the interface to the rest of the pipeline: `feature_map` (the last pooled map), `features` (what
the head sees), `logits`, `probability`, and `location_logits` where the head says where. Two classes give one sigmoid
column, the probability of a fracture; more give a softmax in the order of the classes. Backend-neutral Keras.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from pipeline.artifacts import TrainingRecord
from pipeline.errors import InputError
from pipeline.files import project_root
from pipeline.training import efficientnet_lite, weight_files
from pipeline.training.params import TrainParams
from pipeline.training.trained import newest_release, read_training
from serving.errors import one_line

FEATURE_MAP, FEATURES, LOGITS, PROBABILITY = "feature_map", "features", "logits", "probability"
LOCATION_LOGITS, LOCATION = "location_logits", "location"
BACKBONE = "backbone"
RELEASE = "release"
"""Instead of weights: those of the last model in models/."""
WORDS = frozenset({"none", "imagenet", RELEASE})
"""What `train.weights` may be instead of the path of a file."""
LOCATION_STRIDE = 8
"""Pixels of a side of the cells that a localisation head answers for: half of all fractures are under 30 px of 384."""
_NECK = 96
"""Channels of the localisation head."""
_WINDOW, _EVIDENCE = 192, 8
"""Pixels of a side of the windows that are judged one by one, and the channels of what is kept of each."""
_PLACE = 5
"""Cells of a side over which the likeliest place is averaged: 40 pixels, about a fracture."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1: keras.applications.imagenet_utils, mode "torch"
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)  # the same module, mode "caffe"

_SYMMETRIC = ("MobileNet", "MobileNetV2", "InceptionV3", "InceptionResNetV2", "Xception")
_TORCH = ("DenseNet121", "DenseNet169", "DenseNet201")
_CAFFE = ("ResNet50", "ResNet101", "ResNet152", "VGG16", "VGG19")
_BUILT_IN = ("MobileNetV3", "EfficientNet", "ConvNeXt")


def build(options: TrainParams, image_size: int, classes: int, weights: str | None = None) -> keras.Model:
    """An untrained model, or one with a pretrained backbone.

    `classes` counts them, normal included; `weights` overrides `options.weights` (`none` when the trained
    weights are loaded anyway). Raises InputError for an unknown architecture, options it does not take, or
    weights that cannot be had or do not fit.
    """
    keras.utils.set_random_seed(options.seed)
    pixels = keras.Input((image_size, image_size, 1), dtype="uint8", name="pixels")
    chosen = options.weights if weights is None else weights
    if options.architecture == "cnn":
        features = _classic(pixels, options, chosen)
    else:
        features = _with_backbone(pixels, options, image_size, chosen)
    columns = 1 if classes == 2 else classes
    logits = layers.Dense(columns, name=LOGITS)(features)
    activation = "sigmoid" if classes == 2 else "softmax"
    # float32 whatever the policy: probabilities near 0 and 1 need its resolution.
    probability = layers.Activation(activation, dtype="float32", name=PROBABILITY)(logits)
    model = keras.Model(pixels, probability, name=options.architecture)
    if chosen == RELEASE:
        _begin_from_release(model, newest_release(project_root()))
    elif begins_whole(chosen):
        weight_files.fill(model, weight_files.read_whole(Path(chosen)), Path(chosen))
    return model


def begins_whole(weights: str) -> bool:
    """Whether `train.weights` names a file of a whole network, head included, not just of a backbone."""
    return weights not in WORDS and weight_files.is_whole(weights)


def begins_with_head(weights: str) -> bool:
    """Whether the head that training begins with was trained before."""
    return weights == RELEASE or begins_whole(weights)


def _begin_from_release(model: keras.Model, path: Path) -> None:
    """Take over every weight of a released model; those of the last layer where the model has as many classes.

    Begun at random, the last layer spoils on few images what the release knows. Raises InputError where the two are
    not built alike; the size of the image may differ.
    """
    released = keras.models.load_model(path, safe_mode=True, compile=False)
    theirs = {layer.name: layer.get_weights() for layer in released.layers}
    for layer in model.layers:
        if not layer.weights:
            continue
        shapes = [tuple(weight.shape) for weight in layer.weights]
        alike = [weight.shape for weight in theirs.get(layer.name, [])] == shapes
        if not alike and layer.name == LOGITS:
            continue
        if not alike:
            raise InputError(
                f"params.yaml: train.weights: release: {path.parent.name} is built otherwise (layer {layer.name!r}); "
                "set train.architecture, architecture_options and head to those of its params.yaml"
            )
        layer.set_weights(theirs[layer.name])


def _classic(pixels: Any, options: TrainParams, weights: str) -> Any:
    """Twice convolution and max-pooling, flatten, one dense layer: the network of the original idea."""
    if weights not in {"none", RELEASE} and not begins_whole(weights):
        raise InputError(
            f"params.yaml: train.weights: the architecture cnn starts from none, not from {weights!r}; set it to none"
        )
    if options.architecture_options:
        raise InputError("params.yaml: train.architecture_options: the architecture cnn takes none; set it to {}")
    x = layers.Rescaling(1 / 255, name="scale")(pixels)
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="convolution_1")(x)
    x = layers.MaxPooling2D(2, name="pool_1")(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu", name="convolution_2")(x)
    x = layers.MaxPooling2D(2, name=FEATURE_MAP)(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(128, activation="relu", name=FEATURES)(x)
    return layers.Dropout(options.dropout, seed=options.seed, name="dropout")(x)


def _with_backbone(pixels: Any, options: TrainParams, image_size: int, weights: str) -> Any:
    x = scaling(options.architecture)(layers.Concatenate(name="grey_to_rgb")([pixels, pixels, pixels]))
    backbone = _backbone(options, image_size, weights)
    if options.head == "location":
        return _with_location(x, backbone, image_size, options)
    maps = layers.Activation("linear", name=FEATURE_MAP)(backbone(x))
    features = layers.GlobalAveragePooling2D(name=FEATURES)(maps)
    return layers.Dropout(options.dropout, seed=options.seed, name="dropout")(features)


def _with_location(x: Any, backbone: keras.Model, image_size: int, options: TrainParams) -> Any:
    """Features (n, k) of the image: how strongly its likeliest places and windows speak for a fracture.

    Feature maps of three depths, a 32nd, a 16th and an 8th of the image's side, are joined on the finest grid (as in
    feature pyramids: Lin et al., CVPR 2017); each of its cells answers for itself, and boxes supervise it.
    """
    if image_size % 32:
        raise InputError(
            f"params.yaml: preprocess.image_size: {image_size} is no multiple of 32, as train.head: location needs"
        )
    last = {layer.output.shape[1]: layer.output for layer in backbone.layers}  # of each side the last map
    outputs = [backbone.output, *(last[image_size // stride] for stride in (16, LOCATION_STRIDE))]
    deep, *finer = keras.Model(backbone.input, outputs, name=BACKBONE)(x)
    joined = layers.Conv2D(_NECK, 1, name="neck_32")(deep)
    for stride, maps in zip((16, LOCATION_STRIDE), finer, strict=True):
        joined = layers.Add(name=f"neck_sum_{stride}")([
            layers.Conv2D(_NECK, 1, name=f"neck_{stride}")(maps),
            layers.UpSampling2D(2, interpolation="bilinear", name=f"neck_up_{stride}")(joined),
        ])  # fmt: skip
    joined = layers.Activation("relu", name="neck_relu")(joined)
    maps = layers.SeparableConv2D(_NECK, 3, padding="same", activation="relu", name=FEATURE_MAP)(joined)
    # Fractures are rare: begun at a probability of 0.02, the first steps are not spent on learning that.
    rare = keras.initializers.Constant(-4.0)
    places = layers.Conv2D(1, 1, bias_initializer=rare, dtype="float32", name=LOCATION_LOGITS)(maps)
    if options.image_gradient < 1:
        deep, maps, places = (GradientScale(options.image_gradient)(x) for x in (deep, maps, places))
    evidence = _windows(deep, maps, places, options)
    smooth = layers.AveragePooling2D(_PLACE, strides=1, padding="same", name="place_mean")(places)
    pooled = layers.Concatenate(name="pooled")([
        layers.GlobalMaxPooling2D(name="likeliest_window")(evidence),
        layers.GlobalMaxPooling2D(name="likeliest_place")(smooth),
        layers.GlobalMaxPooling2D(name="likeliest_cell")(places),
    ])  # fmt: skip
    return layers.BatchNormalization(momentum=0.95, name=FEATURES)(pooled)


def _windows(deep: Any, maps: Any, places: Any, options: TrainParams) -> Any:
    """Evidence (n, k, k, channels) of every window of the image as large as the patches that training begins with.

    What is learned of a patch thus holds for an image: of any size, it is as suspicious as its most suspicious window
    (multiple instance learning). Pooling over the whole image would drown a fracture in normal bone.
    """
    side = min(_WINDOW // 32, deep.shape[1])
    fine = side * 32 // LOCATION_STRIDE
    step = 32 // LOCATION_STRIDE
    seen = layers.Concatenate(name="window_features")([
        layers.AveragePooling2D(side, strides=1, name="window_mean")(deep),
        layers.MaxPooling2D(side, strides=1, name="window_max")(deep),
        layers.MaxPooling2D(fine, strides=step, name="window_neck")(maps),
        layers.MaxPooling2D(fine, strides=step, name="window_place")(places),
    ])  # fmt: skip
    # Means and maxima differ tenfold in scale; one learning rate has to do for all of them.
    scaled = layers.BatchNormalization(momentum=0.95, name="window_scale")(seen)
    dropped = layers.SpatialDropout2D(options.dropout, seed=options.seed, name="dropout")(scaled)
    return layers.Conv2D(_EVIDENCE, 1, name="window_evidence")(dropped)


@keras.saving.register_keras_serializable(package="fracture")
class GradientScale(layers.Layer):
    """Passes its input on and a share of the gradient back. Only in training: `plain` leaves it out."""

    def __init__(self, share: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.share = share

    def call(self, maps: Any) -> Any:
        return self.share * maps + (1 - self.share) * keras.ops.stop_gradient(maps)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "share": self.share}


def plain(model: keras.Model, options: TrainParams, image_size: int, classes: int) -> keras.Model:
    """The model that answers: the one that `build` made and training changed, without what only training needs."""
    if options.image_gradient == 1:
        return model
    answering = build(options.model_copy(update={"image_gradient": 1.0}), image_size, classes, "none")
    weight_files.fill(answering, weight_files.of_model(model), Path("the trained network"))
    return answering


def located(model: keras.Model, logits: bool = False) -> keras.Model:
    """The model with its localisation as second output, {probability, location}; the model itself where it has none.

    The location comes as probabilities, or as `logits`.
    """
    if LOCATION_LOGITS not in {layer.name for layer in model.layers}:
        return model
    places = model.get_layer(LOCATION_LOGITS).output
    location = layers.Activation("linear" if logits else "sigmoid", dtype="float32", name=LOCATION)(places)
    return keras.Model(model.input, {PROBABILITY: model.output, LOCATION: location}, name=model.name)


def set_trainable(model: keras.Model, trainable: bool, keep_statistics: bool, first: str = "") -> None:
    """Freeze or release the backbone; with `keep_statistics` its batch normalisation stays frozen in any case.

    Released, it moves from the layer `first` on, which saves the passes back through those before. Batches of a few
    images are too small to measure statistics by. `training=False` at the call would not freeze them: Keras 3 replaces
    it with the mode of the whole model. Raises InputError for an unknown layer.
    """
    backbone = model.get_layer(BACKBONE)
    backbone.trainable = trainable
    names = [layer.name for layer in backbone.layers]
    if first and first not in names:
        shown = ", ".join(_some_convolutions(backbone))
        raise InputError(
            f"params.yaml: train.trainable_from: the backbone has no layer {first!r}; from the first to the last, "
            f"some are {shown}"
        )
    for layer in backbone.layers[: names.index(first)] if first else ():
        layer.trainable = False
    for layer in backbone.layers if keep_statistics else ():
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def keep_head_statistics(model: keras.Model) -> None:
    """Freeze the batch normalisation of a head that was trained before."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def _some_convolutions(backbone: keras.Model, most: int = 12) -> list[str]:
    """Names of layers spread over the depth of a backbone, none that only scales, shifts or pads."""
    names = [layer.name for layer in backbone.layers if any(len(weight.shape) > 1 for weight in layer.weights)]
    chosen = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
    return [names[index] for index in chosen]


def scaling(architecture: str) -> keras.layers.Layer:
    """The layer that turns grey levels 0..255 into what the backbone was trained on (keras.applications)."""
    if architecture in efficientnet_lite.SIZES:
        return efficientnet_lite.scaling()
    if architecture in _TORCH:
        scale = [1 / (255 * std) for std in _IMAGENET_STD]
        offset = [-mean / std for mean, std in zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True)]
        return layers.Rescaling(scale, offset, name="scale")
    if architecture in _CAFFE:
        return layers.Rescaling([1.0, 1.0, 1.0], [-mean for mean in _CAFFE_MEAN_BGR], name="scale")
    if architecture.startswith(_BUILT_IN):
        return layers.Rescaling(1.0, name="scale")
    return layers.Rescaling(1 / 127.5, -1.0, name="scale")


def architectures() -> list[str]:
    """The names `train.architecture` accepts."""
    names = (name for name in dir(keras.applications) if name[0].isupper() and callable(_constructor(name)))
    return ["cnn", *sorted([*names, *efficientnet_lite.SIZES])]


def _constructor(name: str) -> Any:
    return getattr(keras.applications, name, None)


def _backbone(options: TrainParams, image_size: int, weights: str) -> keras.Model:
    if options.architecture in efficientnet_lite.SIZES:
        return _lite(options, image_size, weights)
    constructor = _constructor(options.architecture)
    if constructor is None or not options.architecture[0].isupper():
        known = ", ".join(architectures())
        raise InputError(f"params.yaml: train.architecture: {options.architecture!r} is unknown; choose one of {known}")
    source = _weights_argument(weights)
    arguments: Mapping[str, Any] = {"include_top": False, "input_shape": (image_size, image_size, 3), "weights": source}
    try:
        with warnings.catch_warnings():
            # Keras looks for a second copy of each layer that older weight files do not have; all are loaded.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            return constructor(**arguments, **options.architecture_options, name=BACKBONE)
    except TypeError as error:
        raise InputError(
            f"params.yaml: train.architecture_options: {options.architecture}: {one_line(error)}"
        ) from None
    except (ValueError, OSError, KeyError) as error:
        raise InputError(
            f"params.yaml: train.weights: {weights!r} cannot be loaded into {options.architecture} with "
            f"architecture_options {options.architecture_options} at {image_size} px ({one_line(error)})"
        ) from None
    except Exception as error:
        if weights == "imagenet" and "URL fetch failure" in str(error):
            raise InputError(
                "params.yaml: train.weights: the ImageNet weights cannot be downloaded; give the path of a "
                f"downloaded .weights.h5 file ({one_line(error)})"
            ) from None
        raise


def _lite(options: TrainParams, image_size: int, weights: str) -> keras.Model:
    """A backbone of efficientnet_lite.py, which takes its weights from an .npz file only."""
    if options.architecture_options:
        raise InputError(f"params.yaml: train.architecture_options: {options.architecture} takes none; set it to {{}}")
    backbone = efficientnet_lite.build(options.architecture, (image_size, image_size, 3), BACKBONE)
    source = _weights_argument(weights)
    if source == "imagenet" or (source and not source.endswith(".npz")):
        raise InputError(
            f"params.yaml: train.weights: {weights}: {options.architecture} begins from none, release, an .npz file "
            "of ImageNet weights (NOTICE says where they are from) or a whole network"
        )
    if source:
        efficientnet_lite.load_weights(backbone, Path(source))
    return backbone


def _weights_argument(weights: str) -> str | None:
    """What the constructor of a backbone takes for its weights."""
    if weights in WORDS:
        return weights if weights == "imagenet" else None
    if Path(weights).is_dir():
        raise InputError(f"params.yaml: train.weights: {weights}: is a folder; name the .weights.h5 file in it")
    if not Path(weights).is_file():
        raise InputError(
            f"params.yaml: train.weights: {weights}: no such file; give none, imagenet, release or a .weights.h5"
        )
    return None if weight_files.is_whole(weights) else weights


def weights_hash(model: keras.Model) -> str:
    """Hex sha256 over a model's configuration and weights: the same for the same model, whatever the file."""
    digest = hashlib.sha256(json.dumps(model.get_config(), sort_keys=True, default=str).encode())
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def load_trained(folder: Path) -> tuple[keras.Model, TrainingRecord]:
    """The trained model and the facts of its training; InputError as in `read_training`."""
    training = read_training(folder)
    return keras.models.load_model(folder / "model.keras", safe_mode=True, compile=False), training
