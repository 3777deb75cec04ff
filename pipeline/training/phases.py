"""The phases of a training, and how the network learns in each: optimizer, losses, learning rate."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from pipeline.training import architectures, losses
from pipeline.training.architectures import LOCATION, PROBABILITY
from pipeline.training.params import TrainParams


@dataclass(frozen=True)
class Phase:
    """Epochs [start, stop) with one set of trainable layers and one optimizer, on patches of a size or whole images."""

    start: int
    stop: int
    learning_rate: float
    frozen: bool
    patch: int = 0


def phases(options: TrainParams) -> list[Phase]:
    """Frozen, then patches, then whole images: those of them that take any epochs."""
    pretrained = options.weights != "none"
    rate = options.fine_tune_learning_rate if pretrained else options.learning_rate
    frozen = options.frozen_epochs if pretrained else 0
    patches = frozen + options.patch_epochs
    patch = options.patch_size if options.patch_epochs else 0
    plan = [
        Phase(0, frozen, options.learning_rate, frozen=True, patch=patch),
        Phase(frozen, patches, rate, frozen=False, patch=patch),
        Phase(patches, options.epochs, rate, frozen=False),
    ]
    return [phase for phase in plan if phase.stop > phase.start]


def compile_for(model: keras.Model, phase: Phase, options: TrainParams, classes: int) -> None:
    """Give `model` the optimizer, loss and metrics of a phase; the optimizer's variables exist afterwards."""
    if architectures.BACKBONE in {layer.name for layer in model.layers}:
        keep = options.weights != "none" and options.batch_statistics == "frozen"
        architectures.set_trainable(model, not phase.frozen, keep_statistics=keep, first=options.trainable_from)
        if keep and architectures.begins_with_head(options.weights):
            architectures.keep_head_statistics(model)
    binary = classes == 2
    loss: Any = "binary_crossentropy" if binary else "sparse_categorical_crossentropy"
    measured: Any = ["accuracy", keras.metrics.AUC(name="auroc")] if binary else ["accuracy"]
    weights = None
    if isinstance(model.output, dict):
        places: Any = losses.cells_focal if options.location_targets == "gaussian" else "binary_crossentropy"
        if options.distil:
            loss = losses.mixed(keras.losses.get(loss), options.distil_weight)
            places = losses.mixed(keras.losses.get(places), options.distil_weight)
            measured = [losses.LabelAccuracy(name="accuracy"), losses.LabelAUC(name="auroc")]
        loss, measured = {PROBABILITY: loss, LOCATION: places}, {PROBABILITY: measured}
        weights = {PROBABILITY: 1.0, LOCATION: options.location_weight}
    model.compile(
        optimizer=_optimizer(options, phase.learning_rate),
        loss=loss,
        loss_weights=weights,
        weighted_metrics=measured,
        jit_compile=False,  # compiling for the CPU takes minutes and ends up slower
    )
    model.optimizer.build(model.trainable_variables)


def _optimizer(options: TrainParams, rate: float) -> keras.optimizers.Optimizer:
    arguments: dict[str, Any] = {}
    if options.gradient_norm:
        arguments["global_clipnorm"] = options.gradient_norm
    if options.weight_average:
        arguments |= {"use_ema": True, "ema_momentum": options.weight_average}
    if options.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=options.weight_decay, **arguments)
    return (keras.optimizers.Adam if options.optimizer == "adam" else keras.optimizers.SGD)(rate, **arguments)


def schedule(options: TrainParams, phase: Phase) -> list[keras.callbacks.Callback]:
    """The callbacks that change the learning rate, if any."""
    changing: list[keras.callbacks.Callback] = []
    if options.learning_rate_schedule == "plateau":
        changing.append(keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.3, patience=2, min_lr=1e-7))
    elif options.learning_rate_schedule == "cosine":

        def cosine(epoch: int, _rate: float) -> float:
            done = (epoch - phase.start) / max(phase.stop - phase.start, 1)
            return float(phase.learning_rate * 0.5 * (1 + np.cos(np.pi * done)))

        changing.append(keras.callbacks.LearningRateScheduler(cosine))
    return [*changing, WarmUp(options.warmup_steps)] if options.warmup_steps else changing


class WarmUp(keras.callbacks.Callback):
    """Raises the learning rate to its value over the first steps of a phase; put it behind what sets that value."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps, self._rate = steps, 0.0

    def on_epoch_begin(self, _epoch: int, _logs: Any = None) -> None:
        self._rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_begin(self, _batch: int, **_logs: Any) -> None:
        # The optimizer's own count, because it is kept in checkpoints.
        done = int(self.model.optimizer.iterations) + 1
        self.model.optimizer.learning_rate.assign(self._rate * min(1.0, done / self._steps))

    def on_epoch_end(self, _epoch: int, _logs: Any = None) -> None:
        self.model.optimizer.learning_rate.assign(self._rate)
