"""params.yaml as typed, validated objects, one per stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import InputError

Policy = Literal["fail", "exclude", "keep"]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Correlation = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Offenders(_Section):
    """What happens to images with a fault; warnings default to `keep`, failures to `fail`.

    Byte-identical images with opposite labels are left out by default: one of the two labels is wrong and
    nothing in the pixels tells which. What cannot be used at all (missing, empty, undecodable, too large,
    unlabelled, of an unknown class) is left out of training under `keep` too; it merely stays in data/.
    """

    undecodable: Policy = "fail"
    empty_file: Policy = "fail"
    missing_file: Policy = "fail"
    unlabelled_file: Policy = "fail"
    unknown_class: Policy = "fail"
    colour_photograph: Policy = "fail"
    blank: Policy = "fail"
    too_many_pixels: Policy = "fail"
    identical_opposite: Policy = "exclude"
    truncated: Policy = "keep"
    near_duplicate: Policy = "keep"
    near_opposite: Policy = "keep"
    conflicting_metadata: Policy = "keep"


class ValidateParams(_Section):
    """Stage validate: the limits of the checks and what happens to offenders."""

    min_per_class: Annotated[int, Field(ge=2)] = 10
    near_duplicate_correlation: Correlation = 0.995
    shortcut_auroc: Annotated[float, Field(gt=0.5, le=1)] = 0.65
    imbalance_ratio: Annotated[float, Field(gt=1)] = 10
    offenders: Offenders = Offenders()


class PreprocessParams(_Section):
    """Stage preprocess: how pixels are prepared and images split.

    With `folds` = 0 the validation part is `validation_fraction` of what is not test; with `folds` = k >= 2
    what is not test is cut into k folds by group and fold number `fold` is the validation part.
    """

    image_size: Annotated[int, Field(ge=32, le=2048)] = 224
    denoise: Literal["none", "median", "bilateral"] = "none"
    clahe: bool = False
    test_fraction: Fraction = 0.2
    validation_fraction: Fraction = 0.2
    seed: Seed = 7
    folds: Annotated[int, Field(ge=0, le=50)] = 0
    fold: Annotated[int, Field(ge=0)] = 0
    holdout_column: str = ""
    holdout_value: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds must be 0 (off) or at least 2")
        if self.fold >= max(self.folds, 1):
            raise ValueError(f"fold {self.fold} does not exist; with folds: {self.folds} it is below {self.folds or 1}")
        if bool(self.holdout_column) != bool(self.holdout_value):
            raise ValueError("holdout_column and holdout_value are given together or not at all")
        return self


class Augmentation(_Section):
    """How far a training image is changed at random in each epoch; 0 or false switches a change off."""

    flip: bool = True
    rotation: Annotated[float, Field(ge=0, le=180)] = 0
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0
    zoom: Annotated[float, Field(ge=0, le=0.9)] = 0
    crop: Annotated[float, Field(ge=0, le=1)] = 0
    crop_zoom: Annotated[float, Field(ge=1, le=4)] = 2
    contrast: Annotated[float, Field(ge=0, le=0.9)] = 0
    noise: Annotated[float, Field(ge=0, le=64)] = 0


class TrainParams(_Section):
    """Stage train: architecture, optimisation and augmentation."""

    architecture: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")] = "cnn"
    architecture_options: dict[str, bool | int | float | str] = {}
    weights: Annotated[str, Field(min_length=1)] = "none"
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 12
    frozen_epochs: Annotated[int, Field(ge=0)] = 0
    trainable_from: str = ""
    batch_statistics: Literal["frozen", "adapted"] = "frozen"
    head: Literal["pooled", "location"] = "pooled"
    location_weight: Annotated[float, Field(ge=0, le=1000)] = 1
    patch_epochs: Annotated[int, Field(ge=0)] = 0
    patch_size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = 192
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    fine_tune_learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-4
    learning_rate_schedule: Literal["constant", "cosine", "plateau"] = "constant"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    class_weights: Literal["none", "balanced"] = "balanced"
    early_stopping_patience: Annotated[int, Field(ge=0)] = 5
    average_epochs: Annotated[int, Field(ge=0, le=100)] = 0
    seed: Seed = 7
    augmentation: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.frozen_epochs >= self.epochs:
            raise ValueError(f"frozen_epochs ({self.frozen_epochs}) must be fewer than epochs ({self.epochs})")
        if self.frozen_epochs + self.patch_epochs >= self.epochs:
            first = f"frozen_epochs ({self.frozen_epochs}) and patch_epochs ({self.patch_epochs})"
            raise ValueError(f"{first} together must be fewer than epochs ({self.epochs})")
        if self.patch_epochs and self.head != "location":
            raise ValueError("patch_epochs belong to head: location, which takes images of any size")
        if self.average_epochs > self.epochs - self.frozen_epochs - self.patch_epochs:
            raise ValueError(f"average_epochs ({self.average_epochs}) must not reach into frozen or patch epochs")
        if self.average_epochs and self.early_stopping_patience:
            raise ValueError("average_epochs takes the last epochs: set early_stopping_patience to 0")
        if self.architecture == "cnn" and (self.head != "pooled" or self.trainable_from):
            raise ValueError("head and trainable_from belong to a backbone of keras.applications, not to cnn")
        return self


class EvaluateParams(_Section):
    """Stage evaluate: thresholds, targets of the operating points, bootstrap and gallery."""

    threshold: Fraction = 0.5
    target_sensitivity: Fraction = 0.95
    target_specificity: Fraction = 0.95
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 1000
    gallery: Annotated[int, Field(ge=0, le=200)] = 16
    seed: Seed = 7


class RegisterParams(_Section):
    """Stage register: the registered model's name and the gates before the alias `challenger`."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "bone-fracture"
    min_auroc: Annotated[float, Field(ge=0, le=1)] = 0.7
    min_sensitivity: Annotated[float, Field(ge=0, le=1)] = 0.6
    champion_margin: Annotated[float, Field(ge=0, le=1)] = 0.01


class Params(_Section):
    """The whole of params.yaml."""

    validate_: ValidateParams = Field(alias="validate", default=ValidateParams())
    preprocess: PreprocessParams = PreprocessParams()
    train: TrainParams = TrainParams()
    evaluate: EvaluateParams = EvaluateParams()
    register_: RegisterParams = Field(alias="register", default=RegisterParams())


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises InputError naming the file and the key's path for an unknown key, a wrong type or a value out of
    range; every fault of the file stands in the one line.
    """
    try:
        raw = YAML(typ="safe").load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run the command in the project's root") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; a file with the parameters belongs there") from None
    except (ValueError, YAMLError) as error:  # ValueError: not UTF-8, or an impossible date or number
        raise InputError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, Mapping):
        raise InputError(f"{path}: must hold the sections validate, preprocess, train, evaluate and register")
    try:
        return Params.model_validate(dict(raw))
    except ValidationError as error:
        raise InputError(f"{path}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    return "; ".join(_fault(details) for details in error.errors())


def _fault(details: Any) -> str:
    where = ".".join(str(part) for part in details["loc"]) or "the file"
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "extra_forbidden":
        return f"{where}: unknown key; remove it or correct its spelling"
    if isinstance(details["input"], (str, int, float, bool)):
        return f"{where}: {message} (found {details['input']!r})"
    return f"{where}: {message}"
