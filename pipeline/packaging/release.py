"""A registered model as a folder of models/: what serves it, what trains on from it, and what an auditor asks."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import params, register
from pipeline.artifacts import Metrics
from pipeline.data import prepared
from pipeline.data.prepared import Prepared, slices_of
from pipeline.errors import InputError
from pipeline.evaluation import metrics, subgroups, tables
from pipeline.files import atomic_folder, sha256_file, write_text
from pipeline.packaging.bundle import fetched, write_bundle
from pipeline.registry.mlflow import connect
from serving import bundle
from serving.bundle import Bundle, Manifest
from serving.statistics import texture

CARD, SUMS = "MODEL_CARD.md", "sha256sums"
_FAILURES = 12
"""Worst errors of either kind that the card names."""


@dataclass(frozen=True)
class Remarks:
    """What the card says that no file of the release holds."""

    data: str
    """On the data, such as that they are a part of something; may be empty."""
    start: str
    """SHA-256 of the file of starting weights; empty when there was none."""


def release(root: Path, target: Path, note: str = "") -> Manifest:
    """Write the model that build/ and reports/ of `root` hold into `target`, whole or not at all.

    `note` is what a reader of the card should know of the data besides, such as that they are a part of something.
    Raises InputError: the model is not registered, failed its gates, or does not belong to prepared/.
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
    predictions = pd.read_csv(paths.predictions, keep_default_na=False)
    with atomic_folder(target) as folder:
        with fetched(f"models:/{name}/{known.version}") as found:
            manifest = write_bundle(found, data, folder / "bundle")
        for path in (paths.keras_model, paths.training, paths.params, paths.metrics, paths.slices, paths.history):
            shutil.copyfile(path, folder / path.name)
        split = data.table[["image_id", "label", "part", "group"]]
        write_text(folder / "split.csv", split.to_csv(index=False, lineterminator="\n"))
        weights = root / candidate.options.train.weights
        remarks = Remarks(note, sha256_file(weights) if weights.is_file() else "")
        write_text(folder / CARD, card(target.name, folder, data, predictions, remarks))
        write_text(folder / SUMS, sums(folder))
    return manifest


def sums(folder: Path) -> str:
    """Lines for `sha256sum --check` over every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files
    )


def shortcuts(table: pd.DataFrame) -> dict[str, float]:
    """AUROC on the test set of guessing from one column of split.csv alone, by its fracture rate outside that part."""
    test = (table["part"] == "test").to_numpy()
    fractured = (table["class"] > 0).to_numpy()
    found = {}
    for column in slices_of(table):
        rates = pd.Series(fractured[~test]).groupby(table[column].to_numpy()[~test]).mean()
        guess = table[column][test].map(rates).fillna(fractured[~test].mean()).to_numpy(np.float64)
        y = fractured[test].astype(np.int64)
        found[column] = float(metrics.auroc(y, guess, np.ones((1, len(y))))[0])
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def refused(opened: Bundle, data: Prepared) -> list[str]:
    """Ids of the test images that the bundle's guard gives no answer to, as they are unlike those of training."""
    rows = data.rows("test")
    distances = opened.reference.distance(np.array([texture(np.asarray(data.images[row])) for row in rows]))
    return [str(data.table["image_id"].iloc[row]) for row in rows[distances > opened.manifest.guard.limit]]


def card(name: str, folder: Path, data: Prepared, predictions: pd.DataFrame, remarks: Remarks) -> str:
    """MODEL_CARD.md: what the model is for and not for, its data, figures, failures, and how to make it again."""
    opened = bundle.read(folder / "bundle")
    manifest = opened.manifest
    measured = Metrics.read(folder / "metrics.json")
    test, origin = measured.test, manifest.origin
    auroc = test.auroc
    perfect = test.estimate("expected_calibration_error").model_dump()
    options = params.load(folder / "params.yaml")
    size = manifest.preprocessing["image_size"]
    shown = folder / "slices.csv"
    given = manifest.trained_on
    lines = [
        f"# {name}",
        "",
        f"Tells radiographs with a fracture from those without, and says where: {manifest.architecture}, {size} px, "
        f"one grey channel. AUROC {tables.cell(auroc)} on {measured.images.test} test images, no group "
        "of which was trained on or chosen by.",
        "",
        "## For",
        f"{manifest.intended.use} Shown to be good on the test set for the regions "
        f"{_good_for(shown, 'region')} and the views {_good_for(shown, 'view')}.",
        "",
        "## Not for",
        manifest.intended.not_for,
        "",
        "## Data",
        " ".join(
            f"{sentence.strip().rstrip('.')}."
            for sentence in (f"{given.name} {given.version}, {given.licence}", given.citation, remarks.data)
            if sentence.strip()
        ),
        "",
        f"Split by group into {_counts(folder)}. {_groups(data.table)} Who is in which part stands in "
        f"`split.csv`. Data hash `{origin.data_hash[:16]}`, split hash "
        f"`{origin.split_hash[:16]}`. No image of it is part of this folder.",
        "",
        "## Figures",
        "Calibration and thresholds were chosen on the validation set. Intervals: 95 %, bootstrap over groups.",
        "",
        *tables.measures(test),
        "",
        f'Always answering "normal" is right {measured.always_normal_accuracy:.1%} of the time. The expected '
        f"calibration error of a perfectly calibrated model of this size: median "
        f"{perfect['perfect_model_median']:.3f}, 95th percentile "
        f"{perfect['perfect_model_95th_percentile']:.3f}.",
        "",
        *tables.points(test),
        "",
        "## By region, view and other properties",
        "An image of several regions counts in each of them.",
        "",
        *tables.slices(shown),
        "",
        "## Shortcuts",
        "What guessing from one property of an image alone reaches on the test set, by the fracture rate of the other "
        "parts. The rows above show the model within one region, and without hardware.",
        "",
        "| property | AUROC |",
        "| --- | --- |",
        *[f"| {column} | {value:.3f} |" for column, value in shortcuts(data.table).items()],
        f"| this model | {auroc.value:.3f} |",
        "",
        "## Known failures",
        f"The up to {_FAILURES} most certain errors of either kind on the test set: image id, probability given.",
        "",
        f"- missed: {_failures(predictions, manifest, missed=True)}",
        f"- false alarms: {_failures(predictions, manifest, missed=False)}",
        "",
        *_unanswered(refused(opened, data), predictions, manifest),
        "",
        "## Make it again",
        "`params.yaml` of this folder in the place of the project's, the data filled as "
        f"[docs/data.md](../../docs/data.md) says, {_starting(options.train.weights, remarks.start)}and",
        "",
        f"    dvc repro && fracture promote && fracture release {name}",
        "",
        f"Seed {options.train.seed}, {options.train.epochs} epochs, batches of {options.train.batch_size}. Run "
        f"`{origin.run_id}`, version {origin.registry_version} of {origin.registered_model}, git commit "
        f"`{origin.git_commit}`{_DIRTY if origin.git_commit.endswith('-dirty') else ''}. The same seed gives the same "
        "weights on the same processor and versions only; elsewhere expect figures within the intervals. "
        "`training.json` names the run that trained, which is another where evaluation was repeated elsewhere.",
        "",
        "## Train on from it",
        "`train.weights: release` in `params.yaml`, with `architecture`, `architecture_options` and `head` as here, "
        "for images that it has not seen: a test set that holds some of its training or validation images is refused.",
    ]
    return "\n".join(lines) + "\n"


def _counts(folder: Path) -> str:
    split = pd.read_csv(folder / "split.csv", keep_default_na=False)
    found = [f"{len(rows)} {part} images in {rows['group'].nunique()} groups" for part, rows in split.groupby("part")]
    return ", ".join(found)


def _good_for(slices: Path, column: str) -> str:
    found = [shown.value for shown in subgroups.read(slices) if shown.good and shown.column == column]
    return ", ".join(found) or "(none alone)"


def _groups(table: pd.DataFrame) -> str:
    """What a group is made of: the caveat of every figure."""
    named = "patient_id" in table.columns and (table["patient_id"] != "").any()
    if named:
        return "No patient and no near duplicate is in two parts."
    return (
        "The data name no patients: groups are of near duplicates only, images of one patient may be in several parts, "
        "and every figure may be better than on new patients."
    )


def _unanswered(ids: Sequence[str], predictions: pd.DataFrame, manifest: Manifest) -> list[str]:
    """What the guard costs: the figures above are the network's, which was asked about every image."""
    test = predictions[predictions["part"] == "test"]
    fractured = test["label"] != manifest.classes[0]
    left_out = test["image_id"].isin(ids)
    of_fractured, of_normal = int((left_out & fractured).sum()), int((left_out & ~fractured).sum())
    if not len(ids):
        return ["The guard answers every image of the test set."]
    points = (("high sensitivity", manifest.operating_points["high_sensitivity"]), ("0.5", manifest.threshold))
    found = ", ".join(
        f"{(test['probability'][fractured & ~left_out] >= point).sum() / fractured.sum():.3f} at {name}"
        for name, point in points
    )
    return [
        f"The guard takes {len(ids)} test images for no radiographs and gives no answer, {of_fractured} of the "
        f"{int(fractured.sum())} fractured and {of_normal} of the {int((~fractured).sum())} normal ones; the figures "
        f"above count them as the network answers them. Counted as not found, the sensitivity is {found}. They are "
        f"{', '.join(ids)}."
    ]


_DIRTY = " (dirty: params.yaml and data.dvc differed from it; both are described here)"


def _starting(weights: str, sha256: str) -> str:
    """What to do about starting weights that were a file."""
    if not sha256:
        return ""
    return (
        f"the starting weights beside it as `{Path(weights).name}` (SHA-256 `{sha256}`; or `train.weights: imagenet`, "
        "which downloads those of Keras) "
    )


def _failures(predictions: pd.DataFrame, manifest: Manifest, *, missed: bool) -> str:
    test = predictions[predictions["part"] == "test"]
    wrong = ((test["label"] != manifest.classes[0]) == missed) & ((test["probability"] < manifest.threshold) == missed)
    chosen = test[wrong].sort_values("probability", ascending=missed).head(_FAILURES)
    return ", ".join(f"{row.image_id} ({row.probability:.2f})" for row in chosen.itertuples()) or "none"
