"""Losses and metrics whose truth may have two columns: what people say, and what the teachers say."""

from collections.abc import Callable
from typing import Any

import keras

from pipeline.training.gaussian_targets import focal_loss

Loss = Callable[[Any, Any], Any]


def mixed(loss: Loss, teachers: float) -> Loss:
    """A loss that is taken to a share of `teachers` against the last column of the truth, else against the first.

    A truth with one column, as in validation, is that of people alone.
    """

    def both(truth: Any, answer: Any) -> Any:
        return (1 - teachers) * loss(truth[..., :1], answer) + teachers * loss(truth[..., -1:], answer)

    return both


def cells_focal(truth: Any, logits: Any) -> Any:
    """`focal_loss` of maps (b, g, g, 1), a number for each cell."""
    return focal_loss(truth, logits)[..., 0]


class LabelAccuracy(keras.metrics.BinaryAccuracy):
    """Accuracy by people's labels."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return super().update_state(_of_people(y_true), y_pred, sample_weight)


class LabelAUC(keras.metrics.AUC):
    """AUROC by people's labels."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return super().update_state(_of_people(y_true), y_pred, sample_weight)


def _of_people(truth: Any) -> Any:
    return truth[..., :1] if len(truth.shape) == 2 else truth
