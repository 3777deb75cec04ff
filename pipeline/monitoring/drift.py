"""Compare the images that a model meets with those it was trained on."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from pipeline.errors import InputError
from pipeline.files import atomic_file
from pipeline.progress import progress_bar
from pipeline.quiet import quiet_import
from serving import scoring
from serving.bundle import Bundle
from serving.errors import ImageError
from serving.http.problems import REFUSED_BY_GUARD
from serving.imaging import decode
from serving.predictor import Prediction, Predictor
from serving.scoring import File
from serving.statistics import INPUT_MEANINGS, INPUTS, Reference, Shift, shift

Array = npt.NDArray[np.float64]

DISTANCE, PROBABILITY = "distance", "probability"
NAMES = (*INPUTS, DISTANCE, PROBABILITY)
"""The statistics that are compared."""
MEANINGS: Mapping[str, str] = {
    **INPUT_MEANINGS,
    DISTANCE: "distance of the texture from training",
    PROBABILITY: "calibrated probability of a fracture",
}
FEWEST = 50
"""Answers below which nothing is said."""
PLOTS = (".png", ".svg")
"""What the name of a plot ends with."""
_HEADER = 1 << 20
"""Bytes in which an image's header lies; a log may be larger than memory."""
_EXPECTED_REFUSALS = 0.01
"""Share of radiographs like those of training that the guard refuses (`pipeline.packaging.bundle.REJECTED_SHARE`)."""


@dataclass
class Seen:
    """What a log or a folder holds: values by statistic, refusals by code, and what was passed over."""

    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in NAMES})
    refused: Counter[str] = field(default_factory=Counter)
    known: int = 0
    other_models: int = 0
    unreadable: int = 0

    @property
    def images(self) -> int:
        """Images that got an answer."""
        return len(self.values[PROBABILITY])

    def add(self, inputs: Mapping[str, float], probability: float) -> None:
        """One answer; ValueError, and nothing is kept, where a value is not finite: one would spoil every mean."""
        found = {name: float(inputs[name]) for name in (*INPUTS, DISTANCE)} | {PROBABILITY: float(probability)}
        if not all(map(math.isfinite, found.values())):
            raise ValueError("a statistic is not finite")
        for name, value in found.items():
            self.values[name].append(value)


@dataclass(frozen=True)
class Report:
    """What moved."""

    shifts: Mapping[str, Shift]
    refused: Mapping[str, int]
    refused_by_guard: float
    guard_moved: bool
    known: int
    other_models: int
    unreadable: int

    @property
    def moved(self) -> list[str]:
        """Names of the statistics that moved, the farthest first; `refused` where the guard refuses too many."""
        found = sorted(
            (name for name in self.shifts if self.shifts[name].moved), key=lambda n: -self.shifts[n].distance
        )
        return [*found, "refused"] if self.guard_moved else found

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        shifts = {
            name: {**{k: round(v, 6) for k, v in asdict(found).items()}, "moved": found.moved}
            for name, found in self.shifts.items()
        }
        return {
            "moved": self.moved,
            "statistics": shifts,
            "refused": dict(self.refused),
            "refused_by_guard": round(self.refused_by_guard, 6),
            "images_of_training": self.known,
            "of_other_models": self.other_models,
            "unreadable_lines": self.unreadable,
        }


def read_log(lines: Iterable[str], opened: Bundle, name: str) -> Seen:
    """What the service logged of its answers and refusals; those of other models are counted and left out.

    Raises InputError when no line is one of this service.
    """
    seen = Seen()
    ours = 0
    for line in lines:
        if not line.lstrip().startswith("{"):
            continue  # what other programs write to the same place
        try:
            found = json.loads(line)
            event, model = found["event"], found["model"]["sha256"]
            if event not in {"prediction", "rejection"}:
                continue
            ours += 1
            if model != opened.sha256:
                seen.other_models += 1
            elif event == "rejection":
                seen.refused[str(found["code"])] += 1
            else:
                seen.add(found["inputs"], found["probability"])
        except (ValueError, KeyError, TypeError, OverflowError):
            seen.unreadable += 1
    if not ours:
        raise InputError(
            f"{name}: holds no line that the service logged; give its standard output, or a folder of images"
        )
    return seen


def read_file(path: Path, opened: Bundle) -> Seen:
    """What a log on disk holds, as `read_log`; InputError of its own for an image."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return read_log(file, opened, str(path))
    except InputError:
        if _is_image(path):
            raise InputError(f"{path}: is an image; give a folder of images, or a log of the service") from None
        raise


def _is_image(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEADER)
    try:
        decode.inspect(head)
    except ImageError as error:
        return error.code not in {"empty", "unsupported_format"}
    return True


def read_folder(folder: Path, opened: Bundle) -> Seen:
    """Pass a folder's images through the guard and the network, with progress; InputError when it holds none."""
    files = scoring.find([folder]).files
    if not files:
        raise InputError(f"{folder}: holds no image (JPEG, PNG, WebP, BMP, TIFF or DICOM); name another folder")
    predictor = Predictor(opened)
    with quiet_import():  # LiteRT announces its first interpreter
        predictor.warm_up()
    seen = Seen()

    def keep(_: File, found: Prediction) -> tuple[dict[str, float], float, bool]:
        return found.statistics(), found.probability, opened.reference.knows(found.canvas)

    with progress_bar("drift: looking at images", len(files)) as advance:
        for answer in scoring.score(predictor, files, keep):
            if answer.kept is not None:
                inputs, probability, known = answer.kept
                seen.add(inputs, probability)
                seen.known += known
            else:
                seen.refused[answer.error.code if answer.error else "internal"] += 1
            advance()
    return seen


def compare(seen: Seen, opened: Bundle, name: str) -> Report:
    """Compare what was seen with training; InputError for too few answers."""
    guarded = sum(count for code, count in seen.refused.items() if code in REFUSED_BY_GUARD)
    total = seen.images + guarded
    if total < FEWEST:
        raise InputError(
            f"{name}: holds {seen.images} answers of this model and {guarded} images refused as no radiographs; at "
            f"least {FEWEST} are needed to speak of drift{_left_out(seen)}"
        )
    share = guarded / total
    chance = 3 * math.sqrt(_EXPECTED_REFUSALS * (1 - _EXPECTED_REFUSALS) / total)
    shifts = {}
    if seen.images:
        expected = expectations(opened)
        behind = evidence(opened.reference)
        shifts = {key: shift(expected[key], behind[key], np.array(seen.values[key])) for key in NAMES}
    return Report(
        shifts=shifts,
        refused=dict(sorted(seen.refused.items())),
        refused_by_guard=share,
        guard_moved=share > 2 * _EXPECTED_REFUSALS + chance,
        known=seen.known,
        other_models=seen.other_models,
        unreadable=seen.unreadable,
    )


def _left_out(seen: Seen) -> str:
    reasons = []
    if seen.other_models:
        reasons.append(f"{seen.other_models} answers are of another model; name its bundle with --bundle")
    if seen.unreadable:
        reasons.append(f"{seen.unreadable} lines could not be read")
    return f" ({'; '.join(reasons)})" if reasons else ""


def expectations(opened: Bundle) -> dict[str, Array]:
    """Quantiles (101,) of training by statistic."""
    reference = opened.reference
    return {
        **dict(zip(INPUTS, reference.inputs, strict=True)),
        DISTANCE: reference.distances,
        PROBABILITY: reference.scores,
    }


def evidence(reference: Reference) -> dict[str, float]:
    """How many independent images of training stand behind each of these: groups, such as patients."""
    trained, scored = float(reference.trained), float(reference.scored)
    both = min(trained + scored, float(len(reference.known)))  # older bundles state the images of both as `trained`
    return {**dict.fromkeys(INPUTS, trained), DISTANCE: both, PROBABILITY: scored}


def text(report: Report) -> list[str]:
    """The report as lines for a person."""
    lines = [f"{'statistic':<12}  {'training':>9}  {'now':>9}  {'moved by':>8}  {'tolerated':>10}  {'outside':>7}"]
    for name, found in report.shifts.items():
        mark = f"  MOVED: {MEANINGS[name]}" if found.moved else ""
        lines.append(
            f"{name:<12}  {found.before:>9.3f}  {found.after:>9.3f}  {found.distance:>8.3f}  {found.limit:>10.3f}  "
            f"{found.outside:>7.1%}{mark}"
        )
    images = max((found.images for found in report.shifts.values()), default=0)
    refused = ", ".join(f"{count} {code}" for code, count in report.refused.items()) or "none"
    lines.append(
        f"{images} images answered; refused: {refused}; as no radiographs {report.refused_by_guard:.1%}, about "
        f"{_EXPECTED_REFUSALS:.0%} expected{'  MOVED' if report.guard_moved else ''}"
    )
    if report.known:
        lines.append(f"{report.known} images are ones that the model was trained on or chosen with")
    if report.other_models:
        lines.append(f"{report.other_models} lines are of other models and were left out")
    if report.unreadable:
        lines.append(f"{report.unreadable} lines could not be read")
    lines.append(f"moved: {', '.join(report.moved)}" if report.moved else "nothing moved")
    if PROBABILITY in report.moved:
        lines.append("probabilities move with the share of fractures too: recalibrate on labelled images of this site")
    return lines


def check_plot(target: Path) -> None:
    """Raise InputError for a name that `save_plot` does not write."""
    if target.is_dir():
        raise InputError(f"--plot {target}: is a folder; name a file in it, such as {target / 'drift.png'}")
    if target.suffix.lower() not in PLOTS:
        raise InputError(f"--plot {target}: ends with neither {' nor '.join(PLOTS)}; give the file one of these")


def save_plot(seen: Seen, report: Report, opened: Bundle, target: Path) -> None:
    """Distribution functions of training and of now, one panel a statistic, as a PNG or an SVG by the file's name."""
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(11, 5.4), layout="constrained")
        share = np.linspace(0, 1, 101)
        for axes, name in zip(_flat(figure.subplots(2, 4)), report.shifts, strict=False):
            found = report.shifts[name]
            axes.plot(expectations(opened)[name], share, color="#7a8794", label="training")
            values = np.sort(np.array(seen.values[name]))
            colour = "#b3261e" if found.moved else "#00677f"
            axes.plot(values, np.arange(1, len(values) + 1) / len(values), color=colour, label="now")
            axes.set_title(f"{name}: {'moved by' if found.moved else 'differs by'} {found.distance:.2f}", color=colour)
            axes.set_xlabel(MEANINGS[name])
        figure.axes[0].set_ylabel("share of images up to this value")
        figure.axes[0].legend(frameon=False)
        with atomic_file(target) as partial:
            figure.savefig(partial, format=target.suffix.lower().removeprefix("."), dpi=110)


def _flat(axes: Any) -> Sequence[Any]:
    return list(np.asarray(axes).ravel())
