"""Soft labels and maps from teachers: networks of the folds, each asked only about images that it never saw.

<train.distil>/fold-0.npz            weights of the network that left out fold 0 (weight_files.py), or
<train.distil>/fold-0/model.keras    the network itself, as stage train writes it
<train.distil>/out_of_fold.csv       if it is there: columns image_id and fold, which image which teacher left out
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.files import sha256_file
from pipeline.progress import progress_bar
from pipeline.training import architectures, out_of_fold
from pipeline.training.architectures import LOCATION_LOGITS, LOCATION_STRIDE, LOGITS
from pipeline.training.params import TrainParams
from pipeline.training.soft_targets import SoftTargets

_ASKED_AT_ONCE = 8
_KEY = "params.yaml: train.distil"


def teachers(folder: Path, folds: set[str]) -> dict[str, Path]:
    """The teacher's file of each fold; InputError for one that is missing."""
    found = {}
    for fold in sorted(folds):
        places = (folder / f"fold-{fold}/model.keras", folder / f"fold-{fold}.npz")
        file = next((path for path in places if path.is_file()), None)
        if file is None:
            raise InputError(f"{_KEY}: {folder} has no teacher of fold {fold}: neither {places[1].name} nor a folder")
        found[fold] = file
    return found


def folds_of(data: Prepared) -> pd.Series:
    """Fold of each image, text; InputError where preprocess dealt none."""
    if "fold" not in data.table.columns:
        raise InputError(f"{_KEY}: prepared/split.csv has no folds; set preprocess.folds to those of the teachers")
    return data.table["fold"]


def fingerprint(data: Prepared, options: TrainParams) -> str:
    """Hash of all teachers; empty without any."""
    if not options.distil:
        return ""
    files = teachers(Path(options.distil), set(folds_of(data).iloc[data.rows("train")]))
    return hashlib.sha256("".join(sha256_file(path) for path in files.values()).encode()).hexdigest()


def soft_targets(data: Prepared, options: TrainParams, home: Path) -> SoftTargets:
    """What the teachers say of the training images, each of the one that left its fold out.

    Their answers are kept in a folder of `home`, so that a stopped training does not ask again. Raises InputError for
    a missing teacher, and where a teacher, or the weights that training begins from, saw images that they must not.
    """
    if len(data.classes) != 2:
        raise InputError(f"{_KEY}: teachers are for two classes, these data have {len(data.classes)}")
    rows, folds = data.rows("train"), folds_of(data)
    files = teachers(Path(options.distil), set(folds.iloc[rows]))
    _check_folds(Path(options.distil) / out_of_fold.FILE, data, rows)
    _check_start(options, files, set(folds.iloc[data.rows("validation")]))
    parts = [fingerprint(data, options), data.data_hash, data.split_hash, options.architecture, *folds]
    key = hashlib.sha256("\0".join([*parts, str(data.preprocessing.to_dict())]).encode()).hexdigest()[:16]
    answers = Answers(home / f"teachers-{key}", rows, data.preprocessing.image_size // LOCATION_STRIDE)
    with progress_bar("train: asking the teachers", len(rows)) as advance:
        for fold, file in files.items():
            mine = np.flatnonzero((folds.iloc[rows] == fold).to_numpy())
            waiting = mine[answers.missing()[mine]]
            advance(len(mine) - len(waiting))
            if not len(waiting):
                continue
            teacher = _teacher(file, options, data.preprocessing.image_size)
            for start in range(0, len(waiting), _ASKED_AT_ONCE):
                asked = waiting[start : start + _ASKED_AT_ONCE]
                logits, places = teacher.predict_on_batch(np.asarray(data.images[rows[asked]])[..., np.newaxis])
                answers.keep(asked, logits[:, 0], places[..., 0])
                advance(len(asked))
    labels = out_of_fold.calibrated(answers.logits, answers.places.max(axis=(1, 2)), data.labels(rows))
    return SoftTargets(labels, answers.places, LOCATION_STRIDE)


class Answers:
    """Logits (n,) and location logits (n, grid, grid) on disk, as far as the teachers have been asked."""

    def __init__(self, folder: Path, rows: npt.NDArray[np.int64], grid: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.places = _map(folder / "places.npy", np.float16, (len(rows), grid, grid))
        self.logits = _map(folder / "logits.npy", np.float32, (len(rows),))

    def missing(self) -> npt.NDArray[np.bool_]:
        """Which images no teacher was asked about."""
        return np.asarray(np.isnan(self.logits))

    def keep(
        self, where: npt.NDArray[np.int64], logits: npt.NDArray[np.float32], places: npt.NDArray[np.float32]
    ) -> None:
        """Write answers; the logits, which say that there is one, come last."""
        self.places[where] = places
        self.places.flush()
        self.logits[where] = logits
        self.logits.flush()


def _map(path: Path, kind: type, shape: tuple[int, ...]) -> np.memmap:
    """A memory map in a .npy file, of NaN at first."""
    if path.is_file():
        try:
            found = np.lib.format.open_memmap(path, mode="r+")
            if found.shape == shape and found.dtype == kind:
                return found
        except ValueError:  # a file that was cut short is made anew
            pass
    made = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
    made[:] = np.nan
    return made


def network(file: Path, options: TrainParams, image_size: int) -> keras.Model:
    """The network of a teacher; `options` say what the weights of an .npz file belong to."""
    if file.suffix == ".keras":
        return keras.models.load_model(file, safe_mode=True, compile=False)
    return architectures.build(options.model_copy(update={"image_gradient": 1.0}), image_size, 2, str(file))


def _teacher(file: Path, options: TrainParams, image_size: int) -> keras.Model:
    """The model of a teacher that gives the logit of the image (n, 1) and those of its cells (n, g, g, 1)."""
    model = network(file, options, image_size)
    names = {layer.name for layer in model.layers}
    if LOCATION_LOGITS not in names or model.input_shape[1] != image_size:
        raise InputError(f"{_KEY}: {file}: is no network with head: location for images of {image_size} px")
    return keras.Model(model.input, [model.get_layer(LOGITS).output, model.get_layer(LOCATION_LOGITS).output])


def _check_folds(path: Path, data: Prepared, rows: npt.NDArray[np.int64]) -> None:
    """Refuse folds that are not those the teachers were trained on."""
    if not path.is_file():
        return
    told = out_of_fold.read(path, ("image_id", "fold"))
    left_out = data.table["image_id"].iloc[rows].map(told.set_index("image_id")["fold"])
    wrong = int((left_out != folds_of(data).iloc[rows]).sum())
    if wrong:
        raise InputError(
            f"{path}: {wrong} of {len(rows)} training images lie in another fold than the teachers left out; take the "
            "preprocess.folds and seed, and the data, that they were trained with"
        )


def _check_start(options: TrainParams, files: Mapping[str, Path], validation: set[str]) -> None:
    """Refuse to begin from a teacher that learned from the validation set."""
    if options.weights in architectures.WORDS:
        return
    begun = sha256_file(Path(options.weights))
    fold = next((fold for fold, path in files.items() if sha256_file(path) == begun), None)
    if fold is not None and validation != {fold}:
        raise InputError(
            f"params.yaml: train.weights: {options.weights} is the teacher of fold {fold}, which learned from images "
            f"of the validation set; set preprocess.fold to {fold}"
        )
