"""The networks of all folds, out of their DVC experiments, and what each says of the images that it never saw.

teachers/fold-0/            the experiment's build/model/, params.yaml and history.csv
teachers/out_of_fold.csv    `out_of_fold.FILE`: one row per image that is not test
teachers/metrics.json       the pooled metrics

`train.distil`, `train.out_of_fold` and `benchmarks.robustness.fold_bundles` read them. Test images are not scored.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from scmrepo.exceptions import SCMError

from pipeline.artifacts import Artifacts, TrainingRecord
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.evaluation import metrics
from pipeline.files import atomic_folder, write_json, write_text
from pipeline.progress import progress_bar
from pipeline.training import out_of_fold
from pipeline.training.architectures import LOCATION_LOGITS, LOGITS, weights_hash
from serving.errors import one_line

RESAMPLES = 1000
_SEED = 7
_ASKED_AT_ONCE = 8
_FILES = ("params", "keras_model", "training", "history")


@dataclass(frozen=True)
class Fetched:
    """What an experiment made: the split that its network was trained on, and the network's files in a folder."""

    name: str
    split: pd.DataFrame
    folder: Path

    @property
    def fold(self) -> str:
        """The fold that the network never saw, as text; InputError where there is none."""
        split = self.split
        if "fold" not in split.columns:
            raise InputError(f"experiment {self.name}: has no folds; run it with -S preprocess.folds=5")
        folds = sorted(set(split["fold"][split["part"] == "validation"]))
        if len(folds) != 1 or set(split["part"][split["fold"] == folds[0]]) - {"validation", "test"}:
            raise InputError(
                f"experiment {self.name}: its network saw a part of fold {folds[0] if folds else '?'}; run it with "
                "-S preprocess.fold_share=1"
            )
        return str(folds[0])


def fetch(root: Path, name: str, folder: Path) -> Fetched:
    """Copy the network of an experiment, by its name or revision, into `folder`; InputError where it has none."""
    paths = Artifacts(Path())
    try:
        files = DVCFileSystem(str(root), rev=name)
        folder.mkdir(parents=True)
        for field in _FILES:
            path: Path = getattr(paths, field)
            (folder / path.name).write_bytes(files.read_bytes(path.as_posix()))
        split = files.read_bytes((paths.prepared / "split.csv").as_posix())
    except (DvcException, SCMError, OSError) as error:
        raise InputError(
            f"experiment {name}: its network cannot be had ({one_line(error, 200)}); `dvc exp list` names experiments, "
            "`dvc exp run -n NAME train` makes one"
        ) from None
    return Fetched(name, pd.read_csv(io.BytesIO(split), dtype=str, keep_default_na=False), folder)


def by_fold(experiments: Sequence[Fetched], data: Prepared) -> dict[str, Fetched]:
    """The experiments in the order of their folds; InputError unless there is one for each fold of prepared/."""
    if "fold" not in data.table.columns:
        raise InputError("prepared/split.csv: has no folds; `dvc repro preprocess` with the experiments' params.yaml")
    found: dict[str, Fetched] = {}
    for one in experiments:
        if one.fold in found:
            raise InputError(f"experiments {found[one.fold].name} and {one.name}: both left out fold {one.fold}")
        _require_same(one, data)
        found[one.fold] = one
    wanted = set(data.table["fold"][data.table["part"] != "test"])
    if missing := sorted(wanted - set(found)):
        raise InputError(f"no experiment left out fold {', '.join(missing)}; run -S preprocess.fold={missing[0]}")
    return dict(sorted(found.items()))


def _require_same(one: Fetched, data: Prepared) -> None:
    """Raise InputError where an experiment had other images, folds or pixels than prepared/ holds."""
    training = TrainingRecord.read(one.folder / "training.json")
    faults = []
    if training.data_hash != data.data_hash or training.preprocessing != data.preprocessing.to_dict():
        faults.append("images")
    if _dealt(one.split) != _dealt(data.table):
        faults.append("folds or test set")
    if faults:
        raise InputError(
            f"experiment {one.name}: was trained on other {' and '.join(faults)} than prepared/ holds; repeat it, or "
            "`dvc repro preprocess` with its params.yaml"
        )


def _dealt(split: pd.DataFrame) -> dict[str, str]:
    """The fold of each image that is not test, by id."""
    rest = split[split["part"] != "test"]
    return dict(zip(rest["image_id"], rest["fold"], strict=True))


def score(folder: Path, data: Prepared, fold: str) -> pd.DataFrame:
    """What a network says of the images of the fold that it never saw: rows of out_of_fold.csv.

    Raises InputError for a network of more than two classes, or other weights than its training recorded.
    """
    model = keras.models.load_model(folder / "model.keras", safe_mode=True, compile=False)
    if weights_hash(model) != TrainingRecord.read(folder / "training.json").weights_sha256:
        raise InputError(f"{folder}: its weights are not those that were trained; run the experiment again")
    if len(data.classes) != 2:
        raise InputError(f"prepared/: scores are for two classes, these data have {len(data.classes)}")
    names = {layer.name for layer in model.layers}
    asked = [name for name in (LOGITS, LOCATION_LOGITS) if name in names]
    asking = keras.Model(model.input, [model.get_layer(name).output for name in asked])
    rows = np.flatnonzero((data.table["fold"] == fold) & (data.table["part"] != "test"))
    answers: list[list[npt.NDArray[np.float32]]] = []
    with progress_bar(f"teachers: fold {fold}", len(rows)) as advance:
        for start in range(0, len(rows), _ASKED_AT_ONCE):
            chosen = rows[start : start + _ASKED_AT_ONCE]
            told = asking.predict_on_batch(np.asarray(data.images[chosen])[..., np.newaxis])
            told = told if isinstance(told, list) else [told]
            answers.append([np.asarray(one, np.float32).reshape(len(chosen), -1).max(axis=1) for one in told])
            advance(len(chosen))
    table = data.table.iloc[rows][["image_id", "label", "group", "fold"]]
    scores = {
        name: np.concatenate([one[number] for one in answers]).round(4)
        for number, name in enumerate(("logit", "place")[: len(asked)])
    }
    return table.assign(**scores)


def pooled(table: pd.DataFrame, normal: str) -> dict[str, Any]:
    """Metrics of all out-of-fold scores together, with 95 % intervals by bootstrap over groups.

    The score is `out_of_fold.summed` where there are two. Nothing here is of the test set.
    """
    y = (table["label"] != normal).to_numpy(np.int64)
    score = out_of_fold.summed(
        table["logit"].to_numpy(), table["place"].to_numpy() if "place" in table.columns else None
    ).astype(np.float64)
    weights, ones = metrics.bootstrap_weights(table["group"].to_numpy(), RESAMPLES, _SEED), np.ones((1, len(y)))
    measures = {
        "auroc": metrics.auroc,
        "sensitivity_at_specificity_0.90": lambda y, s, w: metrics.sensitivity_at_specificity(y, s, w, 0.90),
        "specificity_at_sensitivity_0.95": lambda y, s, w: metrics.specificity_at_sensitivity(y, s, w, 0.95),
    }
    one = np.ones((1, 1))
    folds = {
        str(fold): metrics.number(float(metrics.auroc(y[own], score[own], one.repeat(own.sum(), axis=1))[0]))
        for fold in sorted(set(table["fold"]))
        if (own := (table["fold"] == fold).to_numpy()).any()
    }
    return {
        "images": len(table),
        "fractured": int(y.sum()),
        **{name: metrics.with_interval(m(y, score, ones), m(y, score, weights)) for name, m in measures.items()},
        "auroc_of_folds": folds,
    }


def collect(root: Path, names: Sequence[str], data: Prepared, target: Path) -> dict[str, Any]:
    """Fill `target` from the experiments, whole or not at all, and give the pooled metrics back."""
    with atomic_folder(target) as folder:
        fetched = [fetch(root, name, folder / f"of-{number}") for number, name in enumerate(names)]
        tables = []
        for fold, one in by_fold(fetched, data).items():
            tables.append(score(one.folder, data, fold))
            one.folder.rename(folder / f"fold-{fold}")
        table = pd.concat(tables).sort_values("image_id")
        write_text(folder / out_of_fold.FILE, str(table.to_csv(index=False, lineterminator="\n")))
        found = pooled(table, data.classes[0])
        write_json(folder / "metrics.json", found)
    return found


def is_metric(told: Any) -> bool:
    """Whether a value of `pooled` is a metric with its interval."""
    return isinstance(told, dict) and told.get("value") is not None


def markdown(found: Mapping[str, Any]) -> str:
    """The pooled metrics as a table."""
    lines = [
        f"| out-of-fold scores of {found['images']} images, {found['fractured']} fractured | |",
        "| --- | --- |",
    ]
    for name, told in found.items():
        if is_metric(told):
            lines.append(f"| {name.replace('_', ' ')} | {told['value']} ({told['low']} to {told['high']}) |")
    of_folds = ", ".join(f"{value}" for value in found["auroc_of_folds"].values())
    return "\n".join([*lines, f"| AUROC of each fold | {of_folds} |"]) + "\n"
