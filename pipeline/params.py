"""params.yaml as typed, validated objects, one per stage; that of training stands in `pipeline.training.params`.

Each key has a line below it for its meaning and unit. Its range stands in its type (`gt` and `ge` are the lower end,
`lt` and `le` the upper one), its default behind the equals sign.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import InputError
from pipeline.sections import Fraction, Section, Seed
from pipeline.training.params import TrainParams
from serving.errors import one_line

Policy = Literal["fail", "exclude", "keep"]
Loss = Annotated[float, Field(ge=0, le=1)]
Correlation = Annotated[float, Field(gt=0, le=1)]


class Offenders(Section):
    """What happens to images with a fault; warnings default to `keep`, failures to `fail`.

    Byte-identical images with opposite labels are left out by default: one of the two labels is wrong and
    nothing in the pixels tells which. What cannot be used at all (missing, empty, undecodable, too large,
    unlabelled, of an unknown class) is left out of training under `keep` too; it merely stays in data/.
    """

    undecodable: Policy = "fail"
    """A file that cannot be decoded."""
    empty_file: Policy = "fail"
    """A file of 0 bytes."""
    missing_file: Policy = "fail"
    """A row of labels.csv without its file."""
    unlabelled_file: Policy = "fail"
    """A file in images/ without a row in labels.csv."""
    unknown_class: Policy = "fail"
    """A label that dataset.json does not name."""
    colour_photograph: Policy = "fail"
    """More than 10 grey levels of chroma: no radiograph."""
    blank: Policy = "fail"
    """A standard deviation below 2 grey levels: nothing to see."""
    too_many_pixels: Policy = "fail"
    """More than 89,478,485 pixels, a decompression bomb."""
    identical_opposite: Policy = "exclude"
    """The same bytes as an image of another class; one of the two labels is wrong."""
    truncated: Policy = "keep"
    """A file that is cut short, but can be decoded as far as it goes."""
    near_duplicate: Policy = "keep"
    """A likeness of another image; of the images that `exclude` would leave out, one stays."""
    near_opposite: Policy = "keep"
    """A likeness of an image of another class."""
    conflicting_metadata: Policy = "keep"
    """A note of the source about a contradiction, or a box on a normal image."""


class ValidateParams(Section):
    """Stage validate: the limits of the checks and what happens to offenders."""

    min_per_class: Annotated[int, Field(ge=2)] = 10
    """Images; a class with fewer stops the pipeline."""
    near_duplicate_correlation: Correlation = 0.995
    """Correlation of 16 x 16 thumbnails above which two images are one group.

    So are copies that are turned, mirrored, cropped or written again, whatever this is (`pipeline.data.families`).
    """
    shortcut_auroc: Annotated[float, Field(gt=0.5, le=1)] = 0.65
    """AUROC; warn when one feature of the file alone tells the classes apart this well."""
    imbalance_ratio: Annotated[float, Field(gt=1)] = 10
    """Images of the largest class over those of another, above which a warning is given."""
    offenders: Offenders = Offenders()
    """What happens to an image with a fault."""


class CanonicalParams(Section):
    """Steps that bring a picture into its canonical form before it is letterboxed; each works by itself."""

    field: bool = False
    """Find uniform frames and collimator borders, and leave them out."""
    range: bool = False
    """Grey levels from robust percentiles inside the field instead of from the darkest and the brightest pixel."""
    polarity: bool = False
    """Recognise an inverted picture and turn it, so that bone is white."""
    orientation: bool = False
    """Recognise a picture turned by 90, 180 or 270 degrees and turn it back."""


class PreprocessParams(Section):
    """Stage preprocess: how pixels are prepared and images split.

    With `folds` = 0 the validation set is `validation_fraction` of what is not test; with `folds` = k >= 2
    what is not test is cut into k folds by group and fold number `fold` is the validation set.
    """

    image_size: Annotated[int, Field(ge=32, le=2048)] = 224
    """Pixels; side of the square that an image is letterboxed into."""
    denoise: Literal["none", "median", "bilateral", "adaptive"] = "none"
    """Filter against noise: median of 3 x 3 pixels, bilateral of 5 x 5 (20 grey levels, 5 pixels), or adaptive, which
    smooths noisy images alone (serving/imaging/noise.py)."""
    clahe: bool = False
    """Contrast-limited adaptive histogram equalisation, in 8 x 8 tiles with clip limit 2."""
    canonical: CanonicalParams = CanonicalParams()
    """Steps that make a radiograph what a radiographer would hang."""
    test_fraction: Fraction = 0.2
    """Share of all images, by group, for the test set."""
    validation_fraction: Fraction = 0.2
    """Share of what is not in the test set, by group, for the validation set; unused with `folds`."""
    seed: Seed = 7
    """Seed of the split."""
    folds: Annotated[int, Field(ge=0, le=50)] = 0
    """Folds that what is not in the test set is cut into; 0 for one validation set, 1 is refused."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Number of the fold that is the validation set, from 0 to folds - 1."""
    fold_share: Annotated[float, Field(gt=0, le=1)] = 1
    """Share of that fold, by group, that is the validation set; the rest of it joins the training set."""
    holdout_column: str = ""
    """Column of labels.csv, such as region, that chooses the test set; empty for a random one."""
    holdout_value: str = ""
    """The test set is every image with this value in `holdout_column`."""
    test_set: str = ""
    """A split.csv; its images of part test are the test set, and their groups' other images are in no part.

    A path from the project's root, such as that of a release's split.csv; it goes before a split that came with the
    data. DVC does not watch the file; prepared.json records its sha256. Empty for none.
    """

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds must be 0 (off) or at least 2")
        if self.fold >= max(self.folds, 1):
            raise ValueError(f"fold {self.fold} does not exist; with folds: {self.folds} it is below {self.folds or 1}")
        if self.fold_share < 1 and not self.folds:
            raise ValueError("fold_share is a share of a fold: set folds, or leave it at 1")
        if bool(self.holdout_column) != bool(self.holdout_value):
            raise ValueError("holdout_column and holdout_value are given together or not at all")
        if self.test_set and self.holdout_column:
            raise ValueError("test_set and holdout_column exclude each other")
        return self


class EvaluateParams(Section):
    """Stage evaluate: thresholds, targets of the operating points, bootstrap and gallery."""

    threshold: Fraction = 0.5
    """Calibrated probability of a fracture from which the answer is fractured."""
    target_sensitivity: Fraction = 0.95
    """Sensitivity that the high-sensitivity operating point reaches on the validation set."""
    target_specificity: Fraction = 0.95
    """Specificity that the high-specificity operating point reaches on the validation set."""
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Resamples of the test set, by group, for the 95 % intervals."""
    guard_images: Annotated[int, Field(ge=0, le=20_000)] = 0
    """Radiographs under changes, and about as many drawings, that the guard is trained on; 0 for the one of distances.

    Without it, what is far in texture from every training image gets no answer; with it, what is no radiograph.
    """
    guard_pictures: str = ""
    """Folder with `train` and `choose`, further pictures that are no radiographs; empty for drawings alone."""
    gallery: Annotated[int, Field(ge=0, le=200)] = 16
    """Images; the worst errors that are shown with their saliency."""
    seed: Seed = 7
    """Seed of the resamples."""


class RegisterParams(Section):
    """Stage register: the registered model's name and the gates before the alias `challenger`."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "bone-fracture"
    """Name of the registered model in MLflow."""
    min_auroc: Annotated[float, Field(ge=0, le=1)] = 0.7
    """AUROC on the test set below which a version does not become challenger."""
    min_sensitivity: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Sensitivity at the high-sensitivity operating point below which it does not."""
    champion_margin: Annotated[float, Field(ge=0, le=1)] = 0.01
    """AUROC that a challenger may lie below the champion, both measured on the same test set."""


Part = Literal["test", "held_back", "shadow"]


class PromoteParams(Section):
    """`fracture promote`: what a challenger may lose against the champion on the same images.

    A margin is what the lower bound of the 95 % interval of the difference in AUROC may lie below 0.
    """

    test_margin: Annotated[float, Field(ge=0, le=1)] = 0.03
    """On the frozen test set."""
    held_back_margin: Annotated[float, Field(ge=0, le=1)] = 0.1
    """On each site's held-back confirmed images."""
    held_back_fewest: Annotated[int, Field(ge=1)] = 20
    """Fractured and normal images, each, below which a site's held-back images are shown and not judged."""
    shadow_agreement: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of the shadow's images that both have to answer alike; its interval's upper bound counts."""
    shadow_fewest: Annotated[int, Field(ge=1)] = 100
    """Images in the shadow below which they are shown and not judged."""
    required: list[Part] = Field(default_factory=list)
    """Comparisons without which nothing is promoted: test, held_back, shadow."""


class ChangePlanParams(Section):
    """What a release may change without a new assessment (docs/change-plan.md); `fracture release` compares."""

    assessed: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9.-]*)?$")] = ""
    """Release in models/ that was assessed, which new ones are compared with; empty for none."""
    max_auroc_loss: Loss = 0.01
    """AUROC that a release may lie below the assessed one, on the same test set; likewise the others."""
    max_sensitivity_loss: Loss = 0.02
    """Sensitivity at the high-sensitivity operating point."""
    max_specificity_loss: Loss = 0.05
    """Specificity at that point."""
    max_calibration_error: Loss = 0.06
    """Expected calibration error on the test set, whatever that of the assessed release was."""
    max_robustness_loss: Loss = 0.03
    """AUROC under each change of the benchmark of robustness."""
    max_more_refused: Loss = 0.02
    """Share of the images under each of these changes that get no answer besides those that got none before."""


class Params(Section):
    """The whole of params.yaml."""

    validate_: ValidateParams = Field(alias="validate", default=ValidateParams())
    """Whether the data set is fit to train on."""
    preprocess: PreprocessParams = PreprocessParams()
    """How pixels are prepared, and who is in which part."""
    train: TrainParams = TrainParams()
    """The network and its training."""
    evaluate: EvaluateParams = EvaluateParams()
    """What is chosen on the validation set and measured on the test set."""
    register_: RegisterParams = Field(alias="register", default=RegisterParams())
    """The registered model and its gates."""
    promote: PromoteParams = PromoteParams()
    """What champion and challenger have to show beside each other."""
    change_plan: ChangePlanParams = ChangePlanParams()
    """What a release may change without a new assessment."""


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
        raise InputError(f"{path}: is not valid YAML ({one_line(error)})") from None
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
