"""Convert a Keras model to LiteRT: the fastest number format whose answers agree with Keras."""

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.evaluation import metrics
from pipeline.late import late
from pipeline.progress import progress_bar
from pipeline.quiet import quiet_import
from serving.decision import Decision
from serving.errors import one_line
from serving.network import FEATURES, MAP, SCORES, Network

if TYPE_CHECKING:
    from pipeline.evaluation import saliency
else:
    saliency = late("pipeline.evaluation.saliency")
tf = late("tensorflow")
convert_phase = late("tensorflow.lite.python.convert_phase")

FORMATS = ("int8", "float16", "float32")
"""Number formats of the network's weights, the safest last."""
MAX_DIFFERENCE = 0.02
MAX_AUROC_DIFFERENCE = 0.002
"""Of few images one pair that changes places moves the AUROC further than this; that much is always allowed."""
AS_FAST = 1.15
"""A safer format is preferred to the fastest if it takes at most this many times as long."""
_MOST_IMAGES = 600
_TIMED = 50


@dataclass(frozen=True)
class Measured:
    """What one number format is worth, against Keras on the same images."""

    max_difference: float
    auroc_difference: float
    milliseconds: float
    bytes: int
    pair: float = 0.0
    """How far one pair of images that changes places moves the AUROC."""

    @property
    def faults(self) -> list[str]:
        """Why it is refused; empty when it is not."""
        found = []
        if not self.max_difference <= MAX_DIFFERENCE:
            found.append(f"a probability differs by {self.max_difference:.4f} (at most {MAX_DIFFERENCE})")
        limit = max(MAX_AUROC_DIFFERENCE, self.pair)
        if not self.auroc_difference <= limit * (1 + 1e-6):  # a difference of two sums is not exact
            found.append(f"AUROC differs by {self.auroc_difference:.4f} (at most {limit:.4g})")
        return found

    def to_dict(self) -> dict[str, Any]:
        """For model.json."""
        return {
            "max_difference": round(self.max_difference, 6),
            "auroc_difference": round(self.auroc_difference, 6),
            "milliseconds": round(self.milliseconds, 2),
            "bytes": self.bytes,
            "refused": "; ".join(self.faults),
        }


def convert(model: Any, number_format: str) -> bytes:
    """The LiteRT network of a Keras model from `saliency.explained`, with scores, features and map.

    int8 stores the weights of dense and convolution layers in eight bits and rounds activations on the fly. Raises
    InputError for a network with operations that LiteRT does not have.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if number_format != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if number_format == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        with _silence():
            return bytes(converter.convert())
    except convert_phase.ConverterError as error:
        lacking = sorted(set(re.findall(r"'(tf\.\w+)' op", str(error))))
        what = f"LiteRT lacks {', '.join(lacking)}" if lacking else one_line(error, 200)
        raise InputError(f"the network cannot be converted: {what}; take another train.architecture") from None


@contextmanager
def _silence() -> Iterator[None]:
    """Hide what the converter prints on stdout and stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    with Path(os.devnull).open("w", encoding="utf-8") as nothing, quiet_import():
        os.dup2(nothing.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)


def run_network(path: Path, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Outputs of a LiteRT network for images, uint8 (n, size, size), on all cores, with progress."""
    network = Network(path)
    found = []
    with (
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        progress_bar("package: comparing with Keras", len(images)) as advance,
    ):
        for outputs in pool.map(network, images):
            found.append(outputs)
            advance()
    return {name: np.concatenate([outputs[name] for outputs in found]) for name in (SCORES, FEATURES, MAP)}


def milliseconds(path: Path, images: npt.NDArray[np.uint8]) -> float:
    """Median time of one image on one thread."""
    network = Network(path)
    taken = []
    for image in images[:_TIMED]:
        began = time.perf_counter()
        network(image)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) * 1000


def compare(
    scores: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], decision: Decision
) -> tuple[float, float]:
    """Largest difference of any probability, raw or calibrated, and the difference of AUROC, of two networks."""
    ours, theirs = scores.astype(np.float64), wanted.astype(np.float64)
    raw = float(np.abs(ours - theirs).max())
    calibrated = float(np.abs(decision.calibration.apply(ours) - decision.calibration.apply(theirs)).max())
    y, ones = (classes > 0).astype(np.int64), np.ones(len(classes))
    if not 0 < y.sum() < len(y):
        return max(raw, calibrated), 0.0
    first, second = (float(metrics.auroc(y, decision.fracture_probability(found), ones)) for found in (ours, theirs))
    return max(raw, calibrated), abs(first - second)


def validation_images(data: Prepared) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images that networks are compared on, uint8 (n, size, size), and their class numbers (n,)."""
    rows = data.rows("validation")[:_MOST_IMAGES]
    return np.asarray(data.images[rows]), data.labels(rows)


def choose_format(
    model: Any, data: Prepared, decision: Decision, folder: Path, formats: Sequence[str] = FORMATS
) -> tuple[str, Path, dict[str, dict[str, Any]]]:
    """Convert to number formats, compare each with Keras on validation images, and take the fastest that agrees.

    Of formats that are about as fast the later one of `formats` is taken, by default the safer one. Returns its name,
    its file below `folder`, and what was measured of each. Raises InputError when none agrees.
    """
    reasons = saliency.explained(model)
    images, classes = validation_images(data)
    wanted = np.asarray(reasons.predict(images[..., np.newaxis], batch_size=32, verbose=0)[SCORES], np.float32)
    fractured = int((classes > 0).sum())
    pair = 1 / max(1, fractured * (len(classes) - fractured))
    measured: dict[str, Measured] = {}
    for name in formats:
        path = folder / f"{name}.tflite"
        path.write_bytes(convert(reasons, name))
        difference, auroc = compare(run_network(path, images)[SCORES], wanted, classes, decision)
        measured[name] = Measured(difference, auroc, milliseconds(path, images), path.stat().st_size, pair)
    facts = {name: found.to_dict() for name, found in measured.items()}
    agreeing = {name: found for name, found in measured.items() if not found.faults}
    if not agreeing:
        faults = "; ".join(measured[formats[-1]].faults)
        raise InputError(f"the network as {formats[-1]} does not agree with Keras: {faults}")
    fastest = min(found.milliseconds for found in agreeing.values())
    chosen = [name for name, found in agreeing.items() if found.milliseconds <= AS_FAST * fastest][-1]
    return chosen, folder / f"{chosen}.tflite", facts
