"""One trial: a network a validation fold, trained as stage train does it, and never the test set."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, chdir, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Artifacts
from pipeline.data import layout, prepared, split
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.evaluation import metrics
from pipeline.files import atomic_folder, locked, project_root
from pipeline.late import late
from pipeline.params import Params, PreprocessParams
from pipeline.training import trained
from pipeline.tuning.records import SearchFolder, TrialRecord, TrialReport
from pipeline.tuning.space import applied

if TYPE_CHECKING:
    from pipeline import preprocess, train
    from pipeline.training import architectures, checkpoints, leakage
else:
    architectures = late("pipeline.training.architectures")
    checkpoints = late("pipeline.training.checkpoints")
    leakage = late("pipeline.training.leakage")
    preprocess = late("pipeline.preprocess")
    train = late("pipeline.train")
tensorflow = late("tensorflow")

_BATCH = 32
_LOCK_SECONDS = 7200.0
"""Time that another process may take to prepare images, or one of a search which was killed to end."""
_EPOCH_AUROC = ("val_auroc", "val_probability_auroc")


@dataclass(frozen=True)
class Job:
    """What every trial of a search has in common; `root` and `folder` are seen by all nodes under these paths."""

    root: Path
    folder: SearchFolder
    options: Params
    folds: int
    """In how many the images that are not test are cut."""
    cpus: int = 1

    @property
    def whole(self) -> int:
        """Epochs of a trial that is never stopped."""
        return self.options.train.epochs * self.folds


def fold_of(data: Prepared, options: PreprocessParams, folds: int, fold: int) -> Prepared:
    """The data with one fold as the validation set and the others to train on; images of the test set are in no part.

    Folds are those that `preprocess.folds` and `preprocess.fold` give. InputError where a part lacks a class.
    """
    dealt = split.folds(data.table, data.table["part"], options.model_copy(update={"folds": folds, "fold": fold}))
    parts = np.where(dealt == "", "", np.where(dealt == str(fold), "validation", "train"))
    found = replace(data, table=data.table.assign(part=parts))
    for part in ("train", "validation"):
        if len(set(found.labels(found.rows(part)))) < len(data.classes):
            raise InputError(f"fold {fold} of {folds}: its {part} set lacks a class; ask for fewer folds with --folds")
    return found


def run(job: Job, number: int, report: Callable[[TrialReport], None]) -> None:
    """Run a trial from where its record ends, telling first what the record holds, and then each epoch and fold.

    Raises InputError for values that do not go with the data.
    """
    record = TrialRecord.read(job.folder.trial(number))
    for known in record.reports:
        report(known)
    if record.ended:
        return
    wanted = applied(job.options, record.values)
    options = wanted.train
    with chdir(job.root):  # train.weights may name a file there
        data = prepared_for(job, wanted.preprocess)
        aurocs = record.fold_aurocs
        for fold in range(len(aurocs), job.folds):
            part = fold_of(data, wanted.preprocess, job.folds, fold)
            if options.weights == architectures.RELEASE:
                leakage.require(part, trained.newest_release(project_root()).parent)
            best = max((known.score or 0.0 for known in record.reports), default=0.0)
            epochs = _Epochs(report, fold, options.epochs, float(np.mean(aurocs)) if aurocs else None, best)
            store = checkpoints.CheckpointStore(
                job.folder.checkpoints(number) / f"fold-{fold}", kept=options.average_epochs
            )
            with _patiently(store.locked):
                model, state = train.fit(part, options, store, lambda _run_id, epochs=epochs: epochs)
                aurocs.append(validation_auroc(model, part))
                report(
                    TrialReport(
                        progress=(fold + 1) * options.epochs,
                        fold=fold,
                        epoch=state.epoch,
                        score=float(np.mean(aurocs)),
                        fold_auroc=aurocs[-1],
                    )
                )
                store.finish()


def prepared_for(job: Job, options: PreprocessParams) -> Prepared:
    """The images of prepared/, prepared anew where a trial varies how; its parts are the same.

    Raises InputError where data/ is no longer what prepared/ was made of.
    """
    present = prepared.load(Artifacts(job.root).prepared)
    if options == job.options.preprocess:
        return present
    digest = hashlib.sha256(options.model_dump_json().encode()).hexdigest()[:16]
    folder = job.folder.prepared / digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _patiently(lambda: locked(folder.with_suffix(".lock"), "is being prepared")):
        if not folder.exists():
            paths = Artifacts(job.root)
            data, table = layout.read(paths.data), preprocess.read_image_table(paths.images)
            preprocess.check_image_table(paths.images, table, data)
            with atomic_folder(folder) as partial:
                preprocess.preprocess(data, table, options, partial)
    found = prepared.load(folder)
    if (found.data_hash, found.test_hash) != (present.data_hash, present.test_hash):
        raise InputError("data/ is not what prepared/ was made of; run `dvc repro preprocess` and begin again")
    return found


def validation_auroc(model: Any, data: Prepared) -> float:
    """AUROC of fractured against normal on the validation set."""
    rows = data.rows("validation")
    answers = [
        np.asarray(model.predict_on_batch(data.images[rows[start : start + _BATCH]][..., np.newaxis]), np.float64)
        for start in range(0, len(rows), _BATCH)
    ]
    scores = np.concatenate(answers)
    fractured = scores[:, 0] if scores.shape[1] == 1 else 1 - scores[:, 0]
    truth = (data.labels(rows) > 0).astype(np.int64)
    return round(float(metrics.auroc(truth, fractured, np.ones(len(rows)))), 6)


class _Epochs:
    """Stands where training expects its live copy in MLflow, and reports every epoch of a fold."""

    run_id = ""

    def __init__(
        self, report: Callable[[TrialReport], None], fold: int, epochs: int, before: float | None, best: float
    ) -> None:
        self._report, self._fold, self._epochs, self._before, self._best = report, fold, epochs, before, best

    def log_metrics(self, figures: Mapping[str, float], step: int) -> None:
        """Report one epoch; with several classes there is no AUROC, so the first fold has no score until its end."""
        score = self._before
        if score is None:
            found = next((figures[name] for name in _EPOCH_AUROC if name in figures), None)
            if found is not None:
                score = self._best = max(self._best, float(found))
        self._report(
            TrialReport(
                progress=self._fold * self._epochs + min(step, self._epochs - 1),
                fold=self._fold,
                epoch=step,
                score=score,
                figures={name: float(value) for name, value in figures.items() if np.isfinite(value)},
            )
        )


@contextmanager
def _patiently(lock: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Hold a lock that another process may have for a while."""
    until = time.monotonic() + _LOCK_SECONDS
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock())
                break
            except InputError as error:
                if time.monotonic() > until:
                    raise RuntimeError(str(error)) from None  # not the values' fault: the trial is tried again
            time.sleep(1)
        yield


def limit_tensorflow(cpus: int) -> None:
    """Let this process take no more threads than it was given CPUs, and no more of a GPU than it needs."""
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    tensorflow.config.threading.set_intra_op_parallelism_threads(cpus)
    tensorflow.config.threading.set_inter_op_parallelism_threads(cpus)
