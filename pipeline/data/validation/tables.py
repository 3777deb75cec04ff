"""The three tables that are judged: one row per image, per class, per feature that might give the label away."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import roc_auc_score

from pipeline.data import scan
from pipeline.data.families import large
from pipeline.data.families.features import Features, FeatureTable
from pipeline.data.families.search import related, with_few_keypoints
from pipeline.data.images import FolderImages, Images
from pipeline.data.layout import Dataset
from pipeline.data.pixel_cache import PixelWriter
from pipeline.data.validation.checks import UNLABELLED
from serving.errors import ImageError


def image_table(
    data: Dataset, correlation: float, writer: PixelWriter | None = None, images: Images | None = None
) -> pd.DataFrame:
    """One row per image on disk or in labels.csv: its label row, its scan, its groups and conflicts.

    Rows are sorted by file. `near_group` and `group` are the smallest image_id of the near-duplicate group and
    of everything that must stay in one part of a split (near duplicates, same patient, same study). `writer` takes the
    pixels, for preprocess; `images` reads the files in another way than from data/.
    """
    images = images or FolderImages(data, writer)
    labels = data.labels.copy()
    labels["listed"] = "yes"
    known = set(labels["file"])
    strays = [file for file in images.files() if file not in known]
    extra = pd.DataFrame({"image_id": strays, "file": strays})  # a path is never the image_id of a listed image
    table = pd.concat([labels, extra.assign(listed="no", label=UNLABELLED)]).fillna("")
    table = table.sort_values("file", kind="stable").reset_index(drop=True)
    scans, alike = _scanned(images, list(table["file"]), correlation)
    table = pd.concat([table, scans], axis=1)
    # A missing or unknown label contradicts no other.
    labels_known = table["label"].where(table["label"].isin(data.info.classes))
    return _with_conflicts(_with_groups(table, labels_known, alike), data)


def _scanned(images: Images, files: list[str], correlation: float) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """The scan of each file, and pairs, int64 (m, 2), that connect the members of each family."""
    if len(files) > large.LARGE:
        scans, thumbnails = images.scan(files, None)
        equal = scan.pairs_of_equal(scans["sha256"])
        return scans, large.related(thumbnails, correlation, lambda row: _features(images, files[row]), equal)
    features = FeatureTable(len(files))
    scans, thumbnails = images.scan(files, features)
    near = np.concatenate(
        [
            scan.near_duplicates(thumbnails, correlation),
            scan.turned_duplicates(thumbnails, with_few_keypoints(features), correlation),
            scan.pairs_of_equal(scans["sha256"]),
        ]
    )
    return scans, np.concatenate([near, related(features, near)])


def _features(images: Images, file: str) -> Features | None:
    try:
        return scan.features_of(images.read(file))
    except (OSError, ImageError):
        return None


def _with_groups(table: pd.DataFrame, labels: pd.Series, near: npt.NDArray[np.int64]) -> pd.DataFrame:
    count = len(table)
    kin = [near] + [scan.pairs_of_equal(table[key]) for key in ("patient_id", "study_id") if key in table.columns]
    table["near_group"] = _group_names(table["image_id"], scan.connected(count, near))
    table["group"] = _group_names(table["image_id"], scan.connected(count, np.concatenate(kin)))
    table["near_duplicate"] = _yes(table["near_group"].duplicated(keep=False))
    table["near_opposite"] = _yes(labels.groupby(table["near_group"]).transform("nunique") > 1)
    opposite = labels.groupby(table["sha256"]).transform("nunique") > 1
    table["identical_opposite"] = _yes(opposite & (table["sha256"] != ""))
    return table


def _group_names(image_ids: pd.Series, groups: npt.NDArray[np.int64]) -> pd.Series:
    return image_ids.groupby(groups).transform("min")


def _yes(condition: pd.Series) -> pd.Series:
    return condition.map({True: "yes", False: "no"})


def _with_conflicts(table: pd.DataFrame, data: Dataset) -> pd.DataFrame:
    """Add `boxes` (their number) and `conflict`: the source's own note, or a box on a normal image."""
    table["boxes"] = table["image_id"].map(data.boxes["image_id"].value_counts()).fillna(0).astype(int)
    note = table["note"] if "note" in table.columns else pd.Series("", index=table.index)
    boxed = (table["label"] == data.info.classes[0]) & (table["boxes"] > 0)
    table["conflict"] = note.where(note != "", boxed.map({True: "labelled normal, but has a box", False: ""}))
    return table


def class_table(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Number of images left for each class (columns: label, images, times_smaller than the largest)."""
    counts = table["label"].value_counts().reindex(list(classes), fill_value=0)
    ratio = counts.max() / counts.clip(lower=1)
    return pd.DataFrame(
        {"label": counts.index, "images": counts.to_numpy(), "times_smaller": ratio.round(3).to_numpy()}
    )


_MEASURED = ("width", "height", "bytes", "bit_depth", "orientation", "mean", "contrast", "colourfulness")
_DESCRIBED = ("format", "mode", "region", "view", "hardware", "laterality", "source")
# Names in a paragraph, which the formatter would write one a line.
_NO_FEATURE = {
    "image_id", "file", "label", "patient_id", "study_id", "note", "listed", "decoded", "error", "sha256", "boxes",
    "perceptual_hash", "near_group", "group", "near_duplicate", "near_opposite", "identical_opposite", "conflict",
}  # fmt: skip


def feature_table(table: pd.DataFrame, normal: str) -> pd.DataFrame:
    """How well each single feature tells normal from fractured (columns: feature, auroc, fracture_rate).

    A number is ranked, a category is replaced by the fracture rate of its value; `position` is the place in the
    order of ids. 0.5 is chance; the direction does not count. Columns that describe the fracture itself
    (`fracture_...`) are no features.
    """
    fractured = (table["label"] != normal).to_numpy(int)
    if len(np.unique(fractured)) < 2:
        return pd.DataFrame({"feature": [], "auroc": [], "fracture_rate": []})
    further = [c for c in table.columns if c not in {*_NO_FEATURE, *_MEASURED, *_DESCRIBED}]
    categories = [c for c in (*_DESCRIBED, *further) if c in table.columns and not c.startswith("fracture")]
    rows = [("position", np.arange(len(table), dtype=float), "")]
    rows += [(name, table[name].to_numpy(float), "") for name in _MEASURED]
    for name in categories:
        rates = pd.Series(fractured).groupby(table[name].to_numpy()).agg(["mean", "size"])
        told = "; ".join(f"{value or '(empty)'}: {r['mean']:.3f} of {r['size']:.0f}" for value, r in rates.iterrows())
        if 1 < len(rates) <= 50:
            rows.append((name, table[name].map(rates["mean"]).to_numpy(float), told))
    scored = [(name, roc_auc_score(fractured, np.nan_to_num(values)), told) for name, values, told in rows]
    features = [(name, round(max(auroc, 1 - auroc), 4), told) for name, auroc, told in scored]
    return pd.DataFrame(features, columns=["feature", "auroc", "fracture_rate"])
