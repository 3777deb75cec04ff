"""Out-of-fold scores: what networks of the folds say of images, each of the one that never saw the image.

out_of_fold.csv    image_id, label, group, fold, logit (of the image) and, with a localisation head, place (of its
                   highest cell); `fracture teachers` writes it. No image of the test set is in it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.files import sha256_file
from pipeline.training.params import TrainParams

FILE = "out_of_fold.csv"
COLUMNS = ("image_id", "label", "group", "fold", "logit")
_KEY = "params.yaml: train.out_of_fold"
_LEAST_SPREAD = 1e-6

Scores = npt.NDArray[np.floating]


def read(path: Path, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """The table, scores as numbers and the rest as text; InputError where it is missing or lacks one of `columns`."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [column for column in columns if column not in table.columns]
        scores = {column: float for column in ("logit", "place") if column in table.columns}
        table = table.astype(scores)
    except (OSError, ValueError):
        raise InputError(f"{path}: is no table of out-of-fold scores; `fracture teachers` writes one") from None
    if missing:
        raise InputError(f"{path}: lacks the column {', '.join(missing)}; make it again with `fracture teachers`")
    return table


def summed(logits: Scores, cells: Scores | None = None) -> Scores:
    """Logits of images (n,) and of their highest cells (n,), each in units of its spread; the sum of both."""
    scores = [one.astype(np.float32) for one in (logits, cells) if one is not None]
    return np.asarray(np.sum([one / max(float(one.std()), _LEAST_SPREAD) for one in scores], axis=0), np.float32)


def calibrated(logits: Scores, cells: Scores | None, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Probability of a fracture from an image's logit and its highest cell's, float32 (n,).

    `summed` is calibrated by logistic regression (Platt 1999) on the labels: nobody's own training images are among
    these scores.
    """
    scores = summed(logits, cells)[:, np.newaxis]
    fitted = LogisticRegression(C=np.inf).fit(scores, labels)
    return np.asarray(fitted.predict_proba(scores)[:, 1], np.float32)


def trust(data: Prepared, rows: npt.NDArray[np.int64], options: TrainParams) -> npt.NDArray[np.float32]:
    """Weight of each training image, float32 (n,): `contradicted_weight` where its scores contradict its label, or 1.

    Scores are calibrated on the images of `rows` alone. Raises InputError where the table does not know one of them.
    """
    if options.contradicted_weight == 1:
        return np.ones(len(rows), np.float32)
    if len(data.classes) != 2:
        raise InputError(f"{_KEY}: scores are for two classes, these data have {len(data.classes)}")
    path = Path(options.out_of_fold)
    told = read(path).drop_duplicates("image_id").set_index("image_id")
    wanted = data.table.iloc[rows].set_index("image_id")
    unknown = int((told["label"].reindex(wanted.index) != wanted["label"]).sum())
    if unknown:
        raise InputError(
            f"{path}: {unknown} of {len(rows)} training images are not in it, or with another label; make it again "
            "with `fracture teachers`"
        )
    told = told.loc[wanted.index]
    labels = data.labels(rows)
    fracture = calibrated(
        told["logit"].to_numpy(), told["place"].to_numpy() if "place" in told.columns else None, labels
    )
    of_label = np.where(labels > 0, fracture, 1 - fracture)
    weight = np.float32(options.contradicted_weight)
    return np.where(of_label < options.contradicted_below, weight, np.float32(1))


def fingerprint(options: TrainParams) -> str:
    """Hash of the table that training reads, empty without one; InputError where it is missing."""
    if options.contradicted_weight == 1:
        return ""
    if not Path(options.out_of_fold).is_file():
        raise InputError(f"{_KEY}: {options.out_of_fold}: not found; `fracture teachers` writes it")
    return sha256_file(Path(options.out_of_fold))
