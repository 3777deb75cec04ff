"""The learning rate over the steps of a phase."""

import keras
import numpy as np
import pytest

from pipeline.training.params import TrainParams
from pipeline.training.phases import Phase, WarmUp, schedule


class Rates(keras.callbacks.Callback):
    """The learning rate of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.seen.append(float(self.model.optimizer.learning_rate))


def rates(options: TrainParams, epochs: int) -> list[float]:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    seen = Rates()
    callbacks = [*schedule(options, Phase(0, epochs, 0.1, frozen=False)), seen]
    model.fit(np.ones((4, 1)), np.ones(4), batch_size=1, epochs=epochs, verbose=0, callbacks=callbacks)
    return seen.seen


def test_the_rate_rises_to_its_value_and_stays() -> None:
    found = rates(TrainParams(warmup_steps=5), 2)
    assert found == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1, 0.1])


def test_warm_up_goes_with_the_cosine() -> None:
    found = rates(TrainParams(warmup_steps=2, learning_rate_schedule="cosine"), 2)
    assert found == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])


def test_without_warm_up_nothing_changes_the_rate() -> None:
    assert not any(isinstance(callback, WarmUp) for callback in schedule(TrainParams(), Phase(0, 1, 0.1, False)))
