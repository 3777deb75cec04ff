"""`fracture import-model`: which files become a model of this project, that nothing changes, and how it is measured."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.evaluation import saliency
from pipeline.packaging.bundle import fetched
from pipeline.packaging.keras_import import model_file, registering, wrapping
from pipeline.registry import promotion
from pipeline.training import architectures
from serving.imaging.canvas import Preprocessing
from tests.mlflow_client import mlflow_client

SIZE = 32
BINARY = ("normal", "fractured")
TYPES = ("normal", "spiral", "transverse")
SIGMOID: dict[str, Any] = {"units": 1, "activation": "sigmoid"}
Squares = Callable[..., Prepared]


def _convolutions() -> list[Any]:
    return [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(4)]


def _sequence(*parts: Any, channels: int = 1, dtype: str = "float32") -> keras.Model:
    return keras.Sequential([keras.Input((SIZE, SIZE, channels), dtype=dtype), *parts])


def _classic() -> keras.Model:
    return _sequence(
        layers.Rescaling(1 / 255), *_convolutions(), layers.Flatten(), layers.Dense(8, activation="relu"),
        layers.Dropout(0.5), layers.Dense(**SIGMOID),
    )  # fmt: skip


def _backbone(pooled: bool = False) -> keras.Model:
    """A network without a head that stands in another as one layer."""
    colours = keras.Input((SIZE, SIZE, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, padding="same")(colours))
    x = layers.ReLU(6.0)(x)
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
    return keras.Model(colours, layers.GlobalAveragePooling2D()(x) if pooled else x, name="mobilenet_like")


def _transferred() -> keras.Model:
    """A backbone in one layer, with batch normalisation, a hidden layer and two softmax columns behind it."""
    pixels = keras.Input((SIZE, SIZE, 3))
    x = layers.RandomFlip()(pixels)
    x = layers.GlobalAveragePooling2D()(_backbone()(layers.Rescaling(1 / 127.5, -1)(x)))
    x = layers.Dropout(0.2)(layers.Dense(32)(layers.BatchNormalization()(x)))  # of few units all may be dead
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(pixels, layers.Softmax()(layers.Dense(2)(x)))


def _with_pooling_inside() -> keras.Model:
    return _sequence(_backbone(pooled=True), layers.Dense(**SIGMOID), channels=3)


def _with_nested_head() -> keras.Model:
    head = keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dense(**SIGMOID)])
    return _sequence(*_convolutions(), head)


def _without_hidden_layer() -> keras.Model:
    return _sequence(
        *_convolutions(), layers.Flatten(), layers.BatchNormalization(), layers.Dense(1), layers.Activation("sigmoid")
    )


def _averaged_by_hand() -> keras.Model:
    pooled = layers.AveragePooling2D(7), layers.Flatten(), layers.Dense(2, activation="softmax")
    return _sequence(*_convolutions(), *pooled)


def _with_a_convolution_for_its_head() -> keras.Model:
    """As keras.applications.MobileNet ends."""
    head = layers.GlobalAveragePooling2D(keepdims=True), layers.Dropout(0.1), layers.Conv2D(2, 1), layers.Reshape((2,))
    return _sequence(*_convolutions(), *head, layers.Activation("softmax"))


ACCEPTED = [
    _classic, _transferred, _with_pooling_inside, _with_nested_head, _without_hidden_layer, _averaged_by_hand,
    _with_a_convolution_for_its_head,
]  # fmt: skip


def _with_two_hidden_layers() -> keras.Model:
    return _sequence(
        *_convolutions(),
        layers.Flatten(),
        layers.Dense(8, "tanh"),
        layers.BatchNormalization(),
        layers.Dense(16, "relu"),
        layers.Dense(**SIGMOID),
    )


def _with_the_maximum() -> keras.Model:
    return _sequence(*_convolutions(), layers.GlobalMaxPooling2D(), layers.Dense(2, activation="softmax"))


def _with_the_maximum_and_three_hidden_layers() -> keras.Model:
    hidden = layers.Dense(8, "tanh"), layers.Dense(8, "tanh"), layers.Dense(16, "relu")
    return _sequence(*_convolutions(), layers.GlobalMaxPooling2D(), *hidden, layers.Dense(**SIGMOID))


ACCEPTED += [_with_two_hidden_layers, _with_the_maximum, _with_the_maximum_and_three_hidden_layers]


def _settled(model: keras.Model) -> keras.Model:
    """With weights away from their starting values: zero biases and plain statistics would hide mistakes."""
    rng = np.random.default_rng(0)
    model.set_weights([
        np.abs(value) + rng.uniform(0.1, 0.3, value.shape) if value.ndim == 1 else value * 1.5
        for value in model.get_weights()
    ])  # fmt: skip
    return model


def _save(model: keras.Model, folder: Path, suffix: str = ".keras") -> Path:
    model.save(folder / f"model{suffix}")
    return folder / f"model{suffix}"


def _take_over(path: Path, data: Prepared, scale: Any = "0-255") -> keras.Model:
    return wrapping.take_over(path, data, scale, data.classes)[0]


def _answers(model: keras.Model, data: Prepared, scale: Any = "0-255") -> np.ndarray:
    """Probability of a fracture as the model itself gives it for its own kind of input."""
    factor, offset = wrapping.SCALES[scale]
    images = np.asarray(data.images[:6])[..., np.newaxis].astype(np.float32) * factor + offset
    found = np.asarray(model.predict_on_batch(np.repeat(images, model.inputs[0].shape[3], axis=3)))
    return np.asarray(found[:, -1])


def _scale_of(build: Any) -> str:
    """The range of a model that does not say it, or that it says."""
    return "0-255" if build in {_classic, _transferred} else "0-1"


@pytest.mark.parametrize("build", ACCEPTED, ids=lambda build: build.__name__)
def test_probabilities_stay_what_they_were(build: Any, squares: Squares, tmp_path: Path) -> None:
    data, model, scale = squares(), _settled(build()), _scale_of(build)
    wrapped = _take_over(_save(model, tmp_path), data, scale)
    assert wrapped.input_shape == (None, SIZE, SIZE, 1)
    found = wrapped.predict_on_batch(np.asarray(data.images[:6])[..., np.newaxis])[:, 0]
    assert np.ptp(found) > 0
    assert found == pytest.approx(_answers(model, data, scale), abs=1e-5)


def _grad_cam_by_tape(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Grad-CAM as published, on the layers between map and logits."""
    import tensorflow as tf

    maps = keras.Model(model.input, model.get_layer(architectures.FEATURE_MAP).output)(pixels, training=False)
    names = [layer.name for layer in model.layers]
    behind = model.layers[names.index(architectures.FEATURE_MAP) + 1 : names.index(architectures.LOGITS) + 1]
    with tf.GradientTape() as tape:
        tape.watch(maps)
        x = maps
        for layer in behind:
            x = layer(x)
    alpha = tf.reduce_mean(tape.gradient(x, maps), axis=(1, 2))
    return np.asarray(tf.einsum("nhwk,nk->nhw", maps, alpha))


@pytest.mark.parametrize("build", ACCEPTED, ids=lambda build: build.__name__)
def test_the_heatmap_is_grad_cam_but_for_its_unit(build: Any, squares: Squares, tmp_path: Path) -> None:
    data = squares()
    wrapped = _take_over(_save(_settled(build()), tmp_path), data, _scale_of(build))
    pixels = np.asarray(data.images[:3])[..., np.newaxis]
    found = np.asarray(saliency.explained(wrapped).predict_on_batch(pixels)[saliency.MAP])
    wanted = _grad_cam_by_tape(wrapped, pixels)
    assert np.abs(wanted).max() > 0
    for ours, theirs in zip(found, wanted, strict=True):
        unit = np.abs(theirs).max() / max(np.abs(ours).max(), 1e-12)
        assert np.allclose(ours * unit, theirs, atol=1e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("scale", ["0-1", "-1-1", "0-255"])
def test_scaling_lies_inside(squares: Squares, tmp_path: Path, scale: Any) -> None:
    data = squares()
    model = _settled(_sequence(*_convolutions(), layers.GlobalAveragePooling2D(), layers.Dense(**SIGMOID)))
    wrapped = _take_over(_save(model, tmp_path), data, scale)
    found = wrapped.predict_on_batch(np.asarray(data.images[:6])[..., np.newaxis])[:, 0]
    assert found == pytest.approx(_answers(model, data, scale), abs=1e-5)


def test_a_model_of_whole_grey_levels_is_taken_over(squares: Squares, tmp_path: Path) -> None:
    parts = layers.Rescaling(1 / 255), *_convolutions(), layers.Flatten(), layers.Dense(**SIGMOID)
    model = _sequence(*parts, dtype="uint8")
    assert wrapping.take_over(_save(model, tmp_path), squares(), None, BINARY)[1].scale == "0-255"


def test_a_model_that_begins_with_rescaling_says_its_range_itself(squares: Squares, tmp_path: Path) -> None:
    assert wrapping.take_over(_save(_classic(), tmp_path), squares(), None, BINARY)[1].scale == "0-255"


def _augmented() -> keras.Model:
    """Augmentation in a model of its own, and scaling behind it."""
    augment = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)])
    pixels = keras.Input((SIZE, SIZE, 1))
    x = layers.Rescaling(1 / 127.5, -1)(augment(pixels))
    for layer in (*_convolutions(), layers.GlobalAveragePooling2D(), layers.Dense(**SIGMOID)):
        x = layer(x)
    return keras.Model(pixels, x)


def _preprocessed(package: Any) -> keras.Model:
    pixels = keras.Input((SIZE, SIZE, 3))
    x = package.preprocess_input(pixels)
    for layer in (*_convolutions(), layers.GlobalAveragePooling2D(), layers.Dense(**SIGMOID)):
        x = layer(x)
    return keras.Model(pixels, x)


SAYS_LEVELS: dict[str, Callable[[], keras.Model]] = {
    "behind augmentation": _augmented,
    "mobilenet": lambda: _preprocessed(keras.applications.mobilenet_v2),
    "resnet": lambda: _preprocessed(keras.applications.resnet),
    "densenet": lambda: _preprocessed(keras.applications.densenet),
}


@pytest.mark.parametrize("kind", SAYS_LEVELS)
def test_scaling_inside_a_model_says_its_range(squares: Squares, tmp_path: Path, kind: str) -> None:
    path = _save(SAYS_LEVELS[kind](), tmp_path)
    assert wrapping.take_over(path, squares(), None, BINARY)[1].scale == "0-255"


@pytest.mark.parametrize("kind", SAYS_LEVELS)
@pytest.mark.parametrize("given", ["0-1", "-1-1"])
def test_a_scale_that_contradicts_the_model_is_refused(squares: Squares, tmp_path: Path, kind: str, given: Any) -> None:
    with pytest.raises(InputError, match=f"which takes pixels of 0-255; leave --scale {given} out"):
        _take_over(_save(SAYS_LEVELS[kind](), tmp_path), squares(), given)


@pytest.mark.parametrize(
    ("rescaling", "scale"),
    [((2.0, -1.0), "0-1"), ((255.0, 0.0), "0-1"), ((127.5, 127.5), "-1-1"), ((0.5, 0.5), "-1-1")],
)
def test_rescaling_from_a_smaller_range_says_which(
    squares: Squares, tmp_path: Path, rescaling: tuple[float, float], scale: str
) -> None:
    model = _sequence(layers.Rescaling(*rescaling), *_convolutions(), layers.Flatten(), layers.Dense(**SIGMOID))
    assert wrapping.take_over(_save(model, tmp_path), squares(), None, BINARY)[1].scale == scale


def test_a_model_that_does_not_is_asked_about(squares: Squares, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.keras: does not say which range .* --scale 0-1"):
        _take_over(_save(_with_nested_head(), tmp_path), squares(), None)


def test_what_a_backbone_suggests_is_said(squares: Squares, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="usually trained on -1-1"):
        _take_over(_save(_with_pooling_inside(), tmp_path), squares(), None)


def test_an_h5_file_is_taken_over(squares: Squares, tmp_path: Path) -> None:
    data, model = squares(), _settled(_classic())
    wrapped = _take_over(_save(model, tmp_path, ".h5"), data)
    found = wrapped.predict_on_batch(np.asarray(data.images[:6])[..., np.newaxis])[:, 0]
    assert found == pytest.approx(_answers(model, data), abs=1e-5)


def test_softmax_columns_of_types_are_kept(squares: Squares, tmp_path: Path) -> None:
    data = squares(classes=TYPES)
    model = _settled(
        _sequence(*_convolutions(), layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax"))
    )
    assert _take_over(_save(model, tmp_path), data).output_shape == (None, 3)


@pytest.mark.parametrize(("units", "activation"), [(1, "sigmoid"), (2, "softmax")])
def test_classes_in_another_order_are_turned(squares: Squares, tmp_path: Path, units: int, activation: str) -> None:
    data = squares()
    model = _settled(_sequence(*_convolutions(), layers.Flatten(), layers.Dense(units, activation=activation)))
    wrapped = wrapping.take_over(_save(model, tmp_path), data, "0-255", BINARY[::-1])[0]
    found = wrapped.predict_on_batch(np.asarray(data.images[:6])[..., np.newaxis])[:, 0]
    assert found == pytest.approx(1 - _answers(model, data), abs=1e-5)


def test_classes_that_are_none_are_one_line(squares: Squares, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--classes a,b: name each of normal, fractured once"):
        wrapping.take_over(tmp_path / "model.keras", squares(), None, ("a", "b"))


def _joined() -> keras.Model:
    pixels = keras.Input((SIZE, SIZE, 1))
    x = layers.Conv2D(2, 3)(pixels)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    return keras.Model(pixels, layers.Dense(**SIGMOID)(x))


REFUSED = {
    "no dense layer stands before the tanh": lambda: [
        layers.Flatten(), layers.Activation("tanh"), layers.Dense(**SIGMOID),
    ],
    r"\(Dense\) stands before its answer": lambda: [layers.Flatten(), layers.Dense(4, "gelu"), layers.Dense(**SIGMOID)],
    "is no probability": lambda: [layers.Flatten(), layers.Dense(1)],
    "its answer is a map": lambda: [layers.Conv2D(1, 1, activation="sigmoid")],
    "column": lambda: [layers.Flatten(), layers.Dense(3, "softmax")],
    r"2 sigmoid column": lambda: [layers.Flatten(), layers.Dense(2, "sigmoid")],
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_a_head_that_cannot_be_explained_is_one_line(squares: Squares, tmp_path: Path, reason: str) -> None:
    model = _sequence(layers.Rescaling(1 / 255), *_convolutions(), *REFUSED[reason]())
    with pytest.raises(InputError, match=reason) as caught:
        _take_over(_save(model, tmp_path), squares())
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "model.keras"))


def test_branches_that_join_behind_the_map_are_one_line(squares: Squares, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="joins several branches"):
        _take_over(_save(_joined(), tmp_path), squares())


def test_a_network_without_convolution_is_one_line(squares: Squares, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no convolution"):
        _take_over(_save(_sequence(layers.Flatten(), layers.Dense(**SIGMOID)), tmp_path), squares())


def test_another_image_size_says_what_to_set(tmp_path: Path, squares: Squares) -> None:
    from dataclasses import replace

    data = replace(squares(), preprocessing=Preprocessing(64))
    with pytest.raises(InputError, match=r"takes images of 32 px, but prepared/ holds 64 px; set params\.yaml"):
        _take_over(_save(_classic(), tmp_path), data)


@pytest.mark.parametrize("shape", [(SIZE, SIZE, 4), (SIZE, 16, 1)])
def test_another_shape_than_a_square_image_is_one_line(
    squares: Squares, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    model = keras.Sequential([keras.Input(shape), layers.Conv2D(1, 3), layers.Flatten(), layers.Dense(**SIGMOID)])
    with pytest.raises(InputError, match="must be"):
        _take_over(_save(model, tmp_path), squares())


def _error(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        model_file.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_that_holds_code_is_refused(tmp_path: Path, suffix: str) -> None:
    model = _sequence(layers.Lambda(lambda x: x), *_convolutions(), layers.Flatten(), layers.Dense(**SIGMOID))
    path = _save(model, tmp_path, suffix)
    assert "holds code of its own (Lambda" in _error(path)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    for name in ("model.h5", "model.keras", "model.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        assert "is no Keras model" in _error(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_class_of_its_own_is_one_line(tmp_path: Path) -> None:
    path = _save(_classic(), tmp_path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    known = b'"keras.layers", "class_name": "Conv2D"'
    contents["config.json"] = contents["config.json"].replace(known, b'"os", "class_name": "system"')
    assert b"system" in contents["config.json"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    assert "cannot load it" in _error(path)


def test_a_saved_model_is_told_what_to_do(tmp_path: Path) -> None:
    _classic().export(tmp_path / "saved", verbose=False)
    assert "is a SavedModel" in _error(tmp_path / "saved")


def test_a_file_of_an_older_keras_is_told_what_to_do(tmp_path: Path) -> None:
    import h5py  # type: ignore[import-untyped]

    path = _save(_classic(), tmp_path, ".h5")
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "2.11.0"
        file.attrs["model_config"] = file.attrs["model_config"].replace("Conv2D", "TFOpLambda")
    assert "it was saved by Keras 2.11.0: load it with tf_keras" in _error(path)


def test_weights_alone_are_one_line(tmp_path: Path) -> None:
    _classic().save_weights(tmp_path / "model.weights.h5")
    assert "holds weights only" in _error(tmp_path / "model.weights.h5")


@pytest.mark.parametrize("name", ["gone.keras", "folder", "notes.txt"])
def test_what_is_no_model_file_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    assert "give a" in _error(tmp_path / name)


def test_a_file_cut_short_is_one_line(tmp_path: Path) -> None:
    path = _save(_classic(), tmp_path)
    path.write_bytes(path.read_bytes()[:2000])
    assert "model.keras" in _error(path)


@pytest.fixture(scope="module")
def checkout(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with prepared/ of the small sample, and nothing in build/ but a file of the user's."""
    root = tmp_path_factory.mktemp("import")
    for path in Path(__file__).parents[3].glob("*.yaml"):
        (root / path.name).write_bytes(path.read_bytes())
    (root / "prepared").symlink_to(trained_folder / "prepared")
    (root / "build").mkdir()
    (root / "build/decision.json").write_text("the user's")
    return root


@pytest.fixture(scope="module")
def imported(checkout: Path, trained_folder: Path) -> dict[str, Any]:
    """What became of importing the small sample's own model, as if it had come from elsewhere: lines and client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{checkout}/mlflow.db")
        patch.chdir(checkout)
        file = trained_folder / "build/model/model.keras"
        lines = [registering.import_model(file, checkout, None, None) for _ in range(2)]
        client = mlflow_client()
        versions = client.search_model_versions("name = 'bone-fracture'")
        with fetched("models:/bone-fracture/1") as found:
            images = np.load(trained_folder / "prepared/images.npy")[:4, ..., np.newaxis]
            answers = found.model.predict_on_batch(images)
        wanted = keras.models.load_model(file).predict_on_batch(images)
        run = client.get_run(versions[0].run_id)
        aliases = dict(client.get_registered_model("bone-fracture").aliases)
        return {
            "lines": lines, "versions": versions, "training": found.training, "answers": answers, "wanted": wanted,
            "run": run, "aliases": aliases,
        }  # fmt: skip


def test_an_imported_model_is_measured_and_registered_like_a_trained_one(imported: dict[str, Any]) -> None:
    tags = imported["versions"][0].tags
    assert {"content_hash", "test_hash", "test_auroc", "gates", "dataset", "git_commit", "classes"} <= set(tags)
    assert "test_auroc" in imported["run"].data.metrics


def test_its_version_says_which_file_it_came_from(imported: dict[str, Any], trained_folder: Path) -> None:
    import hashlib

    content = (trained_folder / "build/model/model.keras").read_bytes()
    tag = imported["versions"][0].tags["imported_from"]
    assert tag == f"model.keras (sha256 {hashlib.sha256(content).hexdigest()})"


def test_it_is_not_promoted_by_itself(imported: dict[str, Any]) -> None:
    assert promotion.CHAMPION not in imported["aliases"]


def test_it_carries_no_parameters_of_a_training_here(imported: dict[str, Any]) -> None:
    assert not [name for name in imported["run"].data.params if name.startswith("train.")]


def test_the_same_file_makes_no_second_version(imported: dict[str, Any]) -> None:
    assert len(imported["versions"]) == 1
    assert "already registered" in imported["lines"][1][-2]


def test_packaging_finds_it_and_it_answers_the_same(imported: dict[str, Any]) -> None:
    assert np.allclose(imported["answers"], imported["wanted"], atol=1e-5)


def test_nothing_is_said_of_data_it_was_trained_on(imported: dict[str, Any]) -> None:
    assert imported["training"].dataset.name == "unknown (imported)"


def test_files_of_the_user_stay_as_they_were(imported: dict[str, Any], checkout: Path) -> None:
    assert [path.name for path in (checkout / "build").iterdir()] == ["decision.json"]
    assert (checkout / "build/decision.json").read_text() == "the user's"
    assert not (checkout / "reports").exists()
