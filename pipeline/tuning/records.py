"""What a search leaves on disk, so that it goes on after it was killed.

tuning/<key>/search.json        the run of all trials in MLflow
tuning/<key>/trials/0003.json   values of a trial, what it reported, and how it ended
tuning/<key>/checkpoints/0003/  of the fold that it is training, as `dvc repro` keeps them
tuning/<key>/prepared/<hash>/   images as trials want them that vary how they are prepared
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import InputError
from pipeline.files import write_json


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    def write(self, path: Path) -> None:
        """Write the file whole or not at all."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file; InputError where it is damaged."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            what = error.errors()[0]["msg"]
            raise InputError(f"{path}: is damaged ({what}); remove it, and that trial begins anew") from None


class TrialReport(_Record):
    """What a trial says after an epoch, or at the end of a fold."""

    progress: int
    """Epochs done of all folds'; a fold that ends early counts as a whole one."""
    fold: int
    epoch: int
    score: float | None = None
    """AUROC on the validation folds: the mean of those that are done, or the best epoch's of the first one."""
    fold_auroc: float | None = None
    """AUROC of this fold, at its end."""
    figures: dict[str, float] = {}
    """Losses and metrics of the epoch."""


class TrialRecord(_Record):
    """One trial."""

    number: int
    """0 is params.yaml as it is."""
    values: dict[str, Any]
    state: Literal["open", "complete", "stopped", "failed"] = "open"
    message: str = ""
    """Why it failed."""
    reports: list[TrialReport] = []
    run_id: str = ""
    experiment: str = ""
    """Name of the DVC experiment; empty where there is none."""

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be done for it."""
        return self.state != "open"

    @property
    def progress(self) -> int:
        """Epochs done of all folds'."""
        return self.reports[-1].progress if self.reports else 0

    @property
    def fold_aurocs(self) -> list[float]:
        """AUROC of each fold that is done."""
        return [report.fold_auroc for report in self.reports if report.fold_auroc is not None]

    @property
    def score(self) -> float | None:
        """The latest score."""
        return next((report.score for report in reversed(self.reports) if report.score is not None), None)


class SearchRecord(_Record):
    """What all trials have in common."""

    run_id: str = ""


@dataclass(frozen=True)
class SearchFolder:
    """The files of one search."""

    folder: Path

    @property
    def search(self) -> Path:
        """`SearchRecord`."""
        return self.folder / "search.json"

    def trial(self, number: int) -> Path:
        """`TrialRecord`."""
        return self.folder / f"trials/{number:04d}.json"

    def checkpoints(self, number: int) -> Path:
        """Folder of the checkpoints of a trial."""
        return self.folder / f"checkpoints/{number:04d}"

    @property
    def prepared(self) -> Path:
        """Folder of images that were prepared otherwise than prepared/."""
        return self.folder / "prepared"

    def begin(self, number: int, values: Mapping[str, Any]) -> TrialRecord:
        """The record of a trial, made where there is none."""
        path = self.trial(number)
        if not path.exists():
            TrialRecord(number=number, values=dict(values)).write(path)
        return TrialRecord.read(path)
