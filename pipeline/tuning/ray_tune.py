"""Trials on a Ray cluster, by Ray Tune: each in a process of its own, stopped by ASHA where others are better.

Nothing of Tune's own state is kept. A search that was killed gives its trials to a new Tune, each tells again what its
record holds, and goes on from its checkpoint; so the command can be repeated after any death, and for more trials.
"""

import os
import shutil
from collections.abc import Mapping
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from pipeline.archive import joining
from pipeline.errors import InputError
from pipeline.tuning import trial as trials
from pipeline.tuning.records import TrialReport
from pipeline.tuning.search import Ledger, Search
from serving.errors import one_line

_REDUCTION = 3
"""A third of the trials goes on at each rung (Li et al., MLSys 2020, take 4; 3 keeps more of few trials)."""
_DEATHS = 3
"""Processes that a trial may lose before it is left for the next run of the command."""
_NUMBER, _PROGRESS, _SCORE, _REPORT, _FAILED = "number", "progress", "auroc", "report", "failed"
_STATE = "ray"
"""Folder of a search for what Tune writes."""
_SWITCHES = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # its own files of results
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def run(search: Search, ledger: Ledger, address: str, gpus: float) -> None:
    """Run all trials that have not ended, on the cluster at `address` or one that is started here.

    InputError where the cluster cannot be joined, or trials did not end.
    """
    os.environ |= _SWITCHES
    state = search.folder.folder / _STATE
    shutil.rmtree(state, ignore_errors=True)  # of a run that was killed
    try:
        with joining.joined(address, 0):
            _check_resources(search.asked.cpus, gpus)
            _fit(search, ledger, gpus)
    finally:
        shutil.rmtree(state, ignore_errors=True)
    shutil.rmtree(search.folder.prepared, ignore_errors=True)


def _check_resources(cpus: int, gpus: float) -> None:
    """InputError for a trial that no node can run: it would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        raise InputError(f"no node has {cpus} CPUs and {gpus:g} GPUs for a trial; give it less with --cpus and --gpus")


def _fit(search: Search, ledger: Ledger, gpus: float) -> None:
    # What ended comes first, so that the rungs hold its scores before anything else is measured against them.
    told = [record.number for record in ledger.records if record.ended and record.reports and record.state != "failed"]
    numbers = [*told, *(record.number for record in ledger.open)]
    scheduler = _Halving(
        time_attr=_PROGRESS,
        metric=_SCORE,
        mode="max",
        max_t=search.job.whole,
        grace_period=search.grace,
        reduction_factor=_REDUCTION,
    )
    job = search.job

    def one(config: Mapping[str, Any]) -> None:
        _trial(job, int(config[_NUMBER]))

    tuner = tune.Tuner(
        tune.with_resources(one, {"cpu": search.asked.cpus, "gpu": gpus}),
        param_space={_NUMBER: tune.grid_search(numbers)},
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True),
        run_config=tune.RunConfig(
            name=_STATE,
            storage_path=str(search.folder.folder),
            callbacks=[_Keeper(ledger, scheduler)],
            failure_config=tune.FailureConfig(max_failures=_DEATHS),
            verbose=0,
        ),
    )
    found = tuner.fit()
    if ledger.open:
        why = one_line(found.errors[0], 200) if found.errors else "they were cut off"
        raise InputError(
            f"{len(ledger.open)} trials did not end ({why}); run the command again: it goes on where it was"
        )


def _trial(job: trials.Job, number: int) -> None:
    """What runs in a process of the cluster."""

    def report(found: TrialReport) -> None:
        told: dict[str, Any] = {_PROGRESS: found.progress, _REPORT: found.model_dump_json()}
        if found.score is not None:
            told[_SCORE] = found.score
        tune.report(told)

    try:
        trials.limit_tensorflow(job.cpus)
        trials.run(job, number, report)
    except InputError as error:
        tune.report({_FAILED: str(error)})


class _Halving(ASHAScheduler):
    """ASHA that lets trial 0 go on to its end, as all are compared with it, and remembers which trials it stopped.

    A trial may also end because the cluster goes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.stopped: set[str] = set()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision = str(super().on_trial_result(tune_controller, trial, result))
        if decision == TrialScheduler.STOP:
            if trial.config[_NUMBER] == 0:
                return str(TrialScheduler.CONTINUE)
            self.stopped.add(trial.trial_id)
        return decision


class _Keeper(tune.Callback):
    """Hands what Tune hears from the trials on to the ledger."""

    def __init__(self, ledger: Ledger, scheduler: _Halving) -> None:
        self._ledger, self._scheduler = ledger, scheduler

    def on_trial_start(self, *_: Any, trial: Any, **__: Any) -> None:
        self._ledger.begin(trial.config[_NUMBER])

    def on_trial_result(self, *_: Any, trial: Any, result: Mapping[str, Any], **__: Any) -> None:
        number = trial.config[_NUMBER]
        if _FAILED in result:
            self._ledger.failed(number, result[_FAILED])
        elif _REPORT in result:
            self._ledger.reported(number, TrialReport.model_validate_json(result[_REPORT]))

    def on_trial_complete(self, *_: Any, trial: Any, **__: Any) -> None:
        self._ledger.ended(trial.config[_NUMBER], trial.trial_id in self._scheduler.stopped)
