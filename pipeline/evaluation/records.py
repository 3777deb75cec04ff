"""What evaluate and the benchmark of robustness measure, as typed records: metrics.json and robustness.json."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, RootModel

from pipeline.artifacts import Record


class Estimate(BaseModel):
    """A metric with its 95 % interval; None where it is undefined."""

    model_config = ConfigDict(extra="allow", frozen=True)
    value: float | None
    low: float | None
    high: float | None


class OperatingPoint(BaseModel):
    """Metrics of the answer `probability >= threshold`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    threshold: float
    accuracy: Estimate
    precision: Estimate
    recall: Estimate
    sensitivity: Estimate
    specificity: Estimate
    f1: Estimate


class MetricSet(RootModel[dict[str, OperatingPoint | Estimate]]):
    """Metrics of one part of the data by name: `auroc`, ..., and operating points `at_threshold`, ..."""

    model_config = ConfigDict(frozen=True)

    def estimate(self, name: str) -> Estimate:
        """A single metric; KeyError where there is none of this name."""
        found = self.root[name]
        if not isinstance(found, Estimate):
            raise KeyError(name)
        return found

    def point(self, name: str) -> OperatingPoint:
        """An operating point; KeyError where there is none of this name."""
        found = self.root[name]
        if not isinstance(found, OperatingPoint):
            raise KeyError(name)
        return found

    def estimates(self) -> dict[str, Estimate]:
        """Every single metric."""
        return {name: found for name, found in self.root.items() if isinstance(found, Estimate)}

    @property
    def auroc(self) -> Estimate:
        """Area under the ROC curve."""
        return self.estimate("auroc")


class ImageCounts(BaseModel):
    """How many images were measured."""

    model_config = ConfigDict(frozen=True)
    test: int
    fractured: int
    """Of the test set."""
    validation: int


class Hashes(BaseModel):
    """What the metrics were measured on."""

    model_config = ConfigDict(frozen=True)
    data: str
    split: str
    test: str


class InputMetrics(BaseModel):
    """What region head and guard make of the test set; None where there is no such head."""

    model_config = ConfigDict(extra="allow", frozen=True)
    region_right: Estimate | None = None
    """Images whose likeliest region is one of theirs."""
    region_unknown: Estimate | None = None
    refused: Estimate | None = None
    """Images that the guard refuses; likewise `unusual`, those that get a warning or no answer."""
    unusual: Estimate | None = None


class Metrics(Record):
    """reports/metrics.json: metrics of the test set, and those of the validation set that models may be chosen by."""

    stage: ClassVar[str] = "evaluate"
    test: MetricSet
    validation: MetricSet = MetricSet({})
    images: ImageCounts
    always_normal_accuracy: float | None
    inputs: InputMetrics | None = None
    hashes: Hashes
    architecture: str
    weights_sha256: str

    def flat(self) -> dict[str, float]:
        """Defined metrics under names that MLflow takes: test_auroc, test_auroc_low, test_at_threshold_f1, ..."""
        plain = self.model_dump(mode="json", include={"test", "validation"})
        return {**_flatten("test", plain["test"]), **_flatten("validation", plain["validation"])}


class ChangeMetrics(BaseModel):
    """What one change does to the answers, paired with those for the same images unchanged; None where unanswered."""

    model_config = ConfigDict(frozen=True)
    change: str
    never_trained: bool
    """Whether no training uses it."""
    images: int
    refused: float
    """Share of the images."""
    warned: float
    """Share of the images that are answered with a warning."""
    auroc: float | None
    auroc_change: float | None
    auroc_change_low: float | None
    auroc_change_high: float | None
    sensitivity_at_high_sensitivity: float | None
    specificity_at_high_sensitivity: float | None
    sensitivity_at_high_specificity: float | None
    specificity_at_high_specificity: float | None
    probability_change: float | None


class Robustness(Record):
    """reports/robustness.json: a bundle's answers under every change of the benchmark."""

    again: ClassVar[str] = "python -m benchmarks.robustness data"
    weights_sha256: str
    """Of the model behind the bundle."""
    part: str
    images: int
    complete: bool
    """Whether every change of the benchmark was made."""
    changes: tuple[ChangeMetrics, ...]
    """The unchanged images first."""


def _flatten(prefix: str, value: Any) -> dict[str, float]:
    if isinstance(value, dict):
        parts = (_flatten(f"{prefix}_{key}" if key != "value" else prefix, item) for key, item in value.items())
        return {key: number for part in parts for key, number in part.items()}
    return {} if value is None else {prefix: float(value)}
