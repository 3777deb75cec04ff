"""A search: which trials there are, what they come to, and where they stand. Ray is not needed to read this."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import params
from pipeline.artifacts import Artifacts
from pipeline.data import prepared
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.files import home_root, locked, sha256_file
from pipeline.params import Params
from pipeline.training import keys
from pipeline.tuning import params_text
from pipeline.tuning.experiments import Experiments
from pipeline.tuning.records import SearchFolder, TrialRecord, TrialReport
from pipeline.tuning.runs import SearchRuns
from pipeline.tuning.space import Space, Values
from pipeline.tuning.trial import Job, fold_of

FOLDS = 5
"""Where params.yaml asks for none."""
_SHARE_OF_GRACE = 3
_SHOWN_TRIALS = 10


@dataclass(frozen=True)
class Asked:
    """What a person asked for; `grace` 0 and `folds` 0 leave the choice to the search."""

    space: Space
    trials: int
    folds: int = 0
    grace: int = 0
    seed: int = 7
    cpus: int = 1


class Search:
    """A search in the project at `root`, begun or gone on with.

    Raises InputError for data or parameters that do not fit.
    """

    def __init__(self, root: Path, asked: Asked) -> None:
        paths = Artifacts(root)
        self.asked = asked
        self._text = paths.params.read_text(encoding="utf-8-sig")
        options = params.load(paths.params)
        data = prepared.load(paths.prepared)
        folds = asked.folds or options.preprocess.folds or FOLDS
        if options.train.distil:
            raise InputError("params.yaml: train.distil: teachers belong to the folds of one split; empty it to search")
        if options.train.contradicted_weight < 1:
            raise InputError("params.yaml: train.contradicted_weight: scores belong to the folds of one split; set 1")
        for fold in range(folds):
            fold_of(data, options.preprocess, folds, fold)
        self.grace = asked.grace or _default_grace(options)
        if self.grace > options.train.epochs:
            raise InputError(f"--grace {self.grace}: params.yaml gives a trial {options.train.epochs} epochs a fold")
        varied = {f"space.{key}": str(what) for key, what in sorted(asked.space.varied.items())}
        self.facts = {**varied, "folds": folds, "grace": self.grace, "seed": asked.seed}
        self.key = _key(root, options, data, self.facts)
        folder = SearchFolder(home_root(root) / "tuning" / self.key)
        self.job = Job(root, folder, options, folds, asked.cpus)
        self.values: list[Values] = [{}]
        for values in asked.space.trials(options, asked.seed):
            if len(self.values) > asked.trials:
                break
            self.values.append(values)
        if len(self.values) <= asked.trials:
            _remark(f"{asked.space.file} has {len(self.values) - 1} different combinations, which are all tried")

    @property
    def folder(self) -> SearchFolder:
        """Where its files are."""
        return self.job.folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from running this search meanwhile; InputError where another process does."""
        with locked(
            self.folder.folder.with_suffix(".lock"), "another process runs this search; wait for it or stop it"
        ):
            yield

    def params_of(self, record: TrialRecord) -> str:
        """The text of params.yaml with a trial's values."""
        return params_text.changed(self._text, record.values) if record.values else self._text

    def difference(self, record: TrialRecord) -> str:
        """What a trial changes in params.yaml, as a diff."""
        return params_text.difference(self._text, self.params_of(record))


def _default_grace(options: Params) -> int:
    """A third of the epochs, and more than the frozen ones, which say little about the rest."""
    frozen = options.train.frozen_epochs if options.train.weights != "none" else 0
    return min(max(-(-options.train.epochs // _SHARE_OF_GRACE), frozen + 1), options.train.epochs)


def _key(root: Path, options: Params, data: Prepared, facts: Mapping[str, Any]) -> str:
    """Name of the search: another one for other parameters, data, values to try or code, but not for more trials."""
    found = [data.data_hash, data.split_hash, repr(data.preprocessing.to_dict())]
    if (root / options.train.weights).is_file():
        found.append(sha256_file(root / options.train.weights))
    section = {"train": keys.section_of(options.train), "search": facts}
    return keys.key_of(section, found, keys.modules_of_stage(root, "train"))


class Ledger:
    """Keeps the records of the trials, their runs in MLflow and their DVC experiments up to date."""

    def __init__(self, search: Search, experiments: Experiments | None) -> None:
        self._search, self._experiments = search, experiments
        self.name = f"tune-{search.key[:6]}"
        self.records = [search.folder.begin(number, values) for number, values in enumerate(search.values)]
        self._runs = SearchRuns(search.folder, self.name, search.facts)
        for record in self.records:
            if record.ended:
                self._settle(record)

    @property
    def open(self) -> list[TrialRecord]:
        """Trials that have not ended."""
        return [record for record in self.records if not record.ended]

    def begin(self, number: int) -> None:
        """A trial begins, or goes on."""
        record = self.records[number]
        if not record.ended:
            self._runs.begin(record)
            record.write(self._search.folder.trial(number))

    def reported(self, number: int, report: TrialReport) -> None:
        """A trial reported; what it tells again after a restart is known."""
        record = self.records[number]
        if record.ended or (record.reports and report.progress <= record.progress):
            return
        record.reports.append(report)
        record.write(self._search.folder.trial(number))
        self._runs.log(record, report)

    def failed(self, number: int, message: str) -> None:
        """A trial's values do not work."""
        self.records[number].message = message
        self._end(number, "failed")

    def ended(self, number: int, stopped: bool) -> None:
        """A trial ended: at its last fold, or because the scheduler stopped it. Else it was cut off, and stays open."""
        record = self.records[number]
        if record.ended:
            return
        if record.progress >= self._search.job.whole:
            self._end(number, "complete")
        elif stopped:
            self._end(number, "stopped")

    def _end(self, number: int, state: Any) -> None:
        record = self.records[number]
        record.state = state
        record.write(self._search.folder.trial(number))
        shutil.rmtree(self._search.folder.checkpoints(number), ignore_errors=True)
        self._settle(record)
        _remark(self._line(record))

    def _settle(self, record: TrialRecord) -> None:
        """Complete what an ended trial has in MLflow and in DVC; both may have been out of reach when it ended."""
        self._runs.begin(record)
        self._runs.end(record)
        if self._experiments is not None and not record.experiment and record.state != "failed":
            name = f"{self.name}-{record.number:04d}"
            self._experiments.save(name, self._search.params_of(record), self._figures(record))
            record.experiment = name
        record.write(self._search.folder.trial(record.number))

    def _figures(self, record: TrialRecord) -> dict[str, Any]:
        """What `dvc exp show` says of a trial."""
        return {
            "tune_auroc": None if record.score is None else round(record.score, 4),
            "tune_folds": len(record.fold_aurocs),
            "tune_epochs": record.progress,
            "tune_stopped": record.state == "stopped",
            "tune_fold_aurocs": {str(fold): value for fold, value in enumerate(record.fold_aurocs)},
        }

    def _line(self, record: TrialRecord) -> str:
        what = {
            "complete": "complete",
            "stopped": f"stopped after {record.progress} of {self._search.job.whole} epochs",
            "failed": f"failed: {record.message}",
        }[record.state]
        score = "" if record.score is None or record.state == "failed" else f", AUROC {record.score:.4f}"
        return f"trial {record.number}: {what}{score}  ({shown(record)})"

    def best(self) -> TrialRecord | None:
        """The complete trial with the highest mean AUROC; of equal ones the first."""
        complete = [record for record in self.records if record.state == "complete"]
        return max(complete, key=lambda record: (record.score or 0.0, -record.number), default=None)

    def finish(self) -> str:
        """End the run of the search; what it came to, as text."""
        best = self.best()
        self._runs.finish(best.score if best else None)
        return "\n".join(self._report(best))

    def _report(self, best: TrialRecord | None) -> list[str]:
        lines = ["trial  folds  AUROC   values"]
        lines += [
            f"{record.number:5d}  {len(record.fold_aurocs):5d}  {_score(record)}  {shown(record)}"
            for record in sorted(self.records, key=_rank)[:_SHOWN_TRIALS]
        ]
        if best is None:
            return [*lines, "no trial reached its last fold; give it more --trials, or other values"]
        if best.number == 0:
            return [*lines, f"no trial is better than params.yaml as it is (AUROC {best.score:.4f})"]
        lines += [
            f"best: trial {best.number}, AUROC {best.score:.4f} over {len(best.fold_aurocs)} validation folds "
            f"({min(best.fold_aurocs):.4f} to {max(best.fold_aurocs):.4f})",
            self._against(best, self.records[0]),
            "the best of several is flattered by its choice; the test set was not used",
        ]
        if best.experiment:
            lines.append(f"take it over with `dvc exp apply {best.experiment}` or `git apply`; then run `dvc repro`")
        return [*lines, "", self._search.difference(best).rstrip("\n")]

    @staticmethod
    def _against(best: TrialRecord, present: TrialRecord) -> str:
        if present.state != "complete":
            return f"params.yaml as it is {present.state}: {present.message}"
        better = sum(one > other for one, other in zip(best.fold_aurocs, present.fold_aurocs, strict=True))
        folds = len(best.fold_aurocs)
        return f"params.yaml as it is: AUROC {present.score:.4f}; the best trial is better in {better} of {folds} folds"


def _rank(record: TrialRecord) -> tuple[int, float, int]:
    return -len(record.fold_aurocs), -(record.score or 0.0), record.number


def _score(record: TrialRecord) -> str:
    if record.state == "failed":
        return "failed"
    return "     -" if record.score is None else f"{record.score:.4f}"


def shown(record: TrialRecord) -> str:
    """A trial's values in a few words."""
    return ", ".join(f"{key.partition('.')[2]} {value}" for key, value in record.values.items()) or "params.yaml"


def experiments_of(root: Path) -> Experiments | None:
    """Where trials become DVC experiments; None, with a line, where they cannot."""
    try:
        return Experiments(root)
    except InputError as error:
        _remark(f"warning: {error}")
        return None


def _remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
