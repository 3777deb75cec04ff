"""Train the small heads that recognise an inverted or turned radiograph (`python -m benchmarks.robustness.heads`).

    python -m benchmarks.robustness.heads polarity --output serving/imaging/canonical/heads
    python -m benchmarks.robustness.heads orientation --output serving/imaging/canonical/heads

Labels are free: every radiograph of the collection is taken to be upright and not inverted. Only the train and
validation sets of a release's split are trained on; `--fit train` keeps the validation set for choosing. The test
part is scored and never trained on. The same command gives the same file on the same machine.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize

from benchmarks.robustness.changes import CHANGES
from pipeline.data import layout
from pipeline.quiet import quiet_import
from pipeline.training.trained import newest_release
from serving.imaging import decode
from serving.imaging.canonical.field import find_field
from serving.imaging.canonical.orientation import CERTAIN, OrientationHead, look
from serving.imaging.canonical.polarity import INVERTED, PolarityHead, features

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

POLARITY_CHANGES = ("none", "gamma_0.5", "gamma_2", "middle_60", "noise_10")
"""Each training radiograph is seen as it is and under these; none of them is kept from training."""
PENALTY = 1e-3
SIDE, CHANNELS, HIDDEN = 64, (12, 24, 32, 48), 24
EPOCHS, BATCH, RATE = 40, 64, 2e-3
_DECODED = 672
_SEED = 7


@dataclass(frozen=True)
class Radiograph:
    """A radiograph of the split: its part, regions, and the grey pixels of its field, uint8 (h, w)."""

    part: str
    region: str
    pixels: Pixels
    field: Pixels


def read(data: Path, split: Path) -> list[Radiograph]:
    """Every radiograph of the split, in its order."""
    labels = layout.read(data).labels.set_index("image_id")
    rows = pd.read_csv(split, dtype=str)
    found = []
    for image_id, part in zip(rows["image_id"], rows["part"], strict=True):
        row = labels.loc[image_id]
        pixels = decode.decode((data / str(row["file"])).read_bytes(), _DECODED).pixels
        found.append(Radiograph(part, str(row["region"]), pixels, _field(pixels)))
    return found


def fit_polarity(rows: Array) -> PolarityHead:
    """Logistic regression without a constant on the features (n, k) of radiographs that are not inverted."""
    scale = rows.std(axis=0) + 1e-6
    scaled = rows / scale

    def loss(weights: Array) -> tuple[float, Array]:
        logits = scaled @ weights
        value = np.logaddexp(0, logits).mean() + PENALTY * (weights @ weights) / 2
        return float(value), scaled.T @ (1 / (1 + np.exp(-logits))) / len(scaled) + PENALTY * weights

    return PolarityHead(minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x / scale)


def polarity(radiographs: Sequence[Radiograph], fit: Sequence[str], output: Path) -> None:
    """Fit, report and write polarity.json."""
    of_change = {
        name: np.array([features(_changed(one, name, index)) for index, one in enumerate(radiographs)])
        for name in POLARITY_CHANGES
    }
    fitted = np.isin([one.part for one in radiographs], fit)
    head = fit_polarity(np.concatenate([rows[fitted] for rows in of_change.values()]))
    _report(radiographs, lambda chosen: _polarity_line(head.probabilities(of_change["none"][chosen])))
    by_region = [one.region for one in radiographs]
    for region in ("hand", "leg", "hip", "shoulder"):
        of_region = np.array([region in regions for regions in by_region])
        rest = fit_polarity(np.concatenate([rows[fitted & ~of_region] for rows in of_change.values()]))
        seen = rest.probabilities(of_change["none"][of_region])
        print(f"  {region}, fitted without it: {_polarity_line(seen)}")
    _write(output / "polarity.json", json.dumps(head.to_json(), indent=2).encode())


def orientation(radiographs: Sequence[Radiograph], fit: Sequence[str], output: Path) -> None:
    """Fit, report and write orientation.npz."""
    head = fit_orientation([one.field for one in radiographs if one.part in fit])
    turns = np.array([head(one.field) for one in radiographs])
    _report(radiographs, lambda chosen: _orientation_line(turns[chosen]))
    output.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(output / "orientation.npz", allow_pickle=False, **head.to_arrays())


def fit_orientation(fields: Sequence[Pixels]) -> OrientationHead:
    """The network that tells fields of upright radiographs, uint8 (h, w), from the same ones turned by quarters."""
    with quiet_import():
        import keras  # noqa: PLC0415  loading TensorFlow takes seconds, which the other head does not need
        import tensorflow as tf  # noqa: PLC0415
    keras.utils.set_random_seed(_SEED)
    layers = keras.layers
    given = x = keras.Input((SIDE, SIDE, 1))
    for channels in CHANNELS:
        x = layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dropout(0.3)(layers.Flatten()(x))
    x = layers.Dropout(0.2)(layers.Dense(HIDDEN, activation="relu")(x))
    network = keras.Model(given, layers.Dense(1)(x))
    schedule = keras.optimizers.schedules.CosineDecay(RATE, EPOCHS * (len(fields) // BATCH))
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-3)

    @tf.function
    def step(batch: "tf.Tensor") -> "tf.Tensor":
        with tf.GradientTape() as tape:
            turned = tf.concat([tf.image.rot90(batch, quarters) for quarters in range(4)], 0)
            logits = tf.transpose(tf.reshape(network(turned, training=True)[:, 0], (4, -1)))
            right = tf.zeros(tf.shape(logits)[0], tf.int32)
            losses = keras.losses.sparse_categorical_crossentropy(right, logits, from_logits=True)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    rng = np.random.default_rng(_SEED)
    for epoch in range(EPOCHS):
        losses = [float(step(tf.constant(batch))) for batch in _batches(fields, rng)]
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.3f}", flush=True)
    weights = [np.asarray(one) for one in network.get_weights()]
    exact = OrientationHead(SIDE, tuple(weights[::2]), tuple(weights[1::2]))
    return OrientationHead.from_arrays(exact.to_arrays())  # as it will be read again, in half precision


def _batches(fields: Sequence[Pixels], rng: np.random.Generator) -> Iterator[npt.NDArray[np.float32]]:
    order = rng.permutation(len(fields))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        seen = [_varied(fields[index], rng) for index in order[start : start + BATCH]]
        yield np.stack(seen)[..., np.newaxis]


def _varied(pixels: Pixels, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Cropped, turned by up to 15 degrees, mirrored, with another gamma and noise; what the network sees of it."""
    if rng.random() < 0.7:
        least = 0.6 if rng.random() < 0.5 else 0.85
        height, width = (max(8, int(side * rng.uniform(least, 1))) for side in pixels.shape)
        top, left = rng.integers(pixels.shape[0] - height + 1), rng.integers(pixels.shape[1] - width + 1)
        pixels = pixels[top : top + height, left : left + width]
    if rng.random() < 0.6:
        height, width = pixels.shape
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-15, 15), rng.uniform(0.85, 1.15))
        pixels = np.asarray(cv2.warpAffine(pixels, turn, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.5:
        exponent = np.exp(rng.uniform(-0.6, 0.6))
        pixels = np.rint(255 * (pixels / 255) ** exponent).astype(np.uint8)
    seen = look(np.ascontiguousarray(pixels), SIDE)
    if rng.random() < 0.5:
        seen = seen + rng.normal(0, rng.uniform(0, 0.08), seen.shape).astype(np.float32)
    return seen


def _field(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(find_field(pixels).crop(pixels), np.uint8)


def _changed(one: Radiograph, name: str, seed: int) -> Pixels:
    if name == "none":
        return one.field
    return _field(np.asarray(CHANGES[name](one.pixels, np.random.default_rng(seed)).pixels, np.uint8))


def _report(radiographs: Sequence[Radiograph], line: Callable[[npt.NDArray[np.bool_]], str]) -> None:
    for part in ("train", "validation", "test"):
        print(f"  {part}: {line(np.array([one.part == part for one in radiographs]))}")


def _polarity_line(inverted: Array) -> str:
    wrong, sure = int((inverted >= 0.5).sum()), int((inverted >= INVERTED).sum())
    missed = int((1 - inverted < INVERTED).sum())
    return (
        f"{len(inverted)} radiographs, {wrong} taken for inverted at 0.5 and {sure} at {INVERTED}; "
        f"of their inverses {missed} are missed at {INVERTED}"
    )


def _orientation_line(turns: Array) -> str:
    right, turned = turns.argmax(axis=1) == 0, turns[:, 1:].max(axis=1) >= CERTAIN
    return (
        f"{len(turns)} radiographs, {right.mean():.1%} likeliest upright, {turned.mean():.2%} turned wrongly at "
        f"{CERTAIN}; of turned ones {(turns[:, 0] >= CERTAIN).mean():.1%} are turned back"
    )


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content + b"\n")


def main() -> None:
    """Train the head that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("head", choices=("polarity", "orientation"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--split", type=Path, help="default: that of the newest release")
    parser.add_argument("--fit", nargs="+", choices=("train", "validation"), default=["train", "validation"])
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    {"polarity": polarity, "orientation": orientation}[given.head](
        read(given.data, given.split or newest_release(Path()).parent / "split.csv"), given.fit, given.output
    )


if __name__ == "__main__":
    main()
