"""Every file that passes between the stages: its path, once, and its content as a typed record.

The records of what evaluate measures stand in `pipeline.evaluation.records`.

A record reads and writes its own JSON file. Reading an old or damaged one raises InputError with one line: the file,
the field and the stage to repeat.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import InputError
from pipeline.files import read_json, write_json


@dataclass(frozen=True)
class Artifacts:
    """Paths of what the stages write, below the root of a project (by default the current folder)."""

    root: Path = Path()

    @property
    def data(self) -> Path:
        """The data set (`pipeline.data.layout`)."""
        return self.root / "data"

    @property
    def held_back(self) -> Path:
        """Confirmed images in the layout of `data` that judge models and are never trained on."""
        return self.root / "held_back"

    @property
    def feedback(self) -> Path:
        """What the last `fracture data feedback` did with each confirmed image, as Markdown."""
        return self.reports / "feedback.md"

    @property
    def promotion(self) -> Path:
        """Champion and challenger as `fracture promote` last compared them, as Markdown."""
        return self.reports / "promotion.md"

    @property
    def params(self) -> Path:
        """params.yaml."""
        return self.root / "params.yaml"

    @property
    def reports(self) -> Path:
        """What a person reads."""
        return self.root / "reports"

    @property
    def images(self) -> Path:
        """Validate: one row per file of data/, with what was measured and why it is excluded."""
        return self.reports / "images.csv"

    @property
    def data_docs(self) -> Path:
        """Validate: the pages of Great Expectations."""
        return self.reports / "data_docs"

    @property
    def validation(self) -> Path:
        """Validate: the verdict on the data set."""
        return self.reports / "validation.json"

    @property
    def prepared(self) -> Path:
        """Preprocess: the prepared data set (`pipeline.data.prepared`)."""
        return self.root / "prepared"

    @property
    def model(self) -> Path:
        """Train: the folder of `keras_model` and `training`."""
        return self.root / "build/model"

    @property
    def keras_model(self) -> Path:
        """Train: the network."""
        return self.model / "model.keras"

    @property
    def training(self) -> Path:
        """Train: `TrainingRecord`."""
        return self.model / "training.json"

    @property
    def history(self) -> Path:
        """Train: one row per epoch."""
        return self.reports / "history.csv"

    @property
    def decision(self) -> Path:
        """Evaluate: calibration and operating points (`serving.decision.Decision`)."""
        return self.root / "build/decision.json"

    @property
    def reference(self) -> Path:
        """Evaluate: statistics of the training images (`serving.statistics.Reference`)."""
        return self.root / "build/reference.npz"

    @property
    def image_heads(self) -> Path:
        """Evaluate: region head and guard (`serving.image_heads.ImageHeads`)."""
        return self.root / "build/image_heads.npz"

    @property
    def metrics(self) -> Path:
        """Evaluate: `Metrics`."""
        return self.reports / "metrics.json"

    @property
    def slices(self) -> Path:
        """Evaluate: metrics of the subgroups."""
        return self.reports / "slices.csv"

    @property
    def robustness(self) -> Path:
        """`python -m benchmarks.robustness`, for a release: `Robustness`."""
        return self.reports / "robustness.json"

    @property
    def predictions(self) -> Path:
        """Evaluate: one row per image of the validation and test sets."""
        return self.reports / "predictions.csv"

    @property
    def plots(self) -> Path:
        """Evaluate: curves as tables and pictures."""
        return self.reports / "plots"

    @property
    def gallery(self) -> Path:
        """Evaluate: the worst errors."""
        return self.reports / "gallery"

    @property
    def registration(self) -> Path:
        """Register: `Registration`."""
        return self.reports / "registration.json"

    @property
    def bundles(self) -> Path:
        """`fracture package`: one bundle per version."""
        return self.root / "build/bundle"

    @property
    def bentos(self) -> Path:
        """`fracture package`: one bento per version."""
        return self.root / "build/bento"

    @property
    def exports(self) -> Path:
        """`fracture export`: models as files for other systems."""
        return self.root / "build/export"

    @property
    def image_lists(self) -> Path:
        """`fracture image`: what each container image holds (CycloneDX)."""
        return self.root / "build/images"

    @property
    def bentoml_homes(self) -> Path:
        """`fracture serve`: what BentoML writes while it runs, by port."""
        return self.root / "build/bentoml"

    @property
    def pixel_cache(self) -> Path:
        """Validate leaves decoded pixels for preprocess here (`pipeline.data.pixel_cache`); not an output of DVC."""
        return self.root / ".cache/prepared"

    @property
    def blocks(self) -> Path:
        """What an engine has done of validate and preprocess while they run; not an output of DVC."""
        return self.root / ".cache/blocks"

    @property
    def releases(self) -> Path:
        """Released models, which git tracks."""
        return self.root / "models"


class Record(BaseModel):
    """The content of one JSON file. Fields that the file does not have are not written either."""

    model_config = ConfigDict(extra="allow", frozen=True)
    stage: ClassVar[str]
    """The stage that writes the file."""
    again: ClassVar[str] = ""
    """The command that makes the file again, where no stage does."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a file; InputError names the file, the field and the stage to repeat."""
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            # A field that may be of two kinds has the kind's name in its path.
            places = [str(place) for place in first["loc"] if place not in {"OperatingPoint", "Estimate"}]
            field = ".".join(places) or "the file"
            fault = "is missing" if first["type"] == "missing" else f"{first['msg'][:1].lower()}{first['msg'][1:]}"
            again = cls.again or f"dvc repro -f {cls.stage}"
            raise InputError(f"{path}: {field}: {fault}; make it again with `{again}`") from None

    def write(self, path: Path) -> None:
        """Write the file whole or not at all, the same bytes for the same content."""
        write_json(path, self.model_dump(mode="json", exclude_unset=True))


class DatasetRecord(BaseModel):
    """Which data set a model was trained on; `unknown` where nobody recorded it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str = "unknown"
    version: str = "unknown"
    source: str = "unknown"
    licence: str = "unknown"
    citation: str = "unknown"


class ValidationReport(Record):
    """reports/validation.json: what validation found."""

    stage: ClassVar[str] = "validate"
    images: int
    failures: list[str]
    warnings: list[str]
    dataset: dict[str, Any] = {}
    usable: int = 0
    classes: dict[str, int] = {}
    groups: int = 0
    near_duplicate_groups: int = 0
    near_duplicate_images: int = 0
    families: list[list[str]] = []
    """The files of some groups of near duplicates, the largest first."""
    offenders: dict[str, Any] = {}
    """By check: count, policy and files."""
    excluded: dict[str, str] = {}
    """By file: the check that excluded it."""
    conflicts: dict[str, str] = {}
    features: dict[str, float | None] = {}
    """AUROC of predicting a fracture from one feature of the files alone."""
    fracture_rates: dict[str, Any] = {}


class FixedTestSet(BaseModel):
    """The split.csv whose test set was taken over."""

    model_config = ConfigDict(frozen=True)
    file: str
    sha256: str
    missing: int
    """Images of its test set that the data do not hold."""
    left_out: int
    """Images that belong to the group of one of them, and so to no part."""


class PreparedRecord(Record):
    """prepared/prepared.json: describes the arrays beside it."""

    stage: ClassVar[str] = "preprocess"
    classes: tuple[str, ...]
    preprocessing: dict[str, Any]
    dataset: DatasetRecord
    data_hash: str
    split_hash: str
    test_hash: str
    test_set: FixedTestSet | None = None


class ImportedFrom(BaseModel):
    """The file of a model that was trained elsewhere."""

    model_config = ConfigDict(frozen=True)
    file: str
    sha256: str


class TrainingRecord(Record):
    """build/model/training.json: the facts of a training, beside the network that it wrote."""

    stage: ClassVar[str] = "train"
    architecture: str
    classes: tuple[str, ...]
    image_size: int
    """Pixels of a side."""
    preprocessing: dict[str, Any]
    model_sha256: str
    """Of model.keras."""
    weights_sha256: str
    """Of configuration and weights, whatever the file (`architectures.weights_hash`)."""
    parameters: int = 0
    epochs: int = 0
    best_epoch: int
    data_hash: str
    split_hash: str
    test_hash: str
    dataset: DatasetRecord
    regions: tuple[str, ...]
    """Values seen in the training set; likewise `views`."""
    views: tuple[str, ...]
    run_id: str
    """Of MLflow; empty where there was none."""
    imported_from: ImportedFrom | None = None


class Registration(Record):
    """reports/registration.json: the version that was made, or found to exist already."""

    stage: ClassVar[str] = "register"
    model: str
    version: str
    run_id: str
    new: bool
    gates: str
    comparison: str
    content_hash: str
