"""Time of an epoch by where its images come from (`python -m benchmarks.training_input`)."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.quiet import quiet_import

with quiet_import():
    import keras
    import tensorflow as tf
import numpy as np
import numpy.typing as npt

from benchmarks import measure, pictures
from pipeline import params, preprocess
from pipeline.files import project_root
from pipeline.training import architectures
from pipeline.training.batches import Batches, FollowEpoch
from pipeline.training.params import Augmentation, TrainParams
from serving.imaging import decode
from serving.imaging.canvas import Preprocessing

SIDE, BATCH, COUNT = 224, 32, 320
EPOCHS, ROUNDS = 3, 2
IN_MEMORY_TARGET, SCRIPT_TARGET = 1.1, 1.5
_OURS, _AUGMENTED, _MEMORY, _SCRIPT = (
    "prepared/, memory-mapped",
    "the same with augmentation",
    "tensor in memory",
    "image_dataset_from_directory",
)

Fit = Callable[[keras.Model, keras.callbacks.Callback], object]


class Clock(keras.callbacks.Callback):
    """Seconds of every epoch but the first of each `fit`, which warms up."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002  Keras's signature
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002  Keras's signature
        if epoch:
            self.seconds.append(time.perf_counter() - self._began)


@dataclass(frozen=True)
class Images:
    """The same radiographs as files in class folders and as the array that preprocess makes of them."""

    folder: Path
    size: tuple[int, int]
    array: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.float32]


def sort_into_folders(paths: Sequence[Path], labels: Sequence[str], folder: Path, enlarged: bool) -> None:
    """Copy images into a folder for each class, as the Keras loader wants them."""
    for path, label in zip(paths, labels, strict=True):
        target = folder / label / (f"{path.stem}.jpg" if enlarged else path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if enlarged:
            pictures.enlarge(path, target)
        else:
            shutil.copy(path, target)


def images_of(folder: Path, target: Path) -> Images:
    """Prepare the images below `folder` into the array `target`, opened as the train stage opens it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with quiet_import():
        preprocess.write_images(paths, preprocess.Preparation(Preprocessing(SIDE)), target)
    header = decode.inspect(paths[0].read_bytes())
    classes = sorted({path.parent.name for path in paths})
    labels = np.array([classes.index(path.parent.name) for path in paths], np.float32)
    return Images(folder, (header.height, header.width), np.load(target, mmap_mode="r"), labels)


def alike(paths: Sequence[Path], labels: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The first COUNT whole images of the most frequent size: the Keras loader gives them all one size."""
    headers = []
    for path in paths:
        content = path.read_bytes()
        header = decode.inspect(content)
        whole = not decode.is_truncated(content, header)
        headers.append((header.width, header.height) if whole and header.orientation == 1 else (0, 0))
    (size, _), *_ = Counter(size for size in headers if size[0]).most_common(1)
    chosen = [i for i, found in enumerate(headers) if found == size]
    chosen = chosen[:: max(1, len(chosen) // COUNT)][:COUNT]
    return [paths[i] for i in chosen], [labels[i] for i in chosen]


def classic() -> keras.Model:
    """The project's classic network."""
    return architectures.build(TrainParams(architecture="cnn"), SIDE, 2)


def tiny() -> keras.Model:
    """A network so small that the input is nearly all of an epoch."""
    pixels = keras.Input((SIDE, SIDE, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid")(x))


def from_batches(images: Images, augmentation: Augmentation | None) -> Fit:
    """Train on the project's batches."""
    rows = np.arange(len(images.array))
    batches = Batches(images.array, rows, images.labels, batch_size=BATCH, augmentation=augmentation)

    def fit(model: keras.Model, clock: keras.callbacks.Callback) -> object:
        return model.fit(batches, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[FollowEpoch(batches), clock])

    return fit


def from_dataset(dataset: Any) -> Fit:
    """Train on a tf.data data set."""

    def fit(model: keras.Model, clock: keras.callbacks.Callback) -> object:
        return model.fit(dataset, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[clock])

    return fit


def in_memory(images: Images) -> Any:
    """The prepared images as one tensor, cut into batches by tf.data."""
    labels = tf.constant(images.labels)
    tensors = (tf.constant(np.asarray(images.array)[..., np.newaxis]), labels, tf.ones_like(labels))
    return tf.data.Dataset.from_tensor_slices(tensors).batch(BATCH).prefetch(tf.data.AUTOTUNE)


def usual_script(images: Images) -> Any:
    """What scripts do: files decoded at their own size in every epoch and resized in the pipeline, on all cores."""
    loaded = keras.utils.image_dataset_from_directory(
        images.folder, label_mode="binary", color_mode="grayscale", batch_size=BATCH, image_size=images.size,
        shuffle=False, verbose=False,
    )  # fmt: skip

    def resized(batch: Any, labels: Any) -> Any:
        labels = tf.reshape(labels, [-1])
        return tf.image.resize(batch, (SIDE, SIDE)), labels, tf.ones_like(labels)

    return loaded.map(resized, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def compete(build: Callable[[], keras.Model], contestants: Mapping[str, Fit]) -> None:
    """Let the inputs take turns with one model and print what an epoch costs."""
    model = build()
    model.compile(optimizer="adam", loss="binary_crossentropy", weighted_metrics=["accuracy"], jit_compile=False)
    clocks = {name: Clock() for name in contestants}
    for _ in range(ROUNDS):
        for name, fit in contestants.items():
            fit(model, clocks[name])
    seconds = {name: clock.seconds for name, clock in clocks.items()}
    for name, times in seconds.items():
        print(f"  {name:46} {measure.spread(times)} s an epoch")
    for own in (_OURS, _AUGMENTED):
        over_memory = measure.ratios(seconds[own], seconds[_MEMORY])
        under_script = measure.ratios(seconds[_SCRIPT], seconds[own])
        target = measure.verdict(over_memory, IN_MEMORY_TARGET, at_least=False)
        print(f"  {own} / {_MEMORY}: {measure.spread(over_memory)}  {target}")
        target = measure.verdict(under_script, SCRIPT_TARGET)
        print(f"  {_SCRIPT} / {own}: {measure.spread(under_script)}  {target}")


def main() -> None:
    """Prepare images of two sizes and print the epochs' times for the classic and a tiny network."""
    augmentation = params.load(project_root() / "params.yaml").train.augmentation
    print(measure.machine(["tensorflow", "keras", "opencv-python-headless", "numpy"]))
    measure.warn_of_load()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = pictures.radiographs(folder / "data")
        files = [data.folder / file for file in data.labels["file"]]
        paths, labels = alike(files, list(data.labels["label"]))
        for enlarged in (False, True):
            title = "enlarged to" if enlarged else "as they are,"
            here = folder / ("enlarged" if enlarged else "own")
            sort_into_folders(paths, labels, here / "classes", enlarged)
            images = images_of(here / "classes", here / "images.npy")
            contestants = {
                _OURS: from_batches(images, None),
                _AUGMENTED: from_batches(images, augmentation),
                _MEMORY: from_dataset(in_memory(images)),
                _SCRIPT: from_dataset(usual_script(images)),
            }
            for build in (classic, tiny):
                height, width = images.size
                print(f"\n{len(paths)} images {title} {width} x {height}, {build.__name__} network")
                compete(build, contestants)
    print(f"\nmedians of {ROUNDS * (EPOCHS - 1)} epochs (smallest-largest); the first of each {EPOCHS} does not count")


if __name__ == "__main__":
    main()
