"""What an interrupted training needs to go on: kept after every epoch, outside the outputs that DVC deletes.

checkpoints/<key>/epoch-0004/    arrays.npz (weights, seeds, optimizer), state.json (history, counters, hash)
checkpoints/<key>/best-0003.npz  weights of the best epoch so far; the same file as its arrays.npz, where it may be
checkpoints/<key>.lock           held by the one trainer of this key
"""

import math
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.errors import InputError
from pipeline.files import atomic_file, atomic_folder, locked, os_errors_name, read_json, sha256_file, write_json

KEPT_CHECKPOINTS = 2
KEPT_KEYS = 3
_COUNTERS = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")


@dataclass
class TrainingState:
    """Everything but the arrays: epochs done, one history row each, counters of the callbacks, the best epoch.

    `phase` counts the phases of a training (frozen, fine-tuned): the optimizer differs between them.
    """

    epoch: int = 0
    phase: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    counters: dict[str, dict[str, float]] = field(default_factory=dict)
    best_epoch: int = 0
    best_loss: float = float("inf")
    run_id: str = ""


class CheckpointStore:
    """The checkpoints of one training, `folder` being checkpoints/<key>; of the last two epochs, or `kept` ones."""

    def __init__(self, folder: Path, kept: int = 0) -> None:
        self.folder = folder
        self._kept = max(kept, KEPT_CHECKPOINTS)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this training's lock; InputError when another process trains it. Released when a process dies."""
        message = "another process is training exactly this; wait for it or stop it first"
        with locked(self.folder.with_suffix(".lock"), message):
            yield

    def save(self, state: TrainingState, model: keras.Model, is_best: bool = False) -> None:
        """Write a checkpoint whole, then remove all but the last ones.

        With `is_best` its weights are those of the best epoch so far too, and are written once.
        """
        target = self.folder / f"epoch-{state.epoch:04d}"
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_folder(target) as partial:
            _save_arrays(partial / "arrays.npz", _arrays(model))
            content = {**vars(state), "sha256": sha256_file(partial / "arrays.npz")}
            write_json(partial / "state.json", content)
            if is_best:
                _share(partial / "arrays.npz", self._best(state.epoch))
        for old in self._checkpoints()[: -self._kept]:
            shutil.rmtree(old, ignore_errors=True)
        self._remove_former_bests(state)

    def save_best(self, state: TrainingState, model: keras.Model) -> None:
        """Write the weights of the best epoch, where they are others than those to go on with."""
        _save_arrays(self._best(state.best_epoch), [np.asarray(v) for v in model.variables])

    def _remove_former_bests(self, state: TrainingState) -> None:
        """Those that older checkpoints refer to stay."""
        named = {read_json(path / "state.json")["best_epoch"] for path in self._checkpoints()}
        for old in self.folder.glob("best-*.npz"):
            if int(old.stem.removeprefix("best-")) not in {*named, state.best_epoch}:
                old.unlink()

    def load_best(self, state: TrainingState, model: keras.Model) -> None:
        """Give `model` the weights of the best epoch."""
        _assign(model.variables, _load_arrays(self._best(state.best_epoch), len(model.variables)))

    def load_average(self, model: keras.Model, epochs: int) -> None:
        """Give `model` the mean of its weights over the last `epochs` epochs, or as many as there are.

        Stochastic weight averaging (Izmailov et al., UAI 2018), which needs no choice of an epoch.
        """
        count = len(model.variables)
        latest = [_load_arrays(path / "arrays.npz", count) for path in self._checkpoints()[-epochs:]]
        means = [
            np.mean(arrays, axis=0) if np.issubdtype(arrays[0].dtype, np.floating) else arrays[-1]
            for arrays in zip(*latest, strict=True)
        ]
        _assign(model.variables, means)

    def restore(self, prepare: Callable[[TrainingState], keras.Model]) -> TrainingState:
        """Bring back the newest whole checkpoint; a fresh TrainingState when there is none.

        `prepare(state)` gives the model that the arrays belong to, with the optimizer of its phase.
        A damaged checkpoint is named, removed, and the one before is taken.
        """
        for path in reversed(self._checkpoints()):
            try:
                raw = read_json(path / "state.json")
                if sha256_file(path / "arrays.npz") != raw.pop("sha256"):
                    raise ValueError("its content has changed")
                state = TrainingState(**raw)
                if not self._best(state.best_epoch).is_file():
                    raise ValueError("the weights of its best epoch are missing")
                model = prepare(state)
                _assign([*model.variables, *model.optimizer.variables], _load_arrays(path / "arrays.npz"))
            except (InputError, OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
                print(f"warning: checkpoint {path.name} is damaged ({error}); trying the one before")
                shutil.rmtree(path, ignore_errors=True)
            else:
                return state
        return TrainingState()

    def run_id(self) -> str:
        """The MLflow run of the newest checkpoint; empty without one."""
        for path in reversed(self._checkpoints()):
            with suppress(InputError):
                return str(read_json(path / "state.json", ["run_id"])["run_id"])
        return ""

    def finish(self) -> None:
        """Remove this training's checkpoints and those of all but the latest other trainings."""
        shutil.rmtree(self.folder, ignore_errors=True)
        others = sorted((p for p in self.folder.parent.glob("*") if p.is_dir()), key=lambda p: p.stat().st_mtime)
        for old in others[:-KEPT_KEYS]:
            shutil.rmtree(old, ignore_errors=True)

    def _checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"))

    def _best(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch:04d}.npz"


class FollowedStore(CheckpointStore):
    """The checkpoints of one training that another process writes; this one only begins from them."""

    def save(self, state: TrainingState, model: keras.Model, is_best: bool = False) -> None:
        """Leave it to the other process."""

    def save_best(self, state: TrainingState, model: keras.Model) -> None:
        """Leave it to the other process."""


def _arrays(model: keras.Model) -> list[np.ndarray]:
    # `model.variables` holds the states of the random generators too.
    return [np.asarray(variable) for variable in (*model.variables, *model.optimizer.variables)]


def _save_arrays(path: Path, arrays: list[np.ndarray]) -> None:
    with atomic_file(path) as partial, os_errors_name(path), partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **{f"a{i:05d}": array for i, array in enumerate(arrays)})


def _load_arrays(path: Path, count: int | None = None) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return [archive[name] for name in sorted(archive.files)[:count]]


def _share(path: Path, name: Path) -> None:
    """Give a file a second name, or a copy where the file system has one name for each."""
    with atomic_file(name) as partial, os_errors_name(name):
        partial.unlink()
        try:
            partial.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, partial)


def _assign(variables: Sequence[Any], arrays: list[np.ndarray]) -> None:
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in arrays]:
        raise ValueError("it does not fit the model")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Give `model` the moving average of its weights, which its optimizer keeps, for a while."""
    latest = [np.array(variable) for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        _assign(model.trainable_variables, latest)


class KeepCheckpoints(keras.callbacks.Callback):
    """Saves a checkpoint after every epoch; put it behind the callbacks whose counters it keeps."""

    def __init__(
        self, store: CheckpointStore, state: TrainingState, counting: Sequence[keras.callbacks.Callback]
    ) -> None:
        super().__init__()
        self._store, self._state, self._counting = store, state, counting
        self._restored = dict(state.counters)

    def on_train_begin(self, _logs: Any = None) -> None:
        """Give the counters back, which Keras has just reset."""
        for callback in self._counting:
            for name, value in self._restored.get(type(callback).__name__, {}).items():
                setattr(callback, name, value)
        self._restored = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = {name: float(value) for name, value in (logs or {}).items()}
        if not all(math.isfinite(row[name]) for name in ("loss", "val_loss")):
            raise InputError(
                f"train: the loss of epoch {epoch + 1} is not a number; lower train.learning_rate in params.yaml"
            )
        self._state.epoch = epoch + 1
        self._state.history.append({"epoch": epoch + 1, **row})
        self._state.counters = {type(callback).__name__: _counters(callback) for callback in self._counting}
        self._store.folder.mkdir(parents=True, exist_ok=True)
        is_best, has_average = row["val_loss"] < self._state.best_loss, self.model.optimizer.use_ema
        if is_best:
            self._state.best_loss, self._state.best_epoch = row["val_loss"], epoch + 1
        if is_best and has_average:
            with averaged(self.model):
                self._store.save_best(self._state, self.model)
        self._store.save(self._state, self.model, is_best and not has_average)


def _counters(callback: keras.callbacks.Callback) -> dict[str, float]:
    values = {name: getattr(callback, name, None) for name in _COUNTERS}
    return {name: float(value) for name, value in values.items() if value is not None}
