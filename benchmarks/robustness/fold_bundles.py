"""Make a bundle of each fold's network: `python -m benchmarks.robustness.fold_bundles teachers --output build/folds`.

`teachers` is a folder as `train.distil` takes it, `prepared/` holds the same images and folds, and `params.yaml` says
how the networks are built (section train) and how large the guard's training is (section evaluate). No bundle knows
the images of its own fold: calibration and operating points come from the out-of-fold scores of the others, region
head and guard from the images that the network learned from; the limits of both are chosen on those of the next
fold. No test image is read. A run that was stopped goes on with the first fold that has no bundle; delete a
bundle to make it again with other parameters.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the service does before numpy is imported

import cv2
import keras
import numpy as np
import pandas as pd

from pipeline import params
from pipeline.artifacts import Artifacts
from pipeline.data import cells, input_heads, prepared
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError, exit_with_line
from pipeline.evaluation import metrics, report
from pipeline.evaluation.head_training import fit_heads
from pipeline.evaluation.model_outputs import run_model
from pipeline.evaluation.saliency import explained, says_where
from pipeline.files import atomic_folder
from pipeline.packaging.bundle import INTENDED_USE, NOT_FOR, REJECTED_SHARE, UNUSUAL_SHARE
from pipeline.packaging.conversion import choose_format
from pipeline.params import EvaluateParams, Params
from pipeline.training import architectures, distillation, out_of_fold
from serving import bundle
from serving.decision import Decision, sigmoid
from serving.imaging.canonical.form import HEADS, head_files
from serving.statistics import QUANTILES, Reference

_UNSEEN = "unseen"
"""The part of images that a fold's bundle must know nothing of: its own fold, and the test set."""


def of_fold(data: Prepared, fold: str, chosen: str) -> Prepared:
    """The images as fold `fold`'s network knows them: `chosen` is the fold that limits are chosen on."""
    own, test = data.table["fold"] == fold, data.table["part"] == "test"
    part = np.select([own | test, data.table["fold"] == chosen], [_UNSEEN, "validation"], "train")
    return replace(data, table=data.table.assign(part=part))


def decide(table: pd.DataFrame, fold: str, normal: str, options: EvaluateParams) -> Decision:
    """Calibration and operating points from the out-of-fold scores of all folds but one."""
    others = table[table["fold"] != fold]
    scores = sigmoid(others["logit"])[:, np.newaxis]
    return metrics.decide(scores, (others["label"] != normal).to_numpy(np.int64), options)


def require_same(table: pd.DataFrame, data: Prepared, path: Path) -> None:
    """Raise InputError where the table's folds are too few or not those of prepared/, or it holds a test image."""
    if "fold" not in data.table.columns or len(data.classes) != 2:
        raise InputError("prepared/: needs two classes and folds; set preprocess.folds to those of the teachers")
    if table["fold"].nunique() < 3:
        raise InputError(f"{path}: has fewer than three folds: one is asked about, one for limits, the rest to fit")
    known = data.table[data.table["part"] != "test"].set_index("image_id")["fold"]
    if table.set_index("image_id")["fold"].to_dict() != known.to_dict():
        raise InputError(f"{path}: names other images or folds than prepared/; take the data and folds of the teachers")


def write(target: Path, model: keras.Model, known: Prepared, decision: Decision, options: EvaluateParams) -> None:
    """Write the bundle of one network; the parts of `known` are those of `of_fold`."""
    reasons, heads = explained(model), input_heads.of_training(known.preprocessing)
    outputs = {part: run_model(reasons, known, part) for part in ("train", "validation")}
    reference = report.reference(known, outputs["train"], outputs["validation"], decision)
    image_heads = fit_heads(known, reasons, outputs, options, heads)
    with tempfile.TemporaryDirectory(prefix="fracture-folds-") as name, atomic_folder(target) as folder:
        chosen, path, formats = choose_format(model, known, decision, Path(name), ("float32",))
        shutil.copyfile(path, folder / bundle.MODEL)
        reference.save(folder / bundle.REFERENCE)
        image_heads.save(folder / bundle.IMAGE_HEADS)
        for head in head_files(known.preprocessing.canonical):
            shutil.copyfile(HEADS / head, folder / head)
        told = {"name": target.name, "number_format": chosen, "formats": formats}
        bundle.write(folder, {**facts(model, known, decision, reference), **told})


def facts(model: keras.Model, known: Prepared, decision: Decision, reference: Reference) -> Mapping[str, Any]:
    """What model.json says of a network that was never registered, but for its name and number format."""
    of_training = known.table[known.table["part"] == "train"]
    return {
        "version": "fold",
        "architecture": model.name,
        "classes": known.classes,
        "preprocessing": known.preprocessing.to_dict(),
        **decision.to_dict(),
        "guard": {
            "unusual": float(np.interp(1 - UNUSUAL_SHARE, QUANTILES, reference.distances)),
            "limit": float(np.interp(1 - REJECTED_SHARE, QUANTILES, reference.distances)),
        },
        "map": "localisation" if says_where(model) else "grad-cam",
        "intended": {
            "use": INTENDED_USE,
            "not_for": NOT_FOR,
            **{f"{name}s": _values(of_training, name) for name in ("region", "view")},
        },
        "quality": {},
        "trained_on": {
            **known.dataset.model_dump(include={"name", "version", "licence", "citation"}),
            "synthetic": known.dataset.source == "sample",
        },
        "origin": {
            **dict.fromkeys(("registered_model", "registry_version", "run_id", "git_commit", "gates"), "unknown"),
            "data_hash": known.data_hash,
            "split_hash": known.split_hash,
            "test_hash": known.test_hash,
            "weights_sha256": architectures.weights_hash(model),
            "packaged_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    }


def _values(table: pd.DataFrame, column: str) -> tuple[str, ...]:
    if column not in table.columns:
        return ()
    return tuple(sorted({value for cell in table[column] for value in cells.split(cell)} - {""}))


def make(teachers: Path, data: Prepared, options: Params, target: Path) -> None:
    """Write the bundles that are missing in `target`, then the table of their images."""
    table = out_of_fold.read(teachers / out_of_fold.FILE)
    require_same(table, data, teachers / out_of_fold.FILE)
    names = sorted(set(table["fold"]))
    for fold, following in zip(names, [*names[1:], names[0]], strict=True):
        file = distillation.teachers(teachers, {fold})[fold]
        model = distillation.network(file, options.train, data.preprocessing.image_size)
        place = target / f"fold-{fold}"
        if _is_of(place, model):
            print(f"{place}: is of this network already")
            continue
        decision = decide(table, fold, data.classes[0], options.evaluate)
        write(place, model, of_fold(data, fold, following), decision, options.evaluate)
        print(f"{place}: written")
    shutil.copyfile(teachers / out_of_fold.FILE, target / out_of_fold.FILE)


def _is_of(place: Path, model: keras.Model) -> bool:
    """Whether there is a bundle of this network."""
    if not (place / bundle.MANIFEST).is_file():
        return False
    return bundle.read(place).manifest.origin.weights_sha256 == architectures.weights_hash(model)


def main() -> None:
    """Make the bundles of the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teachers", type=Path, help="fold-<number>.npz or fold-<number>/, and out_of_fold.csv")
    parser.add_argument("--prepared", type=Path, default=Artifacts().prepared)
    parser.add_argument("--params", type=Path, default=Artifacts().params)
    parser.add_argument("--output", type=Path, default=Path("build/folds"))
    given = parser.parse_args()
    cv2.setNumThreads(0)
    make(given.teachers, prepared.load(given.prepared), params.load(given.params), given.output)


if __name__ == "__main__":
    exit_with_line(main)
