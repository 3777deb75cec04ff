"""The card of a release: model_card.md.jinja filled with what was measured, under metadata that model hubs read."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from ruamel.yaml import YAML

from pipeline import params
from pipeline.data.prepared import Prepared, slices_of
from pipeline.evaluation import metrics, subgroups, tables
from pipeline.evaluation.records import Estimate, Metrics, Robustness
from serving import bundle
from serving.bundle import Bundle, Manifest
from serving.network import EMBEDDING, Network
from serving.statistics import texture

_TEMPLATE = "model_card.md.jinja"
_FAILURES = 12
"""Worst errors of either kind that the card names."""
_LICENCE = "apache-2.0"
"""Of what lies in models/, as of the whole project (LICENSE, NOTICE)."""


@dataclass(frozen=True)
class Remarks:
    """What the card says that no file of the release holds."""

    data: str
    """On the data, such as that they are a part of something; may be empty."""
    start: str
    """SHA-256 of the file of starting weights; empty when there was none."""


def card(name: str, folder: Path, data: Prepared, predictions: pd.DataFrame, remarks: Remarks) -> str:
    """MODEL_CARD.md: what the model is for and not for, its data, figures, failures, and how to make it again."""
    opened = bundle.read(folder / "bundle", unsigned=True)
    manifest = opened.manifest
    measured = Metrics.read(folder / "metrics.json")
    options = params.load(folder / "params.yaml")
    shown = folder / "slices.csv"
    changes = Robustness.read(folder / "robustness.json")
    given = manifest.trained_on
    sentences = (f"{given.name} {given.version}, {given.licence}", given.citation, remarks.data)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        autoescape=select_autoescape(),  # of HTML; this is Markdown
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(_TEMPLATE).render(
        front_matter=_yaml(front_matter(name, manifest, measured)),
        name=name,
        manifest=manifest,
        origin=manifest.origin,
        size=manifest.preprocessing["image_size"],
        measured=measured,
        auroc=tables.cell(measured.test.auroc),
        perfect=measured.test.estimate("expected_calibration_error").model_dump(),
        good={column: _good_for(shown, column) for column in ("region", "view")},
        data=" ".join(f"{sentence.strip().rstrip('.')}." for sentence in sentences if sentence.strip()),
        parts=_counts(folder),
        groups=_groups(data.table),
        measures="\n".join(tables.measures(measured.test)),
        points="\n".join(tables.points(measured.test)),
        slices="\n".join(tables.slices(shown)),
        shortcuts=shortcuts(data.table),
        changes=changes,
        robustness="\n".join(tables.robustness(changes.changes)),
        most_failures=_FAILURES,
        missed=_failures(predictions, manifest, missed=True),
        false_alarms=_failures(predictions, manifest, missed=False),
        unanswered=_unanswered(refused(opened, data), predictions, manifest),
        weights={"name": Path(options.train.weights).name, "sha256": remarks.start} if remarks.start else None,
        options=options,
        plan=manifest.quality.get("change_plan"),
        terms=opened.scope.terms,
    )


def front_matter(name: str, manifest: Manifest, measured: Metrics) -> dict[str, Any]:
    """The card's metadata as model hubs read it; metric types are their names, values are those of metrics.json.

    The form is that of the Hugging Face Hub (docs/hub/model-cards, `model-index`).
    """
    test, given = measured.test, manifest.trained_on
    at_threshold = test.point("at_threshold")
    found = [
        ("roc_auc", "AUROC", test.auroc),
        ("average_precision", "average precision", test.estimate("average_precision")),
        ("brier_score", "Brier score", test.estimate("brier")),
        ("accuracy", "accuracy at 0.5", at_threshold.accuracy),
        ("precision", "precision at 0.5", at_threshold.precision),
        ("recall", "sensitivity at 0.5", at_threshold.recall),
        ("specificity", "specificity at 0.5", at_threshold.specificity),
        ("f1", "F1 at 0.5", at_threshold.f1),
    ]
    data_set = {
        "type": given.name.lower().replace(" ", "-"),
        "name": f"{given.name} {given.version}",
        "split": "test",
        "revision": manifest.origin.data_hash,
    }
    figures = [_metric(kind, title, estimate) for kind, title, estimate in found if estimate.value is not None]
    result = {
        "task": {"type": "image-classification", "name": "Fracture or none, of one radiograph"},
        "dataset": data_set,
        "metrics": figures,
    }
    return {
        "license": _LICENCE,
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["radiography", "x-ray", "bone-fracture", "medical-imaging", "litert", manifest.architecture.lower()],
        "datasets": [given.name],
        "metrics": [figure["type"] for figure in figures],
        "model-index": [{"name": name, "results": [result]}],
    }


def _metric(kind: str, title: str, found: Estimate) -> dict[str, Any]:
    return {"type": kind, "name": f"{title} (95 % interval {found.low:.3f} to {found.high:.3f})", "value": found.value}


def _yaml(values: dict[str, Any]) -> str:
    yaml = YAML()
    yaml.width = 1000  # a value stays on its line
    text = io.StringIO()
    yaml.dump(values, text)
    return text.getvalue()


def shortcuts(table: pd.DataFrame) -> dict[str, float]:
    """Test AUROC of guessing from one column of split.csv alone, by its fracture rates outside the test set."""
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
    """Ids of the test images that the bundle's guard gives no answer to."""
    rows = data.rows("test")
    images = [np.asarray(data.images[row]) for row in rows]
    textures = np.array([texture(image) for image in images])
    head = opened.image_heads.guard
    if head is None:
        chosen = opened.reference.distance(textures) > opened.manifest.guard.limit
    else:
        network = Network(opened.network)
        chosen = head.log_odds(np.concatenate([network(image)[EMBEDDING] for image in images]), textures) < head.refuse
    return [str(data.table["image_id"].iloc[row]) for row in rows[chosen]]


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
        return "No patient is in two parts, nor is any near duplicate that the validation found."
    return (
        "The data name no patients: groups are of the near duplicates that the validation found, "
        "images of one patient may be in several parts, "
        "and every figure may be better than on new patients."
    )


def _unanswered(ids: Sequence[str], predictions: pd.DataFrame, manifest: Manifest) -> str:
    """What the guard costs: the figures above are the network's, which was asked about every image."""
    test = predictions[predictions["part"] == "test"]
    fractured = test["label"] != manifest.classes[0]
    left_out = test["image_id"].isin(ids)
    of_fractured, of_normal = int((left_out & fractured).sum()), int((left_out & ~fractured).sum())
    if not len(ids):
        return "The guard answers every image of the test set."
    points = (("high sensitivity", manifest.operating_points["high_sensitivity"]), ("0.5", manifest.threshold))
    found = ", ".join(
        f"{(test['probability'][fractured & ~left_out] >= point).sum() / fractured.sum():.3f} at {name}"
        for name, point in points
    )
    return (
        f"The guard takes {len(ids)} test images for no radiographs and gives no answer, {of_fractured} of the "
        f"{int(fractured.sum())} fractured and {of_normal} of the {int((~fractured).sum())} normal ones; the figures "
        "above count them as the network answers them. If they count as fractures that were not found, the sensitivity "
        f"is {found}. They are {', '.join(ids)}."
    )


def _failures(predictions: pd.DataFrame, manifest: Manifest, *, missed: bool) -> str:
    test = predictions[predictions["part"] == "test"]
    wrong = ((test["label"] != manifest.classes[0]) == missed) & ((test["probability"] < manifest.threshold) == missed)
    chosen = test[wrong].sort_values("probability", ascending=missed).head(_FAILURES)
    return ", ".join(f"{row.image_id} ({row.probability:.2f})" for row in chosen.itertuples()) or "none"
