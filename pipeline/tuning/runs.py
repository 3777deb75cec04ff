"""Trials as runs in MLflow, below one run of the search: a best-effort mirror of the records on disk."""

from collections.abc import Mapping
from typing import Any

from pipeline.registry.mlflow import Mirror
from pipeline.tuning.records import SearchFolder, SearchRecord, TrialRecord, TrialReport


class SearchRuns:
    """The run of the search, and those of its trials. Where MLflow does not answer at first, there are none."""

    def __init__(self, folder: SearchFolder, name: str, facts: Mapping[str, Any]) -> None:
        known = SearchRecord.read(folder.search) if folder.search.exists() else SearchRecord()
        self._mirror = Mirror(known.run_id, name)
        self._name = name
        self._trials: dict[int, Mirror] = {}
        if self._mirror.run_id and not known.run_id:
            self._mirror.log_params(facts)
        SearchRecord(run_id=self._mirror.run_id).write(folder.search)

    def begin(self, record: TrialRecord) -> None:
        """Begin a trial's run, or go on with it; one that MLflow lacks gets what the record holds."""
        if not self._mirror.run_id or record.number in self._trials:
            return
        known = bool(record.run_id)
        if known and record.ended:
            return
        trial = Mirror(record.run_id, f"{self._name}-{record.number:04d}", self._mirror.run_id)
        self._trials[record.number], record.run_id = trial, trial.run_id
        if not known:
            trial.log_params(record.values)
            for report in record.reports:
                self.log(record, report)
            if record.ended:
                self.end(record)

    def log(self, record: TrialRecord, report: TrialReport) -> None:
        """Log one report of a trial."""
        trial = self._trials.get(record.number)
        if trial is None:
            return
        figures = dict(report.figures)
        if report.score is not None:
            figures["tune_auroc"] = report.score
        if report.fold_auroc is not None:
            figures["fold_auroc"] = report.fold_auroc
        trial.log_metrics(figures, report.progress)

    def end(self, record: TrialRecord) -> None:
        """End a trial's run."""
        trial = self._trials.pop(record.number, None)
        if trial is not None:
            trial.end(failed=record.state == "failed")

    def finish(self, best: float | None) -> None:
        """End the run of the search, with the best trial's AUROC."""
        if best is not None:
            self._mirror.log_metrics({"tune_auroc": best}, 0)
        self._mirror.end()
