"""A registered model as a folder of models/: what serves it, what trains on from it, and what an auditor asks."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import metrics, packaging, params, prepared, register, registry, tables, tracking
from pipeline.errors import InputError
from pipeline.prepared import slices_of
from pipeline.workspace import atomic_folder, write_text
from serving.bundle import Manifest

CARD, SUMS = "MODEL_CARD.md", "sha256sums"
_FAILURES = 12
"""Worst errors of either kind that the card names."""
_FILES = ("params.yaml", "reports/metrics.json", "reports/slices.csv", "reports/history.csv")


def release(root: Path, target: Path) -> Manifest:
    """Write the model that build/ and reports/ of `root` hold into `target`, whole or not at all.

    Raises InputError: the model is not registered, failed its gates, or does not belong to prepared/.
    """
    candidate = register.Candidate.read(root)
    data = prepared.load(root / "prepared")
    if candidate.training["split_hash"] != data.split_hash:
        raise InputError("build/model: was trained on another split than prepared/ holds; run `dvc repro`")
    name = params.load(root / "params.yaml").register_.model_name
    known = tracking.require(lambda mlflow: _version(mlflow, name, candidate.content_hash()))
    if known is None:
        raise InputError(f"build/model: is not registered as {name}; run `dvc repro register`")
    predictions = pd.read_csv(root / "reports/predictions.csv", keep_default_na=False)
    with atomic_folder(target) as folder:
        with packaging.fetched(f"models:/{name}/{known.version}") as found:
            manifest = packaging.write_bundle(found, data, folder / "bundle")
        shutil.copyfile(root / "build/model/model.keras", folder / "model.keras")
        shutil.copyfile(root / "build/model/training.json", folder / "training.json")
        for file in _FILES:
            shutil.copyfile(root / file, folder / Path(file).name)
        split = data.table[["image_id", "label", "part", "group"]]
        write_text(folder / "split.csv", split.to_csv(index=False, lineterminator="\n"))
        write_text(folder / CARD, card(target.name, manifest, folder, predictions, shortcuts(data.table)))
        write_text(folder / SUMS, sums(folder))
    return manifest


def _version(mlflow: Any, name: str, content_hash: str) -> Any:
    return registry.version_by_tag(mlflow.MlflowClient(), name, "content_hash", content_hash)


def sums(folder: Path) -> str:
    """Lines for `sha256sum --check` over every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files
    )


def shortcuts(table: pd.DataFrame) -> dict[str, float]:
    """AUROC on the test part of guessing from one column of split.csv alone, by its fracture rate outside that part."""
    test = (table["part"] == "test").to_numpy()
    fractured = (table["class"] > 0).to_numpy()
    found = {}
    for column in slices_of(table):
        rates = pd.Series(fractured[~test]).groupby(table[column].to_numpy()[~test]).mean()
        guess = table[column][test].map(rates).fillna(fractured[~test].mean()).to_numpy(np.float64)
        y = fractured[test].astype(np.int64)
        found[column] = float(metrics.auroc(y, guess, np.ones((1, len(y))))[0])
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def card(name: str, manifest: Manifest, folder: Path, predictions: pd.DataFrame, guesses: Mapping[str, float]) -> str:
    """MODEL_CARD.md: what the model is for and not for, its data, figures, failures, and how to make it again."""
    figures: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    test, data, origin = figures["test"], manifest.trained_on, manifest.origin
    auroc = test["auroc"]
    options = params.load(folder / "params.yaml")
    size = manifest.preprocessing["image_size"]
    lines = [
        f"# {name}",
        "",
        f"Tells radiographs with a fracture from those without, and says where: {manifest.architecture}, {size} px, "
        f"one grey channel. AUROC {tables.cell(auroc)} on {figures['images']['test']} test images, no group "
        "of which was trained on or chosen by.",
        "",
        "## For",
        f"{manifest.intended.use} Regions: {', '.join(manifest.intended.regions) or 'unknown'}. Views: "
        f"{', '.join(manifest.intended.views) or 'unknown'}.",
        "",
        "## Not for",
        manifest.intended.not_for,
        "",
        "## Data",
        f"{data.name} {data.version}, {data.licence}. {data.citation}",
        "",
        f"Split by group into {_counts(folder)}; who is in which part stands in `split.csv`. Data hash "
        f"`{origin.data_hash[:16]}`, split hash `{origin.split_hash[:16]}`. No image of it is part of this folder.",
        "",
        "## Figures",
        "Calibration and thresholds were chosen on the validation part. Intervals: 95 %, bootstrap over groups.",
        "",
        *tables.measures(test),
        "",
        f'Always answering "normal" is right {figures["always_normal_accuracy"]:.1%} of the time. The expected '
        f"calibration error of a perfectly calibrated model of this size: median "
        f"{test['expected_calibration_error']['perfect_model_median']:.3f}, 95th percentile "
        f"{test['expected_calibration_error']['perfect_model_95th_percentile']:.3f}.",
        "",
        *tables.points(test),
        "",
        "## By region, view and other properties",
        *tables.slices(folder / "slices.csv"),
        "",
        "## Shortcuts",
        "What guessing from one property of an image alone reaches on the test part, by the fracture rate of the other "
        "parts. The rows above show the model within one region, and without hardware.",
        "",
        "| property | AUROC |",
        "| --- | --- |",
        *[f"| {column} | {value:.3f} |" for column, value in guesses.items()],
        f"| this model | {auroc['value']:.3f} |",
        "",
        "## Known failures",
        f"The {_FAILURES} most certain errors of either kind on the test part: image id, probability given.",
        "",
        f"- missed: {_failures(predictions, manifest.classes[0], missed=True)}",
        f"- false alarms: {_failures(predictions, manifest.classes[0], missed=False)}",
        "",
        "## Make it again",
        "`params.yaml` of this folder in the place of the project's, the data filled as "
        "[docs/data.md](../../docs/data.md) says, and",
        "",
        f"    dvc repro && fracture promote && fracture release {name}",
        "",
        f"Seed {options.train.seed}, {options.train.epochs} epochs, batches of {options.train.batch_size}. Run "
        f"`{origin.run_id}`, version {origin.registry_version} of {origin.registered_model}, git commit "
        f"`{origin.git_commit}`. The same seed gives the same weights on the same processor and versions only; "
        "elsewhere expect figures within the intervals.",
        "",
        "## Train on from it",
        "`train.weights: release` in `params.yaml`, with `architecture`, `architecture_options` and `head` as here.",
    ]
    return "\n".join(lines) + "\n"


def _counts(folder: Path) -> str:
    split = pd.read_csv(folder / "split.csv", keep_default_na=False)
    found = [f"{len(rows)} {part} images in {rows['group'].nunique()} groups" for part, rows in split.groupby("part")]
    return ", ".join(found)


def _failures(predictions: pd.DataFrame, normal: str, *, missed: bool) -> str:
    test = predictions[predictions["part"] == "test"]
    chosen = test[(test["label"] != normal) == missed].sort_values("probability", ascending=missed)
    return ", ".join(f"{row.image_id} ({row.probability:.2f})" for row in chosen.head(_FAILURES).itertuples())
