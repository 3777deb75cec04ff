"""Training: what is learned, and that a training which was stopped ends like one that was not."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from pipeline import train
from pipeline.data.image_shards import ImageShards, ShardIndex, shard_name
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.training import architectures, augmentation, checkpoints
from pipeline.training.checkpoints import CheckpointStore, TrainingState
from pipeline.training.params import Augmentation, TrainParams
from pipeline.training.soft_targets import SoftTargets
from serving.imaging.canvas import Preprocessing

Squares = Callable[..., Prepared]

OPTIONS = TrainParams(
    epochs=4,
    batch_size=16,
    learning_rate=0.001,
    dropout=0.3,
    early_stopping_patience=0,
    augmentation=Augmentation(rotation=5, shift=0.05, zoom=0.05, contrast=0.1, noise=2),
)


class Silent:
    """Stands where the MLflow mirror is, and stops the training after a given epoch like a kill would."""

    def __init__(self, stop_after: int = 0) -> None:
        self.run_id = "run"
        self._stop_after = stop_after

    def log_metrics(self, values: Any, step: int) -> None:
        if step == self._stop_after + 1:
            raise KeyboardInterrupt  # before this epoch's checkpoint is written

    def log_params(self, values: Any) -> None: ...


def _fit(
    data: Prepared, folder: Path, options: TrainParams = OPTIONS, stop_after: int = -5
) -> tuple[Any, TrainingState]:
    return train.fit(data, options, CheckpointStore(folder), lambda run_id: Silent(stop_after))


def _same_history(one: TrainingState, other: TrainingState) -> bool:
    rows = [[tuple(sorted(row.items())) for row in state.history] for state in (one, other)]
    return rows[0] == rows[1]


def _weights(model: Any) -> list[np.ndarray]:
    return [np.asarray(array) for array in model.get_weights()]


def test_the_classic_network_learns_bright_squares(squares: Squares, tmp_path: Path) -> None:
    _, state = _fit(squares(180), tmp_path / "k", OPTIONS.model_copy(update={"epochs": 8}))
    assert max(row["val_auroc"] for row in state.history) > 0.9


@pytest.mark.parametrize("schedule", ["cosine", pytest.param("plateau", marks=pytest.mark.slow)])
def test_a_stopped_training_ends_like_an_unbroken_one(squares: Squares, tmp_path: Path, schedule: str) -> None:
    options = OPTIONS.model_copy(update={"learning_rate_schedule": schedule, "early_stopping_patience": 3})
    model, unbroken = _fit(squares(), tmp_path / "a", options)
    with pytest.raises(KeyboardInterrupt):
        _fit(squares(), tmp_path / "b", options, stop_after=2)
    resumed_model, resumed = _fit(squares(), tmp_path / "b", options)
    assert resumed.epoch == unbroken.epoch == 4
    assert _same_history(unbroken, resumed)
    assert all(np.array_equal(x, y) for x, y in zip(_weights(model), _weights(resumed_model), strict=True))


def test_early_stopping_counts_on_after_a_stop(squares: Squares, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"early_stopping_patience": 2, "epochs": 12, "learning_rate": 0.03})
    _, unbroken = _fit(squares(), tmp_path / "a", options)
    stop = max(1, unbroken.epoch - 1)
    with pytest.raises(KeyboardInterrupt):
        _fit(squares(), tmp_path / "b", options, stop_after=stop)
    _, resumed = _fit(squares(), tmp_path / "b", options)
    assert unbroken.epoch < 12
    assert _same_history(unbroken, resumed)


def test_a_finished_training_is_not_trained_again(squares: Squares, tmp_path: Path) -> None:
    _, first = _fit(squares(), tmp_path / "a")
    _, again = _fit(squares(), tmp_path / "a")
    assert _same_history(first, again)


@dataclass(frozen=True)
class Stopped:
    """A training that nothing stopped, and checkpoints of the same one, stopped after three epochs; to be copied."""

    unbroken: TrainingState
    checkpoints: Path


@pytest.fixture(scope="module")
def stopped(squares: Squares, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("trainings")
    _, unbroken = _fit(squares(), folder / "a")
    with pytest.raises(KeyboardInterrupt):
        _fit(squares(), folder / "b", stop_after=3)
    return Stopped(unbroken, folder / "b")


@pytest.mark.parametrize("damage", ["flip", "cut", "state", "no best"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    squares: Squares, stopped: Stopped, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(stopped.checkpoints, tmp_path / "b")
    newest = tmp_path / "b" / "epoch-0003"
    content = (newest / "arrays.npz").read_bytes()
    if damage == "flip":
        (newest / "arrays.npz").write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    elif damage == "cut":
        (newest / "arrays.npz").write_bytes(content[: len(content) // 2])
    elif damage == "state":
        (newest / "state.json").write_text("{")
    else:
        state = json.loads((newest / "state.json").read_text())
        (newest / "state.json").write_text(json.dumps({**state, "best_epoch": 77}))
    _, resumed = _fit(squares(), tmp_path / "b")
    assert _same_history(stopped.unbroken, resumed)
    assert "epoch-0003 is damaged" in capsys.readouterr().out


def test_only_the_last_two_checkpoints_are_kept(squares: Squares, tmp_path: Path) -> None:
    _fit(squares(), tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").glob("epoch-*")) == ["epoch-0003", "epoch-0004"]


@pytest.mark.parametrize("links", [True, False])
def test_the_weights_of_the_best_epoch_are_written_once_where_files_may_have_two_names(
    squares: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", Mock(side_effect=OSError(errno.EPERM, "not permitted")))
    _, state = _fit(squares(), tmp_path)
    best, arrays = (tmp_path / name for name in (f"best-{state.best_epoch:04d}.npz", "epoch-0004/arrays.npz"))
    assert state.best_epoch == 4
    assert best.samefile(arrays) == links
    assert best.read_bytes() == arrays.read_bytes()


def test_a_second_trainer_of_the_same_is_refused(tmp_path: Path) -> None:
    # A second file description, as another process would have.
    refused = pytest.raises(InputError, match="another process is training")
    with CheckpointStore(tmp_path / "k").locked(), refused, CheckpointStore(tmp_path / "k").locked():
        pass


def test_finishing_removes_the_checkpoints_of_this_training_and_old_ones(squares: Squares, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"old{number}").mkdir()
        os.utime(tmp_path / f"old{number}", (number, number))
    _fit(squares(), tmp_path / "new")
    CheckpointStore(tmp_path / "new").finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old2", "old3", "old4"]


def test_a_diverging_training_says_so(tmp_path: Path) -> None:
    keep = checkpoints.KeepCheckpoints(CheckpointStore(tmp_path / "a"), TrainingState(), [])
    with pytest.raises(InputError, match=r"epoch 3 is not a number; lower train\.learning_rate"):
        keep.on_epoch_end(2, {"loss": float("nan"), "val_loss": 1.0})


@pytest.fixture(scope="module")
def backbone_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random weights of a small MobileNet in a file, in the layout of the pretrained ones."""
    import keras

    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    keras.utils.set_random_seed(1)
    backbone = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(32, 32, 3))
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # As after training: with a variance of 1 random layers let signal and gradient die out.
            layer.moving_variance.assign(np.full(layer.moving_variance.shape, 0.1, np.float32))
    backbone.save_weights(path)
    return str(path)


def _backbone(weights: str) -> TrainParams:
    return OPTIONS.model_copy(
        update={
            "architecture": "MobileNet",
            "architecture_options": {"alpha": 0.25},
            "weights": weights,
            "frozen_epochs": 2,
        }
    )


@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("statistics", ["frozen", "adapted"])
def test_only_fine_tuning_moves_the_backbone_and_its_batch_statistics_only_if_asked(
    squares: Squares, backbone_weights: str, phase: int, statistics: str
) -> None:
    options = _backbone(backbone_weights).model_copy(update={"batch_statistics": statistics})
    model = architectures.build(options, 32, 2)
    train.compile_for(model, train.phases(options)[phase], options, 2)
    backbone = model.get_layer(architectures.BACKBONE)
    before = {v.path: v.numpy().copy() for v in backbone.variables}  # a view would move along
    model.train_on_batch(*train.batches_of(squares(), "train", options)[0])
    moved = {v.path for v in backbone.variables if not np.array_equal(before[v.path], v.numpy())}
    assert any("kernel" in path for path in moved) == (phase == 1)
    assert any("moving" in path for path in moved) == (phase == 1 and statistics == "adapted")


def test_the_first_layers_of_a_backbone_can_stay_frozen(squares: Squares, backbone_weights: str) -> None:
    options = _backbone(backbone_weights).model_copy(update={"trainable_from": "conv_pw_6"})
    model = architectures.build(options, 32, 2)
    train.compile_for(model, train.phases(options)[1], options, 2)
    layers = [layer for layer in model.get_layer(architectures.BACKBONE).layers if layer.name.startswith("conv_pw_")]
    moving = {layer.name for layer in layers if layer.trainable_variables}
    assert {"conv_pw_6", "conv_pw_13"} <= moving
    assert not moving & {f"conv_pw_{number}" for number in range(1, 6)}
    with pytest.raises(InputError, match=r"train\.trainable_from: the backbone has no layer 'conv_99'") as error:
        architectures.set_trainable(model, True, keep_statistics=True, first="conv_99")
    shown = str(error.value).partition("some are ")[2].split(", ")
    assert len(shown) == 12
    assert (shown[0], shown[-1]) == ("conv1", "conv_pw_13")
    assert all(re.fullmatch(r"conv1|conv_(dw|pw)_\d+", name) for name in shown)
    assert set(shown) <= {layer.name for layer in model.get_layer(architectures.BACKBONE).layers}


def _with_location(weights: str) -> TrainParams:
    return _backbone(weights).model_copy(
        update={"head": "location", "augmentation": Augmentation(crop=0.5, rotation=5, noise=2)}
    )


def _as_released(weights: str) -> TrainParams:
    """Every key of the recipe of the second release but the teachers."""
    change = {
        "location_targets": "gaussian",
        "image_gradient": 0.1,
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "gradient_norm": 5.0,
        "warmup_steps": 5,
        "weight_average": 0.9,
        "frozen_epochs": 1,
        "augmentation": Augmentation(quarter_turns=0.6, gamma=2, grain=20, frames=0.5, respread=0.5),
    }
    return _with_location(weights).model_copy(update=change)


def _teachers(data: Prepared) -> SoftTargets:
    rng = np.random.default_rng(3)
    count, cells = len(data.rows("train")), data.preprocessing.image_size // architectures.LOCATION_STRIDE
    return SoftTargets(
        rng.random(count, np.float32),
        rng.standard_normal((count, cells, cells)).astype(np.float16),
        architectures.LOCATION_STRIDE,
    )


@dataclass(frozen=True)
class Trained:
    """A network, how its training went, and the names of the networks of which a step was traced."""

    model: Any
    state: TrainingState
    traced: list[str]


@pytest.fixture(scope="module")
def as_released(squares: Squares, tmp_path_factory: pytest.TempPathFactory, backbone_weights: str) -> Trained:
    """Train by the recipe of the second release, both phases."""
    import keras

    step, traced = keras.Model.train_step, []

    def counted(model: keras.Model, data: Any) -> Any:
        traced.append(model.name)
        return step(model, data)

    options = _as_released(backbone_weights).model_copy(update={"epochs": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "train_step", counted)
        model, state = _fit(squares(), tmp_path_factory.mktemp("released"), options)
    return Trained(model, state, traced)


def test_the_trained_network_holds_nothing_that_only_training_needs(as_released: Trained) -> None:
    assert not any(isinstance(layer, architectures.GradientScale) for layer in as_released.model.layers)
    assert as_released.model.output_shape == (None, 1)


def test_each_phase_is_traced_once(as_released: Trained) -> None:
    assert len(as_released.traced) == 2


def test_a_localisation_head_learns_from_boxes(as_released: Trained) -> None:
    assert {"location_loss", "val_location_loss", "probability_auroc"} <= set(as_released.state.history[-1])


def test_the_result_is_the_moving_average_that_was_validated(as_released: Trained, squares: Squares) -> None:
    data, state = squares(), as_released.state
    rows = data.rows("validation")
    p = np.clip(as_released.model.predict(data.images[rows][..., np.newaxis], verbose=0)[:, 0], 1e-7, 1 - 1e-7)
    y = data.labels(rows)
    entropy = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert state.history[state.best_epoch - 1]["val_probability_loss"] == pytest.approx(entropy, abs=1e-4)


def test_training_goes_on_from_a_whole_network(squares: Squares, tmp_path: Path, backbone_weights: str) -> None:
    options = _with_location(backbone_weights)
    begun = architectures.build(options.model_copy(update={"seed": 5}), 32, 2)
    begun.save(tmp_path / "model.keras")
    pixels = squares().images[:4, ..., np.newaxis]
    model = architectures.build(options.model_copy(update={"weights": str(tmp_path / "model.keras")}), 32, 2)
    assert np.array_equal(model.predict(pixels, verbose=0), begun.predict(pixels, verbose=0))


def test_a_whole_network_of_another_head_is_refused(tmp_path: Path, backbone_weights: str) -> None:
    architectures.build(_backbone(backbone_weights), 32, 2).save(tmp_path / "model.keras")
    options = _with_location(str(tmp_path / "model.keras"))
    with pytest.raises(InputError, match=r"model\.keras: .*has no such array"):
        architectures.build(options, 32, 2)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_share_of_the_image_loss_reaches_the_maps(backbone_weights: str, share: float) -> None:
    import tensorflow as tf

    def gradient(passed: float) -> np.ndarray:
        model = architectures.build(
            _with_location(backbone_weights).model_copy(update={"image_gradient": passed}), 32, 2
        )
        kernel = model.get_layer("neck_8").kernel.value
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(np.full((1, 32, 32, 1), 90, np.uint8)))
        found = tape.gradient(loss, kernel)
        return np.zeros(kernel.shape) if found is None else np.asarray(found)

    assert gradient(share) == pytest.approx(share * gradient(1.0), abs=1e-7)


def _large(data: Prepared) -> Prepared:
    """The same at 64 px."""
    images = data.images[:].repeat(2, axis=1).repeat(2, axis=2)
    return replace(data, images=images, preprocessing=Preprocessing(64))


@pytest.mark.slow
def test_stops_within_and_between_the_phases_change_nothing_of_the_released_recipe_with_teachers_and_patches(
    squares: Squares, tmp_path: Path, backbone_weights: str
) -> None:
    change = {"distil": "teachers", "frozen_epochs": 2, "patch_epochs": 1, "patch_size": 32, "epochs": 4}
    options = _as_released(backbone_weights).model_copy(update=change)
    data = _large(squares())
    soft = _teachers(data)

    def fit(folder: Path, stop: int = -5) -> tuple[Any, TrainingState]:
        return train.fit(data, options, CheckpointStore(folder), lambda _: Silent(stop), soft)

    model, unbroken = fit(tmp_path / "a")
    for stop_after in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "b", stop_after)
    resumed_model, resumed = fit(tmp_path / "b")
    assert _same_history(unbroken, resumed)
    assert all(np.array_equal(x, y) for x, y in zip(_weights(model), _weights(resumed_model), strict=True))
    assert model.input_shape == (None, 64, 64, 1)
    assert unbroken.best_epoch == 4, "patches are no whole images: their networks are not compared"


def test_phases_follow_the_epochs() -> None:
    options = OPTIONS.model_copy(update={"weights": "w", "frozen_epochs": 2, "patch_epochs": 3, "epochs": 9})
    plan = [(phase.start, phase.stop, phase.frozen, phase.patch) for phase in train.phases(options)]
    assert plan == [(0, 2, True, 192), (2, 5, False, 192), (5, 9, False, 0)]
    assert [(phase.start, phase.stop) for phase in train.phases(OPTIONS)] == [(0, 4)]


def test_half_of_the_patches_hold_a_fracture(squares: Squares, backbone_weights: str) -> None:
    data = _large(squares())
    batches = train.batches_of(data, "train", _with_location(backbone_weights), patch=32)
    pixels, labels, _ = batches[0]
    assert pixels.shape[1:] == (32, 32, 1)
    seen = np.concatenate([batches[i][1][architectures.PROBABILITY] for i in range(len(batches))])
    assert seen.mean() == pytest.approx(0.5, abs=0.05)
    assert (labels[architectures.LOCATION].max(axis=(1, 2, 3)) > 0).tolist() == (
        labels[architectures.PROBABILITY] == 1
    ).tolist()


def test_patches_need_boxes(squares: Squares, backbone_weights: str) -> None:
    data = _large(squares())
    with pytest.raises(InputError, match=r"boxes\.csv: no training image has a box"):
        train.batches_of(replace(data, boxes=data.boxes.iloc[:0]), "train", _with_location(backbone_weights), patch=32)


def test_a_localisation_head_needs_whole_cells(backbone_weights: str) -> None:
    with pytest.raises(InputError, match="40 is no multiple of 32"):
        architectures.build(_with_location(backbone_weights), 40, 2)


def test_the_last_epochs_are_averaged(squares: Squares, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"average_epochs": 3})
    after = []
    for epochs in (2, 3, 4):
        folder = tmp_path / str(epochs)
        train.fit(
            squares(),
            options.model_copy(update={"epochs": epochs}),
            CheckpointStore(folder, kept=3),
            lambda _: Silent(-5),
        )
        with np.load(folder / f"epoch-{epochs:04d}/arrays.npz") as arrays:
            after.append([arrays[name] for name in sorted(arrays.files)])
    model, state = train.fit(squares(), options, CheckpointStore(tmp_path / "all", kept=3), lambda _: Silent(-5))
    expected = [np.mean(arrays, axis=0) for arrays in zip(*after, strict=True)]
    found = [np.asarray(variable) for variable in model.trainable_variables]
    for array in found:
        assert any(array.shape == mean.shape and np.allclose(array, mean, atol=1e-6) for mean in expected)
    assert state.best_epoch == 4


def test_several_classes_give_a_softmax(squares: Squares, tmp_path: Path) -> None:
    data = squares(90, classes=("normal", "transverse", "spiral"))
    model, _ = _fit(data, tmp_path / "a")
    answer = model.predict_on_batch(data.images[:5][..., np.newaxis])
    assert answer.shape == (5, 3)
    assert np.allclose(answer.sum(axis=1), 1, atol=1e-5)


def test_every_architecture_of_keras_applications_is_offered() -> None:
    assert {"cnn", "MobileNet", "DenseNet121", "EfficientNetV2B0", "ConvNeXtTiny"} <= set(architectures.architectures())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"architecture": "MobileNett"}, "train.architecture"),
        ({"architecture": "MobileNet", "architecture_options": {"alfa": 1}}, "train.architecture_options"),
        ({"architecture": "MobileNet", "weights": "nowhere.weights.h5"}, "nowhere.weights.h5: no such file"),
        ({"architecture": "MobileNet", "weights": "/"}, "train.weights: /: is a folder; name the .weights.h5 file"),
        ({"weights": "imagenet"}, "the architecture cnn starts from none"),
        ({"architecture_options": {"alpha": 1}}, "train.architecture_options"),
    ],
)
def test_a_wrong_architecture_is_refused_with_its_key(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=r"params\.yaml: train") as caught:
        architectures.build(OPTIONS.model_copy(update=change), 32, 2)
    assert named in str(caught.value)


def test_weights_of_another_width_are_refused(backbone_weights: str) -> None:
    wider = _backbone(backbone_weights).model_copy(update={"architecture_options": {"alpha": 0.5}})
    with pytest.raises(InputError, match=r"cannot be loaded into MobileNet"):
        architectures.build(wider, 32, 2)


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        ("MobileNet", [-1, -1, -1], [1, 1, 1]),
        ("EfficientNetB0", [0, 0, 0], [255, 255, 255]),
        ("ResNet50", [-103.939, -116.779, -123.68], [151.061, 138.221, 131.32]),
        ("DenseNet121", [-2.1179, -2.0357, -1.8044], [2.2489, 2.4286, 2.64]),
    ],
)
def test_grey_levels_are_scaled_as_the_backbone_expects(name: str, black: list[float], white: list[float]) -> None:
    layer = architectures.scaling(name)
    for level, expected in ((0, black), (255, white)):
        pixel = np.full((1, 1, 1, 3), level, np.uint8)
        assert np.allclose(np.asarray(layer(pixel))[0, 0, 0], expected, atol=1e-3)


def test_batches_depend_on_seed_epoch_and_number_alone(squares: Squares) -> None:
    data = squares()
    one, other = (train.batches_of(data, "train", OPTIONS) for _ in range(2))
    other[1]
    assert np.array_equal(one[0][0], other[0][0])
    other.epoch = 1
    assert not np.array_equal(one[0][0], other[0][0])


def test_batches_of_shards_are_those_of_one_array(squares: Squares, tmp_path: Path) -> None:
    data = squares()
    index = ShardIndex(len(data.images), 32, 7)
    for shard in range(index.shards):
        np.save(tmp_path / shard_name(shard), data.images[slice(*index.bounds(shard))])
    index.write(tmp_path)
    sharded = replace(data, images=ImageShards.open(tmp_path))
    for one, other in zip(*(train.batches_of(each, "train", OPTIONS) for each in (data, sharded)), strict=True):
        for part, twin in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, twin)


def test_how_an_image_is_changed_does_not_depend_on_its_batch(squares: Squares) -> None:
    data = squares()

    def changed(size: int) -> list[bytes]:
        batches = train.batches_of(data, "train", OPTIONS.model_copy(update={"batch_size": size}))
        return sorted(image.tobytes() for i in range(len(batches)) for image in batches[i][0])

    assert changed(3) == changed(16)


def test_an_epoch_holds_every_training_image_once(squares: Squares) -> None:
    data = squares()
    options = OPTIONS.model_copy(update={"augmentation": Augmentation(flip=False)})
    batches = train.batches_of(data, "train", options)
    seen = np.concatenate([batches[i][0][..., 0] for i in range(len(batches))])
    expected = data.images[data.rows("train")]
    assert sorted(image.tobytes() for image in seen) == sorted(image.tobytes() for image in expected)


def test_augmentation_switched_off_changes_no_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    found, moved = augmentation.augment(pixels, Augmentation(flip=False), np.random.default_rng(1))
    assert np.array_equal(found, pixels)
    assert np.array_equal(moved, np.eye(3))


def test_a_flip_mirrors_the_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    flipped = [
        augmentation.augment(pixels, Augmentation(flip=True), np.random.default_rng(seed))[0] for seed in range(8)
    ]
    assert any(np.array_equal(image, pixels[:, ::-1]) for image in flipped)


def test_augmented_noise_keeps_black_padding_black() -> None:
    pixels = np.zeros((32, 32), np.uint8)
    pixels[:, 10:20] = 100
    changed, _ = augmentation.augment(
        pixels, Augmentation(flip=False, contrast=0.3, noise=20), np.random.default_rng(1)
    )
    assert (changed[:, :10] == 0).all()
    assert len(np.unique(changed[:, 10:20])) > 10


def test_balanced_weights_give_every_class_the_same_share() -> None:
    labels = np.array([0, 0, 0, 1])
    weights = train.class_weights(labels, "balanced", 2)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert weights.mean() == pytest.approx(1)


_TWO_DEVICES = """
import json, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pipeline import train
from pipeline.training.checkpoints import CheckpointStore
from pathlib import Path
import pickle
folder = Path(sys.argv[1])
data, options = pickle.loads((folder / "case.pickle").read_bytes())
class Silent:
    run_id = ""
    def log_metrics(self, *_): ...
mirrored = tf.distribute.MirroredStrategy(
    ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.HierarchicalCopyAllReduce())
for strategy in (tf.distribute.get_strategy(), mirrored):
    train.strategy = lambda: strategy
    store = CheckpointStore(folder / str(strategy.num_replicas_in_sync))
    _, state = train.fit(data, options, store, lambda run_id: Silent())
    print("history", json.dumps([strategy.num_replicas_in_sync, state.history]))
"""


@pytest.mark.slow
def test_two_mirrored_devices_learn_what_one_learns(squares: Squares, tmp_path: Path) -> None:
    import pickle

    options = OPTIONS.model_copy(update={"dropout": 0.0, "epochs": 3})
    (tmp_path / "case.pickle").write_bytes(pickle.dumps((squares(), options)))
    command = [sys.executable, "-c", _TWO_DEVICES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    said = [line.removeprefix("history ") for line in done.stdout.splitlines() if line.startswith("history ")]
    histories = dict(map(json.loads, said))
    assert list(histories) == [1, 2]
    for one, two in zip(*histories.values(), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
        assert one["val_loss"] == pytest.approx(two["val_loss"], rel=1e-3)


def test_a_model_file_that_training_did_not_write_is_refused(squares: Squares, tmp_path: Path) -> None:
    data = squares()
    model = architectures.build(OPTIONS, 32, 2)
    train.write_model(model, TrainingState(epoch=1, best_epoch=1), data, OPTIONS, tmp_path)
    loaded, _ = architectures.load_trained(tmp_path)
    assert loaded.count_params() == model.count_params()
    content = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "model.keras").write_bytes(content[:900] + b"x" + content[901:])
    with pytest.raises(InputError, match="not the file that training wrote"):
        architectures.load_trained(tmp_path)


def test_a_contradicted_label_weighs_less_in_every_phase(squares: Squares, tmp_path: Path) -> None:
    data, path = squares(), tmp_path / "out_of_fold.csv"
    table = data.table[data.table["part"] == "train"].assign(fold="0")
    logits = np.random.default_rng(0).normal(np.where(table["class"] > 0, 2, -2), 1)
    wrong = int(np.flatnonzero(table["class"] > 0)[0])
    logits[wrong] = -4
    table.assign(logit=logits)[["image_id", "label", "group", "fold", "logit"]].to_csv(path, index=False)
    scores = {"contradicted_weight": 0.5, "contradicted_below": 0.2, "out_of_fold": str(path), "class_weights": "none"}
    options = OPTIONS.model_copy(update={"head": "location", "architecture": "MobileNet", **scores})
    for patch in (0, 32):
        weights = [
            weight
            for _, _, given in (batch for batch in train.batches_of(data, "train", options, patch))
            for weight in given["probability"]
        ]
        assert {0.5, 1.0} == set(np.round(weights, 3).tolist())
    assert set(train.batches_of(data, "validation", options)[0][2]["probability"].tolist()) == {1.0}
