"""A registered model as a folder of models/: what serves it, what trains on from it, and what an auditor asks."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import register
from pipeline.artifacts import Artifacts, TrainingRecord
from pipeline.data import prepared
from pipeline.errors import InputError
from pipeline.evaluation.records import Robustness
from pipeline.files import atomic_folder, sha256_file, write_text
from pipeline.packaging import change_plan
from pipeline.packaging.bundle import fetched, write_bundle
from pipeline.packaging.model_card import Remarks, card
from pipeline.registry.mlflow import connect
from serving.bundle import Manifest
from serving.scope import Terms

CARD, SUMS = "MODEL_CARD.md", "sha256sums"


def release(root: Path, target: Path, note: str = "", terms: Terms | None = None) -> Manifest:
    """Write the model that build/ and reports/ of `root` hold into `target`, whole or not at all.

    `note` is what a reader of the card should know of the data besides, such as that they are a part of something;
    `terms` are as in `write_bundle`.
    Card and bundle say whether the release stays within the change plan of params.yaml.
    Raises InputError: the model is not registered, failed its gates, does not belong to prepared/, or its robustness
    was not measured.
    """
    candidate = register.Candidate.read(root)
    paths = candidate.paths
    data = prepared.load(paths.prepared)
    if candidate.training.split_hash != data.split_hash:
        raise InputError(f"{paths.model}: was trained on another split than prepared/ holds; run `dvc repro`")
    name = candidate.options.register_.model_name
    known = connect().version_with_tag(name, "content_hash", candidate.content_hash())
    if known is None:
        raise InputError(f"{paths.model}: is not registered as {name}; run `dvc repro register`")
    robustness = _robustness(paths, candidate.training)
    predictions = pd.read_csv(paths.predictions, keep_default_na=False)

    listed = terms or Terms.for_regions(candidate.training.regions)

    def judge(facts: Mapping[str, Any]) -> change_plan.Verdict:
        compared = change_plan.Candidate(facts, candidate.metrics, robustness, listed)
        return change_plan.judge(compared, paths.releases, candidate.options.change_plan)

    with atomic_folder(target) as folder:
        with fetched(f"models:/{name}/{known.version}") as found:
            manifest = write_bundle(found, data, folder / "bundle", robustness, judge=judge, terms=listed)
        for path in (
            paths.keras_model,
            paths.training,
            paths.params,
            paths.metrics,
            paths.slices,
            paths.history,
            paths.robustness,
        ):
            shutil.copyfile(path, folder / path.name)
        split = data.table[["image_id", "label", "part", "group"]]
        write_text(folder / "split.csv", split.to_csv(index=False, lineterminator="\n"))
        weights = root / candidate.options.train.weights
        remarks = Remarks(note, sha256_file(weights) if weights.is_file() else "")
        write_text(folder / CARD, card(target.name, folder, data, predictions, remarks))
        write_text(folder / SUMS, sums(folder))
    return manifest


def _robustness(paths: Artifacts, training: TrainingRecord) -> Robustness:
    """What the benchmark says of the model that is to be released; InputError where it was not asked."""
    again = f"package the model (`fracture package`), then run `{Robustness.again}`"
    if not paths.robustness.is_file():
        raise InputError(f"{paths.robustness}: not found; {again}")
    found = Robustness.read(paths.robustness)
    if found.weights_sha256 != training.weights_sha256:
        raise InputError(f"{paths.robustness}: belongs to another model; {again}")
    if not found.complete:
        raise InputError(f"{paths.robustness}: some changes were left out; {again}")
    return found


def sums(folder: Path) -> str:
    """Lines for `sha256sum --check` over every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files
    )
