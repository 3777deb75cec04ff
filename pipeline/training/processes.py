"""Who does the steps of a training: this process alone, or several that share every batch.

`train.py` decides the same things either way; here a network goes through the epochs of one phase. Several processes
reach the numbers of one, apart from rounding: each takes its share of every batch, the gradients are summed before
they are clipped and applied, the loss is divided by the images of the whole batch, batch normalisation counts them
all, and the sums that metrics are made of are added up at the end of an epoch.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np

from pipeline.late import late
from pipeline.training.batches import Batches

tf = late("tensorflow")  # other backends of Keras run this module's functions without it

_LOSS = "loss"
"""Keras's name of the mean of the whole loss."""


@dataclass(frozen=True)
class Epochs:
    """What a phase of a training goes through: epochs [start, stop), with callbacks after Keras's order."""

    training: Batches
    validation: Batches
    start: int
    stop: int
    callbacks: Sequence[keras.callbacks.Callback]


class Processes(Protocol):
    """Trains a compiled network."""

    def scope(self) -> AbstractContextManager[Any]:
        """Where networks and optimizers are made."""

    def agree(self, epoch: int) -> None:
        """RuntimeError where other processes begin after another epoch."""

    def fit(self, model: keras.Model, epochs: Epochs) -> None:
        """Train until the last epoch, or until a callback stops it."""


def strategy() -> Any:
    """All GPUs TensorFlow sees on this machine, mirrored; the default strategy with none or one."""
    gpus = tf.config.list_logical_devices("GPU")
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


class OneProcess:
    """This process, under a strategy of tf.distribute for the devices of this machine."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    def scope(self) -> AbstractContextManager[Any]:
        return self._strategy.scope()  # type: ignore[no-any-return]

    def agree(self, epoch: int) -> None:
        """Nobody else is asked."""

    def fit(self, model: keras.Model, epochs: Epochs) -> None:
        if not tf.distribute.has_strategy():  # under one Keras does so itself
            _make_metrics(model, epochs.validation)
        model.fit(
            epochs.training,
            validation_data=epochs.validation,
            initial_epoch=epochs.start,
            epochs=epochs.stop,
            shuffle=False,  # Batches shuffles, the same way after a resume
            verbose=0,
            callbacks=list(epochs.callbacks),
        )


class SeveralProcesses:
    """This process as number `rank` of `count` on as many machines, which TF_CONFIG names; each with one device.

    To be made before TensorFlow has done anything else. Waits until all are there. Networks are made outside of
    the strategy's scope, so that every process holds plain variables: Keras's optimizer then leaves gradients alone
    that are summed already, and checkpoints are those of one process.
    """

    def __init__(self, rank: int, count: int, cpus: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(cpus)
        tf.config.threading.set_inter_op_parallelism_threads(cpus)
        self.rank, self.count = rank, count
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        if self._strategy.num_replicas_in_sync != count:
            raise RuntimeError(f"{count} processes of one device expected, {self._strategy.num_replicas_in_sync} found")

    def scope(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def agree(self, epoch: int) -> None:
        mine = tf.constant([epoch])
        gather = self._function(lambda: self._run(lambda here: here.all_gather(mine, axis=0)))
        found = gather().numpy().tolist()
        if len(set(found)) > 1:
            raise RuntimeError(f"the processes see checkpoints of different epochs: {found}")

    def fit(self, model: keras.Model, epochs: Epochs) -> None:
        """The loop of Keras's own `fit`, which does not run under this strategy (keras-team/keras 20585)."""
        training, validation = epochs.training, epochs.validation
        for batches in (training, validation):
            batches.share(self.rank, self.count)
        told = keras.callbacks.CallbackList(
            list(epochs.callbacks), add_history=True, model=model, epochs=epochs.stop, steps=len(training)
        )
        with _synchronized(model):
            _make_metrics(model, training)
            step, judge = self._train_step(model, training), self._test_step(model, validation)
            total = self._sum(model)
            model.stop_training = False
            told.on_train_begin()
            for epoch in range(epochs.start, epochs.stop):
                model.reset_metrics()
                told.on_epoch_begin(epoch)
                for number, batch in enumerate(_ahead(training)):
                    told.on_train_batch_begin(number)
                    step(batch, training.rows_here(number), training.rows_of(number))
                    told.on_train_batch_end(number)
                found = total()
                told.on_test_begin()
                model.reset_metrics()
                for number, batch in enumerate(_ahead(validation)):
                    judge(batch, validation.rows_here(number), validation.rows_of(number))
                judged = total()
                told.on_test_end(judged)
                told.on_epoch_end(epoch, found | {f"val_{name}": value for name, value in judged.items()})
                if model.stop_training:
                    break
            model.optimizer.finalize_variable_values(model.trainable_variables)
            told.on_train_end()

    def _function(self, work: Any, signature: Any = None) -> Any:
        return tf.function(work, input_signature=signature, autograph=False)

    def _run(self, work: Any) -> Any:
        """What `work(replica context)` gives in this process, in step with the others."""
        strategy = self._strategy
        found = strategy.run(lambda: work(tf.distribute.get_replica_context()))
        return tf.nest.map_structure(lambda one: strategy.experimental_local_results(one)[0], found)

    def _train_step(self, model: keras.Model, batches: Batches) -> Any:
        add = tf.distribute.ReduceOp.SUM

        def step(batch: Any, mine: Any, rows: Any) -> None:
            pixels, truth, weights = batch

            def gradients(here: Any) -> list[Any]:
                with tf.GradientTape() as tape:
                    answer = model(pixels, training=True)
                    loss = self._loss(model, batch, answer, mine, rows, training=True)
                model.compute_metrics(pixels, truth, answer, weights)
                variables = [variable.value for variable in model.trainable_variables]
                found = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
                return list(here.all_reduce(add, found))

            # Outside of the strategy, so that the optimizer sums nothing again.
            model.optimizer.apply_gradients(zip(self._run(gradients), model.trainable_variables, strict=True))

        return self._function(step, self._signature(batches))

    def _test_step(self, model: keras.Model, batches: Batches) -> Any:
        def judge(batch: Any, mine: Any, rows: Any) -> None:
            pixels, truth, weights = batch
            answer = model(pixels, training=False)
            self._loss(model, batch, answer, mine, rows, training=False)
            model.compute_metrics(pixels, truth, answer, weights)

        return self._function(judge, self._signature(batches))

    def _loss(self, model: keras.Model, batch: Any, answer: Any, mine: Any, rows: Any, *, training: bool) -> Any:
        """What the `mine` images of this process add to the mean loss of the `rows` of the batch; it is counted.

        Keras counts the whole loss by images, and the losses of several outputs by batches.
        """
        pixels, truth, weights = batch
        whole = next(metric for metric in model.metrics if metric.name == _LOSS)
        parts = [one for one in model.metrics if one is not whole and isinstance(one, keras.metrics.Mean)]
        before = [(tf.identity(one.total), tf.identity(one.count)) for one in parts]
        loss = model.compute_loss(pixels, truth, answer, weights, training=training)
        loss *= tf.distribute.get_strategy().num_replicas_in_sync  # by which Keras divides under a strategy
        whole.update_state(loss, sample_weight=mine)
        share = tf.cast(mine, loss.dtype) / tf.cast(rows, loss.dtype)
        for one, (total, count) in zip(parts, before, strict=True):
            one.total.assign(total + share * (one.total - total))
            one.count.assign(count + 1 / self.count)
        return share * loss

    def _signature(self, batches: Batches) -> Any:
        """Any number of images: were shapes traced one by one, processes with other shares would get out of step."""
        batch = tf.nest.map_structure(lambda one: tf.TensorSpec((None, *one.shape[1:]), one.dtype), batches[0])
        return batch, tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int32)

    def _sum(self, model: keras.Model) -> Any:
        """A function that gives the metrics of all processes, and leaves their sums in `model`."""
        add = tf.distribute.ReduceOp.SUM
        states = list({id(one): one for metric in model.metrics for one in metric.variables}.values())
        together = self._function(
            lambda: self._run(lambda here: here.all_reduce(add, [tf.identity(one.value) for one in states]))
        )

        def total() -> dict[str, float]:
            for state, value in zip(states, together(), strict=True):
                state.assign(value)
            return {name: float(value) for name, value in model.get_metrics_result().items()}

        return total


@contextmanager
def _synchronized(model: keras.Model) -> Iterator[None]:
    """Let batch normalisation count the images of all processes for a while; a saved model shall not ask for it."""
    normalising = [one for one in model._flatten_layers() if isinstance(one, keras.layers.BatchNormalization)]
    for layer in normalising:
        layer.synchronized = True
    try:
        yield
    finally:
        for layer in normalising:
            layer.synchronized = False


def _make_metrics(model: keras.Model, batches: Batches) -> None:
    """Let `model` make the variables of its metrics: now, not while TensorFlow traces its first step.

    There they would be those of a strategy, and without one the whole step would be traced a second time.
    """
    pixels, truth, weights = keras.tree.map_structure(lambda all_: keras.ops.convert_to_tensor(all_[:1]), batches[0])
    answer = model(pixels, training=False)
    model.compute_loss(pixels, truth, answer, weights, training=False)
    model.compute_metrics(pixels, truth, answer, weights)


def _ahead(batches: Batches) -> Iterator[Any]:
    """The batches of an epoch, each made while the one before is worked on."""
    with ThreadPoolExecutor(1, "batches") as pool:
        following = pool.submit(batches.__getitem__, 0)
        for number in range(1, len(batches) + 1):
            batch = following.result()
            if number < len(batches):
                following = pool.submit(batches.__getitem__, number)
            yield keras.tree.map_structure(np.asarray, batch)
