"""Write a registered model to a file for other systems, compared with what was registered."""

import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.data.prepared import Prepared
from pipeline.errors import InputError, os_errors_name
from pipeline.files import atomic_file
from pipeline.late import late
from pipeline.packaging.bundle import Registered, require_same_preprocessing
from pipeline.packaging.conversion import FORMATS, Measured, choose_format, compare, validation_images
from pipeline.progress import progress_bar
from pipeline.quiet import quiet_import
from serving.decision import Decision, LogisticCalibration

keras = late("keras")

Format = Literal["keras", "h5", "litert"]
SUFFIXES: dict[Format, str] = {"keras": ".keras", "h5": ".h5", "litert": ".tflite"}
_BATCH = 32


@dataclass(frozen=True)
class Exported:
    """What was written: the number format of its weights, and how far it is from the registered model."""

    number_format: str
    images: int
    max_difference: float
    auroc_difference: float


def export(found: Registered, data: Prepared, kind: Format, target: Path, formats: Sequence[str] = FORMATS) -> Exported:
    """Write a registered model to `target`, whole or not at all, once it answers as the registered one does.

    `formats` are the number formats of LiteRT to choose from. A Keras file maps uint8 pixels (n, size, size, 1) to
    raw scores; a LiteRT file is the network of a bundle: scores, features and map of one image. Raises InputError for
    a file that answers differently and for another prepared/ than that of the training.
    """
    require_same_preprocessing(found, data)
    with tempfile.TemporaryDirectory(prefix="fracture-export-") as name, os_errors_name(name):
        if kind == "litert":
            chosen, path, measured = choose_format(found.model, data, found.decision, Path(name), formats)
            facts = measured[chosen]
            difference, auroc = facts["max_difference"], facts["auroc_difference"]
        else:
            chosen, path = "float32", Path(name) / f"model{SUFFIXES[kind]}"
            difference, auroc = _save_keras(found, data, path)
        with atomic_file(target) as partial:
            shutil.copyfile(path, partial)
    return Exported(chosen, len(validation_images(data)[0]), difference, auroc)


def _save_keras(found: Registered, data: Prepared, path: Path) -> tuple[float, float]:
    """Save, load again in safe mode and compare; the differences of probabilities and of AUROC."""
    with quiet_import(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # .h5 is called a legacy format, which is why it is asked for
        found.model.save(path)
        loaded = keras.models.load_model(path, safe_mode=True, compile=False)
    images, classes = validation_images(data)
    ours, theirs = [], []
    with progress_bar("export: comparing with the registered model", len(images)) as advance:
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH, ..., np.newaxis]
            ours.append(np.asarray(loaded.predict_on_batch(batch), np.float32))
            theirs.append(np.asarray(found.model.predict_on_batch(batch), np.float32))
            advance(len(batch))
    difference, auroc = compare(np.concatenate(ours), np.concatenate(theirs), classes, found.decision)
    faults = Measured(difference, auroc, 0.0, path.stat().st_size).faults
    if faults:
        raise InputError(f"the exported model does not agree with the registered one: {'; '.join(faults)}")
    return difference, auroc


def how_to_calibrate(decision: Decision) -> str:
    """What turns the file's scores into the probabilities of the service, as a line for a person."""
    calibration = decision.calibration
    if isinstance(calibration, LogisticCalibration):
        bias = f"{'-' if calibration.bias < 0 else '+'} {abs(calibration.bias):.6g}"
        rule = f"probability of a fracture = sigmoid({calibration.slope:.6g} * logit(score) {bias})"
    else:
        rule = f"probabilities = softmax(log(scores) / {calibration.temperature:.6g})"
    return f"its scores are not calibrated: {rule}; fractured from {decision.threshold:g} on"
