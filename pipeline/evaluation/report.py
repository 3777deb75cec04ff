"""Metrics on the untouched test set, and the reference for later comparisons.

Everything that is chosen (calibration, operating points) is chosen on the validation set.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.quiet import quiet_import

with quiet_import():
    import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.artifacts import Artifacts, TrainingRecord
from pipeline.data import cells
from pipeline.data.prepared import Prepared, slices_of
from pipeline.evaluation import metrics, operating_points, plots
from pipeline.evaluation.head_training import fit_heads, input_metrics
from pipeline.evaluation.metrics import Array, Labels, number, wilson, with_interval
from pipeline.evaluation.model_outputs import Outputs, run_model
from pipeline.evaluation.records import Hashes, ImageCounts, Metrics, MetricSet
from pipeline.evaluation.saliency import explained
from pipeline.files import atomic_file, atomic_folder, write_text
from pipeline.params import EvaluateParams
from serving import saliency
from serving.decision import Decision
from serving.image_heads import ImageHeads
from serving.imaging.canonical.form import NO_HEADS, Heads
from serving.imaging.canvas import Letterbox, Pixels
from serving.statistics import Reference, fingerprint, input_statistics, reference_of

_SMALLEST_SLICE = 10
_OF_VALIDATION = (
    "auroc",
    "average_precision",
    "sensitivity_at_specificity_0.90",
    "specificity_at_sensitivity_0.95",
    "peak_in_box",
)
"""What models may be compared by: calibration and thresholds were fitted to the validation set."""


def measure(
    y: Labels, p: Array, groups: npt.NDArray[Any], decision: Decision, options: EvaluateParams
) -> dict[str, Any]:
    """Every measure with its 95 % interval by bootstrap over groups: {name: {value, low, high}}, nested."""
    ones = np.ones((1, len(y)))
    weights = metrics.bootstrap_weights(groups, options.bootstrap, options.seed)

    def both(measured: Any) -> dict[str, Any]:
        value, spread = measured(ones), measured(weights)
        if isinstance(value, dict):
            return {name: with_interval(value[name], spread[name]) for name in value}
        return with_interval(value, spread)

    result = {name: both(lambda w, m=function: m(y, p, w)) for name, function in metrics.MEASURES.items()}
    for specificity in (0.90, 0.95):
        result[f"sensitivity_at_specificity_{specificity:.2f}"] = both(
            lambda w, s=specificity: metrics.sensitivity_at_specificity(y, p, w, s)
        )
    for sensitivity in (0.90, 0.95):
        result[f"specificity_at_sensitivity_{sensitivity:.2f}"] = both(
            lambda w, s=sensitivity: metrics.specificity_at_sensitivity(y, p, w, s)
        )
    for name, threshold in (
        ("threshold", decision.threshold),
        ("high_sensitivity", decision.high_sensitivity),
        ("high_specificity", decision.high_specificity),
        ("best_accuracy", decision.best_accuracy),
    ):
        result[f"at_{name}"] = {
            "threshold": round(threshold, 6),
            **both(lambda w, t=threshold: metrics.at_threshold(y, p, w, t)),
        }
    return result


def slice_table(table: pd.DataFrame, y: Labels, p: Array, decision: Decision, options: EvaluateParams) -> pd.DataFrame:
    """AUROC, sensitivity and specificity with intervals for every value of every slice of the test set.

    A cell that holds several values (`hand;shoulder`) counts for each of them. `without hardware` and the like
    are the values "0" or "no". Slices of fewer than 10 images are left out.
    """
    rows = []
    for column in slices_of(table):
        values = sorted({value for cell in table[column] for value in cells.split(cell)})
        for value in values:
            chosen = table[column].map(lambda cell, v=value: v in cells.split(cell)).to_numpy()
            if chosen.sum() < _SMALLEST_SLICE:
                continue
            groups = table["group"].to_numpy()[chosen]
            found = _slice(y[chosen], p[chosen], groups, decision, options)
            name = value or "(unknown)"
            counts = {"images": int(chosen.sum()), "fractured": int(y[chosen].sum())}
            rows.append({"slice": column, "value": name, **counts, **found})
    return pd.DataFrame(rows)


def _slice(
    y: Labels, p: Array, groups: npt.NDArray[Any], decision: Decision, options: EvaluateParams
) -> dict[str, float | None]:
    weights = metrics.bootstrap_weights(groups, options.bootstrap, options.seed)
    ones = np.ones((1, len(y)))
    found = {"auroc": (metrics.auroc(y, p, ones), metrics.auroc(y, p, weights))}
    for point, threshold in (("threshold", decision.threshold), ("high_sensitivity", decision.high_sensitivity)):
        values, spreads = (metrics.at_threshold(y, p, w, threshold) for w in (ones, weights))
        for name in ("sensitivity", "specificity"):
            found[f"{name}_at_{point}"] = (values[name], spreads[name])
    flat: dict[str, float | None] = {}
    for name, (value, spread) in found.items():
        cell = with_interval(value, spread)
        flat |= {name: cell["value"], f"{name}_low": cell["low"], f"{name}_high": cell["high"]}
    return flat


def confusion(classes: tuple[str, ...], truth: Labels, probabilities: Array, threshold: float) -> pd.DataFrame:
    """Counts of truth (rows) against answer (columns): fractured from the threshold on, then the likeliest type."""
    fractured = 1 - probabilities[:, 0] >= threshold
    answer = np.where(fractured, 1 + probabilities[:, 1:].argmax(axis=1), 0)
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (truth, answer), 1)
    return pd.DataFrame(counts, index=list(classes), columns=list(classes))


def on_image(data: Prepared, row: int) -> tuple[Letterbox, Array]:
    """Place of an image and its fracture boxes (k, 4) as fractions of the image instead of the canvas."""
    place = data.place_of(row)
    corners = [(*place.to_image(x0, y0), *place.to_image(x1, y1)) for x0, y0, x1, y1 in data.boxes_of(row)]
    return place, np.array(corners, np.float64).reshape(-1, 4)


def peak_hits(data: Prepared, outputs: Outputs, chosen: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Of the chosen images that have boxes: how many heatmap peaks lie in one of them, and how many images."""
    hits = total = 0
    for position in np.flatnonzero(chosen):
        place, truth = on_image(data, int(outputs.rows[position]))
        if not len(truth):
            continue
        total += 1
        peak = saliency.peak(saliency.evidence(outputs.maps[position], place))
        if peak is not None:
            x, y = peak
            hits += bool(((truth[:, 0] <= x) & (x <= truth[:, 2]) & (truth[:, 1] <= y) & (y <= truth[:, 3])).any())
    return hits, total


def worst_errors(
    data: Prepared, test: Outputs, y: Labels, p: Array, *, threshold: float, count: int
) -> list[tuple[str, Pixels, Any, Any, str]]:
    """Gallery entries of the errors furthest beyond the threshold, missed fractures and false alarms in turn."""
    missed = [int(i) for i in np.argsort(p) if y[i] == 1 and p[i] < threshold]
    alarms = [int(i) for i in np.argsort(-p) if y[i] == 0 and p[i] >= threshold]
    entries = []
    for position in sorted([*missed[: (count + 1) // 2], *alarms[: count // 2]], key=lambda i: -abs(p[i] - y[i])):
        row = int(test.rows[position])
        place, truth = on_image(data, row)
        canvas = data.images[row]
        pixels = np.ascontiguousarray(
            canvas[place.top : place.top + place.height, place.left : place.left + place.width]
        )
        kind = "missed fracture" if y[position] else "false alarm"
        shown = saliency.evidence(test.maps[position], place)
        text = f"{kind}, probability {p[position]:.3f}"
        entries.append((str(data.table["image_id"].iloc[row]), pixels, shown, truth, text))
    return entries


def predictions_table(data: Prepared, decision: Decision, *outputs: Outputs) -> pd.DataFrame:
    """One row per image of the given parts: id, part, label, raw scores, calibrated probability of a fracture."""
    tables = []
    for output in outputs:
        table = data.table.iloc[output.rows][["image_id", "part", "label", "group"]].copy()
        for column in range(output.scores.shape[1]):
            table[f"score_{data.classes[-output.scores.shape[1] :][column]}"] = output.scores[:, column].round(6)
        table["probability"] = decision.fracture_probability(output.scores).round(6)
        tables.append(table)
    return pd.concat(tables)


def judge(
    data: Prepared, outputs: Outputs, decision: Decision, options: EvaluateParams
) -> tuple[Labels, Array, dict[str, Any]]:
    """Truth (n,), calibrated probabilities (n,) and every measure of one part, with the location of true positives."""
    y = (data.labels(outputs.rows) > 0).astype(np.int64)
    p = decision.fracture_probability(outputs.scores)
    values = measure(y, p, data.table["group"].to_numpy()[outputs.rows], decision, options)
    hits, boxed = peak_hits(data, outputs, (y == 1) & (p >= decision.threshold))
    values["peak_in_box"] = {**wilson(hits, boxed), "images": boxed}
    return y, p, values


@dataclass(frozen=True)
class Report:
    """Everything that evaluation finds out about a model; nothing of it is on disk yet."""

    metrics: Metrics
    decision: Decision
    reference: Reference
    image_heads: ImageHeads
    slices: pd.DataFrame
    """Metrics of the subgroups of the test set."""
    predictions: pd.DataFrame
    """One row per image of the validation and test sets."""
    curves: dict[str, pd.DataFrame]
    """The tables behind the plots (`plots.curve_tables`)."""
    confusion: pd.DataFrame
    """Counts of truth (rows) against answer (columns)."""
    errors: list[tuple[str, Pixels, Any, Any, str]]
    """The worst errors (`plots.gallery`)."""

    @property
    def summary(self) -> str:
        """One line for a person."""
        auroc = self.metrics.test.auroc
        sensitivity = self.metrics.test.point("at_high_sensitivity").sensitivity.value
        return (
            f"test AUROC {auroc.value} (95 % interval {auroc.low} to {auroc.high}), sensitivity at the "
            f"high-sensitivity point {sensitivity}"
        )

    def write(self, paths: Artifacts) -> None:
        """Write every output of the stage evaluate, each file whole or not at all."""
        self.metrics.write(paths.metrics)
        write_text(paths.slices, _csv(self.slices))
        write_text(paths.predictions, _csv(self.predictions))
        with atomic_folder(paths.plots) as folder:
            for name, table in {**self.curves, "confusion": _pairs(self.confusion)}.items():
                write_text(folder / f"{name}.csv", _csv(table))
            title = (
                f"{self.metrics.architecture}, {self.metrics.images.test} test images, {len(self.confusion)} classes"
            )
            plots.save_png(self.curves, self.confusion, title, folder)
        with atomic_folder(paths.gallery) as folder:
            plots.gallery(self.errors, folder)
        operating_points.write(paths.decision, self.decision)
        with atomic_file(paths.reference) as partial:
            self.reference.save(partial)
        with atomic_file(paths.image_heads) as partial:
            self.image_heads.save(partial)


def evaluate(
    data: Prepared,
    model: keras.Model,
    training: TrainingRecord,
    options: EvaluateParams,
    canonical_heads: Heads = NO_HEADS,
) -> Report:
    """Measure a model: choose calibration and operating points on the validation set, report on the test set.

    `canonical_heads` are those that the images were prepared with.
    """
    reasons = explained(model)
    outputs = {name: run_model(reasons, data, name) for name in ("train", "validation", "test")}
    validation, test = outputs["validation"], outputs["test"]
    decision = metrics.decide(validation.scores, data.labels(validation.rows), options)
    y, p, values = judge(data, test, decision, options)
    on_validation = judge(data, validation, decision, options)[2]
    simulated = metrics.simulated_calibration_error(p, options.bootstrap, options.seed)
    values["expected_calibration_error"]["perfect_model_median"] = number(float(np.median(simulated)))
    values["expected_calibration_error"]["perfect_model_95th_percentile"] = number(float(np.quantile(simulated, 0.95)))
    heads = fit_heads(data, reasons, outputs, options, canonical_heads)
    return Report(
        metrics=Metrics(
            test=MetricSet.model_validate(values),
            validation=MetricSet.model_validate({name: on_validation[name] for name in _OF_VALIDATION}),
            images=ImageCounts(test=len(y), fractured=int(y.sum()), validation=len(validation.rows)),
            always_normal_accuracy=number(1 - float(y.mean())),
            inputs=input_metrics(data, heads, test),
            hashes=Hashes(data=data.data_hash, split=data.split_hash, test=data.test_hash),
            architecture=training.architecture,
            weights_sha256=training.weights_sha256,
        ),
        decision=decision,
        reference=reference(data, outputs["train"], validation, decision),
        image_heads=heads,
        slices=slice_table(data.table.iloc[test.rows], y, p, decision, options),
        predictions=predictions_table(data, decision, validation, test),
        curves=plots.curve_tables(y, p),
        confusion=confusion(
            data.classes, data.labels(test.rows), decision.calibration.apply(test.scores), decision.threshold
        ),
        errors=worst_errors(data, test, y, p, threshold=decision.threshold, count=options.gallery),
    )


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    """A confusion matrix as one row of truth and answer per image, the form that DVC draws."""
    names = list(table.columns)
    rows = [(names[t], a) for t, row in enumerate(table.to_numpy()) for a in _repeat(names, row)]
    return pd.DataFrame(rows, columns=["truth", "answer"])


def _repeat(names: list[str], counts: npt.NDArray[np.int64]) -> list[str]:
    return [name for name, count in zip(names, counts, strict=True) for _ in range(count)]


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, lineterminator="\n"))


def reference(data: Prepared, train: Outputs, validation: Outputs, decision: Decision) -> Reference:
    """What the images of training looked like: what the bundle compares later images with."""
    both = np.concatenate([train.rows, validation.rows])
    return reference_of(
        inputs=np.stack([input_statistics(data.images[row]) for row in train.rows]),
        probabilities=decision.fracture_probability(validation.scores),
        features=train.features,
        textures=np.concatenate([train.textures, validation.textures]),
        groups=data.table["group"].to_numpy(str)[both],
        known=[fingerprint(data.images[row]) for row in both],
    )
