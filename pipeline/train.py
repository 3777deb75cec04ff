"""Stage train: fit the network, epoch by epoch, so that it can be killed at any time and goes on."""

import argparse
import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.quiet import quiet_import

with quiet_import():
    import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import psutil

from pipeline import params
from pipeline.artifacts import Artifacts, TrainingRecord
from pipeline.data import cells, prepared
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError, exit_with_line
from pipeline.files import atomic_folder, home_root, project_root, sha256_file, write_text
from pipeline.late import late
from pipeline.registry.mlflow import Mirror
from pipeline.training import architectures, distillation, disturbances, keys, leakage, out_of_fold, places, trained
from pipeline.training.batches import Batches, FollowEpoch
from pipeline.training.checkpoints import CheckpointStore, KeepCheckpoints, TrainingState
from pipeline.training.gaussian_targets import GaussianTargets, share_of_cells
from pipeline.training.localisation_targets import LocalisationTargets, Targets
from pipeline.training.params import Augmentation, TrainParams
from pipeline.training.phases import Phase, compile_for, phases, schedule
from pipeline.training.processes import Epochs, OneProcess, Processes, strategy
from pipeline.training.soft_targets import SoftTargets

if TYPE_CHECKING:
    from pipeline.training import cluster
else:
    cluster = late("pipeline.training.cluster")  # it needs the extra `ray`

KILLED = 143
_WATCH_SECONDS = 1.0
_SHELLS = frozenset({"sh", "bash", "dash", "zsh"})
_POSITIVE_WEIGHT = 10.0
"""Of places with a fracture in the loss of the localisation: they are about a hundredth of all."""


def class_weights(labels: npt.NDArray[np.int64], kind: str, classes: int) -> npt.NDArray[np.float32]:
    """Weight of each image, float32: 1, or so that every class weighs the same and the mean is 1."""
    if kind == "none":
        return np.ones(len(labels), np.float32)
    counts = np.bincount(labels, minlength=classes)
    return np.asarray((len(labels) / (classes * np.maximum(counts, 1)))[labels], np.float32)


def batches_of(
    data: Prepared, part: str, options: TrainParams, patch: int = 0, soft: SoftTargets | None = None
) -> Batches:
    """Shuffled and augmented for the training set, in order and as they are for any other.

    With `patch` they are windows of that size, as many with a fracture as without; those of other parts are always
    the same. `soft` is what teachers say of the training set, in the order of its rows.
    """
    rows = all_rows = data.rows(part)
    if patch:
        rows = _balanced(rows, data)
        soft = soft and soft.of(np.searchsorted(all_rows, rows))
    labels = data.labels(rows)
    weights = class_weights(labels, options.class_weights, len(data.classes))
    if part == "train":
        weights *= out_of_fold.trust(data, all_rows, options)[np.searchsorted(all_rows, rows)]
    augmentation = options.augmentation if part == "train" else Augmentation(flip=False) if patch else None
    located = options.head == "location"
    return Batches(
        data.images,
        rows,
        labels.astype(np.float32 if len(data.classes) == 2 else np.int64),
        batch_size=options.batch_size * (2 if patch else 1),
        seed=options.seed,
        augmentation=augmentation,
        weights=weights,
        locations=_locations(data, rows, options, patch) if located else None,
        patch=patch,
        places=data.places[rows] if augmentation and disturbances.wanted(augmentation) else None,
        soft=soft,
    )


def _balanced(rows: npt.NDArray[np.int64], data: Prepared) -> npt.NDArray[np.int64]:
    """Rows of normal images, and those of fractured ones with boxes again and again until they are as many."""
    labels = data.labels(rows)
    boxed = [int(row) for row in rows[labels > 0] if len(data.boxes_of(int(row)))]
    if not boxed:
        raise InputError("prepared/boxes.csv: no training image has a box; set train.patch_epochs to 0")
    normal = rows[labels == 0]
    return np.sort(np.concatenate([normal, np.resize(boxed, max(len(normal), len(boxed)))]))


def _locations(data: Prepared, rows: npt.NDArray[np.int64], options: TrainParams, patch: int) -> Targets:
    side = data.preprocessing.image_size
    grid = (patch or side) // architectures.LOCATION_STRIDE
    boxes, fractured = [data.boxes_of(int(row)) for row in rows], data.labels(rows) > 0
    if options.location_targets == "covered":
        return LocalisationTargets(boxes, fractured, grid, _POSITIVE_WEIGHT)
    of_training = [data.boxes_of(int(row)) for row in data.rows("train")]
    whole = side // architectures.LOCATION_STRIDE
    return GaussianTargets(boxes, fractured, grid, share_of_cells(of_training, side, side, whole))


class Report(keras.callbacks.Callback):
    """One line an epoch on the terminal, and the same figures to the mirror."""

    def __init__(self, epochs: int, mirror: Mirror) -> None:
        super().__init__()
        self._epochs, self._mirror, self._began = epochs, mirror, 0.0

    def on_epoch_begin(self, _epoch: int, _logs: Any = None) -> None:
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        print(f"epoch {epoch + 1}/{self._epochs}  {time.monotonic() - self._began:.0f} s  {shown}", flush=True)
        self._mirror.log_metrics(figures, epoch + 1)


class Sizes:
    """One network, built for each size of its input that training needs; the weights go along."""

    def __init__(self, options: TrainParams, classes: int) -> None:
        self._options, self._classes = options, classes
        self._built: dict[int, tuple[keras.Model, keras.Model]] = {}
        self._latest = 0

    def answering(self, size: int) -> keras.Model:
        """The network for images of a size, with the latest weights, as it is used after training."""
        self.trained(size)
        return architectures.plain(self._built[size][0], self._options, size, self._classes)

    def trained(self, size: int) -> keras.Model:
        """The same with every output that training looks at."""
        if size not in self._built:
            weights = "none" if self._built else None
            answering = architectures.build(self._options, size, self._classes, weights)
            logits = self._options.location_targets == "gaussian"
            self._built[size] = answering, architectures.located(answering, logits)
        if self._latest and size != self._latest:
            self._built[size][1].set_weights(self._built[self._latest][1].get_weights())
        self._latest = size
        return self._built[size][1]


def fit(
    data: Prepared,
    options: TrainParams,
    store: CheckpointStore,
    mirror_of: Any = Mirror,
    soft: SoftTargets | None = None,
) -> tuple[keras.Model, TrainingState]:
    """Train from the last checkpoint, or from the start, to the end; returns the best model and what was seen.

    `mirror_of(run_id)` gives the live copy in MLflow, `soft` is what teachers say of the training set. Raises
    InputError for parameters that do not fit.
    """
    alone = OneProcess(strategy())
    with alone.scope():
        sizes, state = fit_epochs(data, options, store, mirror_of=mirror_of, soft=soft, processes=alone)
        whole = data.preprocessing.image_size
        model = sizes.trained(whole)
        if options.average_epochs:
            state.best_epoch = state.epoch
            store.load_average(model, options.average_epochs)
        else:
            store.load_best(state, model)
        return sizes.answering(whole), state


def fit_epochs(
    data: Prepared,
    options: TrainParams,
    store: CheckpointStore,
    *,
    mirror_of: Any,
    soft: SoftTargets | None,
    processes: Processes,
) -> tuple[Sizes, TrainingState]:
    """What `fit` does but its end, which is to choose the weights; every one of `processes` calls it."""
    classes, whole = len(data.classes), data.preprocessing.image_size
    plan = phases(options)
    sizes = Sizes(options, classes)

    def prepare(state: TrainingState) -> keras.Model:
        phase = plan[state.phase]
        model = sizes.trained(phase.patch or whole)
        compile_for(model, phase, options, classes)
        return model

    state = store.restore(prepare)
    processes.agree(state.epoch)
    if state.epoch:
        print(f"going on after epoch {state.epoch} of {options.epochs}")
    mirror = mirror_of(state.run_id)
    state.run_id = mirror.run_id
    for number, phase in enumerate(plan):
        if number < state.phase or (number == state.phase and _finished(state, phase)):
            if number == state.phase and options.weight_average:
                model = sizes.trained(phase.patch or whole)
                model.optimizer.finalize_variable_values(model.trainable_variables)  # as at the end of `fit`
            continue
        if number > state.phase or state.epoch == 0:
            if plan[state.phase].patch != phase.patch:
                state.best_loss = float("inf")  # losses of patches and of whole images do not compare
            state.phase, state.counters = number, {}
            prepare(state)
        epochs = _epochs(phase, data, options, soft, state=state, store=store, mirror=mirror)
        processes.fit(sizes.trained(phase.patch or whole), epochs)
    return sizes, state


def _finished(state: TrainingState, phase: Phase) -> bool:
    """Whether the phase that `state` stands in has reached its last epoch or was stopped early."""
    return state.epoch >= phase.stop or bool(state.counters.get("EarlyStopping", {}).get("stopped_epoch", 0))


def _epochs(
    phase: Phase,
    data: Prepared,
    options: TrainParams,
    soft: SoftTargets | None,
    *,
    state: TrainingState,
    store: CheckpointStore,
    mirror: Mirror,
) -> Epochs:
    training = batches_of(data, "train", options, phase.patch, soft)
    validation = batches_of(data, "validation", options, phase.patch)
    averaging = [keras.callbacks.SwapEMAWeights()] if options.weight_average else []
    counting = schedule(options, phase)
    if options.early_stopping_patience:
        counting.append(keras.callbacks.EarlyStopping("val_loss", patience=options.early_stopping_patience))
    callbacks = [
        FollowEpoch(training),
        *averaging,
        *counting,
        Report(options.epochs, mirror),
        KeepCheckpoints(store, state, counting),
    ]
    return Epochs(training, validation, state.epoch, phase.stop, callbacks)


def history_table(state: TrainingState) -> pd.DataFrame:
    """The content of history.csv: a row an epoch; columns in one order, whether the training was stopped or not."""
    table = pd.DataFrame(state.history)
    return table[["epoch", *sorted(set(table.columns) - {"epoch"})]].astype({"epoch": int})


def watch_dvc() -> None:
    """End this process when the `dvc` that started it is gone: a trainer nobody waits for must not live on."""
    if "DVC_STAGE" not in os.environ:
        return
    ancestors = []
    found = False
    for process in psutil.Process().parents():
        ancestors.append(process)
        found = any("dvc" in Path(word).name for word in process.cmdline()[:4]) and process.name() not in _SHELLS
        if found:
            break
    if not found and all(process.pid == 1 or process.name() in _SHELLS for process in ancestors):
        os._exit(KILLED)  # it went while this process was still importing

    def watch() -> None:
        while all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in ancestors):
            time.sleep(_WATCH_SECONDS)
        os._exit(KILLED)

    threading.Thread(target=watch, daemon=True, name="watch-dvc").start()


def write_model(model: keras.Model, state: TrainingState, data: Prepared, options: TrainParams, folder: Path) -> None:
    """Write model.keras, without the optimizer's state, and training.json into `folder`."""
    keras.Model(model.input, model.output, name=model.name).save(folder / "model.keras")
    record = TrainingRecord(
        architecture=options.architecture,
        classes=data.classes,
        image_size=data.preprocessing.image_size,
        preprocessing=data.preprocessing.to_dict(),
        model_sha256=sha256_file(folder / "model.keras"),
        weights_sha256=architectures.weights_hash(model),
        parameters=model.count_params(),
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        data_hash=data.data_hash,
        split_hash=data.split_hash,
        test_hash=data.test_hash,
        dataset=data.dataset,
        regions=_seen(data, "region"),
        views=_seen(data, "view"),
        run_id=state.run_id,
    )
    record.write(folder / "training.json")


def _seen(data: Prepared, column: str) -> tuple[str, ...]:
    """The values of a column of split.csv in the training set; a cell may hold several."""
    if column not in data.table.columns:
        return ()
    seen = data.table.loc[data.table["part"] == "train", column]
    return tuple(sorted({value for cell in seen for value in cells.split(cell)} - {""}))


def train(
    data: Prepared,
    options: TrainParams,
    store: CheckpointStore,
    target: Path,
    history: Path,
    *,
    soft: SoftTargets | None = None,
) -> TrainingState:
    """Train and write build/model/ and the history; the checkpoints go when both are on disk."""
    model, state = fit(data, options, store, lambda run_id: _mirror(run_id, options), soft)
    write_text(history, history_table(state).to_csv(index=False, lineterminator="\n"))
    with atomic_folder(target) as folder:
        write_model(model, state, data, options, folder)
    store.finish()
    return state


def _mirror(run_id: str, options: TrainParams) -> Mirror:
    """The live copy in MLflow; a new run gets the parameters."""
    mirror = Mirror(run_id, name=options.architecture)
    if not run_id:
        mirror.log_params({f"train.{k}": v for k, v in options.model_dump(mode="json").items()})
    return mirror


def _on_cluster(data: Prepared, options: TrainParams, store: CheckpointStore, address: str) -> None:
    """Go through the epochs with the processes of a cluster; `train` then finds them done."""
    if len(data.rows("train")) < options.workers:
        raise InputError(f"params.yaml: train.workers: {options.workers} are more than there are training images")
    mirror = _mirror(store.run_id(), options)
    job = cluster.Job(project_root(), store.folder.resolve(), options, data.data_hash, data.split_hash, mirror.run_id)
    cluster.run(job, address, mirror)


def _begun_from(data: Prepared, options: TrainParams) -> str:
    """Hash of the file of the starting weights, or empty; other weights are another training.

    Raises InputError where a release may not be judged by these data (`leakage.require`).
    """
    if options.weights not in architectures.WORDS:
        return sha256_file(Path(options.weights)) if Path(options.weights).is_file() else ""
    if options.weights != architectures.RELEASE:
        return ""
    file = trained.newest_release(project_root())
    leakage.require(data, file.parent)
    return sha256_file(file)


def main(asked: str = "") -> None:
    """Read prepared/, write build/model/ and reports/history.csv; `asked` is the address of a cluster."""
    watch_dvc()
    paths = Artifacts()
    options = params.load(paths.params).train
    address = places.address_for(options, asked)
    data = prepared.load(paths.prepared)
    if len(set(data.labels(data.rows("train")))) < len(data.classes):
        raise InputError("prepared/split.csv: the training set lacks a class; add images or change preprocess")
    key = keys.key_of(
        keys.section_of(options),
        [
            data.data_hash,
            data.split_hash,
            json.dumps(data.preprocessing.to_dict()),
            _begun_from(data, options),
            distillation.fingerprint(data, options),
            out_of_fold.fingerprint(options),
        ],
        keys.modules_of_stage(project_root(), "train"),
    )
    store = CheckpointStore(home_root() / "checkpoints" / key, kept=options.average_epochs)
    with store.locked():
        soft = distillation.soft_targets(data, options, home_root() / "checkpoints") if options.distil else None
        if address:
            _on_cluster(data, options, store, address)
        state = train(data, options, store, paths.model, paths.history, soft=soft)
    print(f"trained {state.epoch} epochs; the best was {state.best_epoch} with validation loss {state.best_loss:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pipeline.train", description=main.__doc__)
    parser.add_argument("--address", default="", metavar="HOST:PORT", help="of a Ray cluster, with train.workers")
    exit_with_line(lambda: main(parser.parse_args().address))
