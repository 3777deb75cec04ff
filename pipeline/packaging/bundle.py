"""A registered model to a bundle, and a bundle to a bento."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import register
from pipeline.artifacts import Metrics, TrainingRecord
from pipeline.data.prepared import Prepared
from pipeline.data.sources import synthetic
from pipeline.errors import InputError
from pipeline.evaluation import metrics, operating_points, subgroups
from pipeline.files import atomic_folder
from pipeline.progress import progress_bar
from pipeline.quiet import quiet_import
from pipeline.registry import mlflow as tracking
from pipeline.registry import promotion
from serving import bundle
from serving.bundle import Manifest
from serving.decision import Decision
from serving.errors import ImageError, one_line
from serving.network import FEATURES, MAP, SCORES, Network
from serving.predictor import Predictor
from serving.statistics import QUANTILES, Reference

FORMATS = ("int8", "float16", "float32")
"""Number formats of the network's weights, the safest last."""
MAX_DIFFERENCE = 0.02
MAX_AUROC_DIFFERENCE = 0.002
AS_FAST = 1.15
"""A safer format that takes at most this many times as long as the fastest is preferred to it."""
REJECTED_SHARE = 0.01
"""Of radiographs like those of training that get no answer, so that other pictures get none."""
UNUSUAL_SHARE = 0.05
"""Of radiographs like those of training whose answer carries a warning, or that get none."""
_MOST_IMAGES = 600
_TIMED = 50
_SAMPLES = 4
_SAMPLE_TRIES = 60

INTENDED_USE = (
    "Decision support for people trained to read radiographs: it points at images that may show a fracture. "
    "Research and evaluation."
)
NOT_FOR = (
    "Not a diagnosis and not a medical device. Not for images of other regions, views or modalities than those listed, "
    "nor for children unless the data held them."
)


@dataclass(frozen=True)
class Registered:
    """A registered version's files, fetched and checked against each other."""

    version: Any
    model: Any
    training: TrainingRecord
    decision: Decision
    metrics: Metrics
    reference: Path
    slices: Path | None = None
    """slices.csv; None for a model that was measured elsewhere, or registered before it was kept."""


@dataclass(frozen=True)
class Measured:
    """What one number format is worth, against Keras on the same images."""

    max_difference: float
    auroc_difference: float
    milliseconds: float
    bytes: int

    @property
    def faults(self) -> list[str]:
        """Why it is refused; empty when it is not."""
        found = []
        if not self.max_difference <= MAX_DIFFERENCE:
            found.append(f"a probability differs by {self.max_difference:.4f} (at most {MAX_DIFFERENCE})")
        if not self.auroc_difference <= MAX_AUROC_DIFFERENCE:
            found.append(f"AUROC differs by {self.auroc_difference:.4f} (at most {MAX_AUROC_DIFFERENCE})")
        return found

    def to_dict(self) -> dict[str, Any]:
        """For model.json."""
        return {
            "max_difference": round(self.max_difference, 6), "auroc_difference": round(self.auroc_difference, 6),
            "milliseconds": round(self.milliseconds, 2), "bytes": self.bytes, "refused": "; ".join(self.faults),
        }  # fmt: skip


@contextmanager
def fetched(address: str) -> Iterator[Registered]:
    """The registered version behind `models:/NAME@ALIAS` or `models:/NAME/VERSION`, its gates checked again.

    Raises InputError: no such version, gates failed without a forced promotion, files that do not belong together.
    """
    with tempfile.TemporaryDirectory(prefix="fracture-package-") as name:
        folder = Path(name)
        yield tracking.require(lambda mlflow: _fetch(mlflow, address, folder))


def _fetch(mlflow: Any, address: str, folder: Path) -> Registered:
    client = mlflow.MlflowClient()
    version = _find_version(client, address)
    promotion.require_fit(version)
    content_hash = version.tags.get("content_hash", "")
    if not content_hash:
        raise InputError(f"{address}: was not registered by this project; use `fracture import-model FILE`")
    try:
        model, run = tracking.download_version(mlflow, version, register.package_folder(content_hash), folder)
    except (OSError, mlflow.exceptions.MlflowException) as error:
        raise InputError(
            f"{address}: its files cannot be fetched ({tracking.one_line(error)}); register the model again with "
            "`dvc repro -sf register`"
        ) from None
    training = TrainingRecord.read(run / "training.json")
    decision = operating_points.read(run / "decision.json")
    if register.content_hash(training, decision) != content_hash:
        raise InputError(f"{address}: its files are not the ones that were registered; register the model again")
    return Registered(
        version=version,
        model=_load(model, training, address),
        training=training,
        decision=decision,
        metrics=Metrics.read(run / "metrics.json"),
        reference=run / "reference.npz",
        slices=slices if (slices := run / "slices.csv").is_file() else None,
    )


def _find_version(client: Any, address: str) -> Any:
    rest = address.removeprefix("models:/")
    name, at, alias = rest.partition("@")
    if at:
        found = promotion.observe_if_allowed(client, name) if alias == promotion.CHAMPION else None
        found = found or promotion.version_by_alias(client, name, alias)
        if found is None:
            raise InputError(
                f"{address}: no version of {name} has the alias {alias}; promote one with `fracture promote`"
            )
        return found
    name, slash, number = rest.partition("/")
    if not (slash and number.isdigit()):
        raise InputError(f"{address}: is no model address; write models:/NAME@ALIAS or models:/NAME/VERSION")
    return promotion.find(client, name, number)


def _load(folder: Path, training: TrainingRecord, address: str) -> Any:
    with quiet_import():
        import keras  # noqa: PLC0415

        from pipeline.training import architectures  # noqa: PLC0415
    found = sorted(folder.rglob("*.keras"))
    if len(found) != 1:
        raise InputError(f"{address}: holds {len(found)} .keras files where one is expected; register the model again")
    model = keras.models.load_model(found[0], safe_mode=True, compile=False)
    if architectures.weights_hash(model) != training.weights_sha256:
        raise InputError(f"{address}: its weights are not the ones that were trained; register the model again")
    return model


def convert(model: Any, number_format: str) -> bytes:
    """A LiteRT network from a Keras model's reasons (`explain.explained`): scores, features and map.

    int8 stores the weights of dense and convolution layers in eight bits and rounds activations on the fly. Raises
    InputError for a network with operations that LiteRT does not have.
    """
    with quiet_import():
        import tensorflow as tf  # noqa: PLC0415
        from tensorflow.lite.python.convert_phase import ConverterError  # noqa: PLC0415

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if number_format != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if number_format == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        with _silence():
            return bytes(converter.convert())
    except ConverterError as error:
        lacking = sorted(set(re.findall(r"'(tf\.\w+)' op", str(error))))
        what = f"LiteRT lacks {', '.join(lacking)}" if lacking else one_line(error, 200)
        raise InputError(f"the network cannot be converted: {what}; take another train.architecture") from None


@contextmanager
def _silence() -> Iterator[None]:
    """Hide what the converter prints on stdout and stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w", encoding="utf-8") as nothing, quiet_import():  # noqa: PTH123
        os.dup2(nothing.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)


def run_network(path: Path, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Outputs of a LiteRT network for images, uint8 (n, size, size), on all cores, with progress."""
    network = Network(path)
    found = []
    with (
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        progress_bar("package: comparing with Keras", len(images)) as advance,
    ):
        for outputs in pool.map(network, images):
            found.append(outputs)
            advance()
    return {name: np.concatenate([outputs[name] for outputs in found]) for name in (SCORES, FEATURES, MAP)}


def milliseconds(path: Path, images: npt.NDArray[np.uint8]) -> float:
    """Median time of one image on one thread."""
    network = Network(path)
    taken = []
    for image in images[:_TIMED]:
        began = time.perf_counter()
        network(image)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) * 1000


def compare(
    scores: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], decision: Decision
) -> tuple[float, float]:
    """Largest difference of any probability, raw or calibrated, and the difference of AUROC, of two networks."""
    ours, theirs = scores.astype(np.float64), wanted.astype(np.float64)
    raw = float(np.abs(ours - theirs).max())
    calibrated = float(np.abs(decision.calibration.apply(ours) - decision.calibration.apply(theirs)).max())
    y, ones = (classes > 0).astype(np.int64), np.ones(len(classes))
    if not 0 < y.sum() < len(y):
        return max(raw, calibrated), 0.0
    first, second = (
        float(metrics.auroc(y, decision.fracture_probability(found), ones)) for found in (ours, theirs)
    )  # fmt: skip
    return max(raw, calibrated), abs(first - second)


def validation_images(data: Prepared) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images that networks are compared on, uint8 (n, size, size), and their class numbers (n,)."""
    rows = data.rows("validation")[:_MOST_IMAGES]
    return np.asarray(data.images[rows]), data.labels(rows)


def require_same_preprocessing(found: Registered, data: Prepared) -> None:
    """Raise InputError when prepared/ holds other pixels than the model was trained on."""
    if data.preprocessing.to_dict() != found.training.preprocessing:
        raise InputError(
            f"prepared/: holds images prepared as {data.preprocessing.to_dict()}, but the model was trained on "
            f"{found.training.preprocessing}; set params.yaml: preprocess accordingly and run `dvc repro preprocess`"
        )


def choose_format(
    model: Any, data: Prepared, decision: Decision, folder: Path, formats: Sequence[str] = FORMATS
) -> tuple[str, Path, dict[str, dict[str, Any]]]:
    """Convert to number formats, compare each with Keras on validation images, and take the fastest that agrees.

    Of formats that are about as fast the later one of `formats` is taken, by default the safer one. Returns its name,
    its file below `folder`, and what was measured of each. Raises InputError when none agrees.
    """
    with quiet_import():
        from pipeline.evaluation.saliency import explained  # noqa: PLC0415
    reasons = explained(model)
    images, classes = validation_images(data)
    wanted = np.asarray(reasons.predict(images[..., np.newaxis], batch_size=32, verbose=0)[SCORES], np.float32)
    measured: dict[str, Measured] = {}
    for name in formats:
        path = folder / f"{name}.tflite"
        path.write_bytes(convert(reasons, name))
        difference, auroc = compare(run_network(path, images)[SCORES], wanted, classes, decision)
        measured[name] = Measured(difference, auroc, milliseconds(path, images), path.stat().st_size)
    facts = {name: found.to_dict() for name, found in measured.items()}
    agreeing = {name: found for name, found in measured.items() if not found.faults}
    if not agreeing:
        faults = "; ".join(measured[formats[-1]].faults)
        raise InputError(f"the network as {formats[-1]} does not agree with Keras: {faults}")
    fastest = min(found.milliseconds for found in agreeing.values())
    chosen = [name for name, found in agreeing.items() if found.milliseconds <= AS_FAST * fastest][-1]
    return chosen, folder / f"{chosen}.tflite", facts


def write_bundle(found: Registered, data: Prepared, target: Path) -> Manifest:
    """Write the bundle of a registered version into `target`, whole or not at all."""
    require_same_preprocessing(found, data)
    try:
        reference = Reference.load(found.reference)
    except (KeyError, ValueError, OSError) as error:
        raise InputError(
            f"{found.reference.name} of version {found.version.version}: {tracking.one_line(error)}; register the "
            "model again with `dvc repro`"
        ) from None
    with tempfile.TemporaryDirectory(prefix="fracture-formats-") as name, atomic_folder(target) as folder:
        chosen, path, formats = choose_format(found.model, data, found.decision, Path(name))
        shutil.copyfile(path, folder / bundle.MODEL)
        shutil.copyfile(found.reference, folder / bundle.REFERENCE)
        facts = {
            **manifest_facts(found, reference),
            "number_format": chosen,
            "formats": formats,
        }
        bundle.write(folder, facts)
        add_samples(folder)
        return bundle.write(folder, facts)


def manifest_facts(found: Registered, reference: Reference) -> dict[str, Any]:
    """What model.json says of a registered version, but for its number format."""
    from pipeline.evaluation.saliency import says_where  # noqa: PLC0415  TensorFlow takes seconds

    training, tags = found.training, found.version.tags
    forced = None
    if tags.get("promotion_forced") == "True" and tags.get("gates") != promotion.PASSED:
        forced = {key: tags.get(f"promotion_{key}", "unknown") for key in ("by", "at", "reason")}
    dataset = training.dataset
    return {
        "name": found.version.name,
        "version": str(found.version.version),
        "architecture": training.architecture,
        "classes": training.classes,
        "preprocessing": training.preprocessing,
        **found.decision.to_dict(),
        "guard": {
            "unusual": float(np.interp(1 - UNUSUAL_SHARE, QUANTILES, reference.distances)),
            "limit": float(np.interp(1 - REJECTED_SHARE, QUANTILES, reference.distances)),
        },
        "map": "localisation" if says_where(found.model) else "grad-cam",
        "intended": {
            "use": INTENDED_USE, "not_for": NOT_FOR + (subgroups.warning(found.slices) if found.slices else ""),
            "regions": training.regions, "views": training.views,
        },
        "quality": found.metrics.model_dump(mode="json", include={"test", "images", "always_normal_accuracy"}),
        "trained_on": {
            **dataset.model_dump(include={"name", "version", "licence", "citation"}),
            "synthetic": dataset.source == "sample",
        },
        "origin": {
            "registered_model": found.version.name,
            "registry_version": str(found.version.version),
            "run_id": str(found.version.run_id),
            "git_commit": tags.get("git_commit", "unknown"),
            "data_hash": training.data_hash,
            "split_hash": training.split_hash,
            "test_hash": training.test_hash,
            "weights_sha256": training.weights_sha256,
            "gates": tags.get("gates", "unknown"),
            "forced": forced,
            "packaged_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    }  # fmt: skip


def add_samples(folder: Path) -> None:
    """Write a few synthetic radiographs that the bundle's own guard accepts into its folder, if it accepts any.

    Intact and broken bones take turns; they are the first ones accepted, whatever the model says of them.
    """
    import cv2  # noqa: PLC0415

    predictor = Predictor(bundle.read(folder))
    (folder / bundle.SAMPLES).mkdir()
    taken = 0
    for seed in range(_SAMPLE_TRIES):
        region, view = synthetic.REGIONS[seed % len(synthetic.REGIONS)], synthetic.VIEWS[seed % len(synthetic.VIEWS)]
        kind = synthetic.TYPES[seed % len(synthetic.TYPES)] if taken % 2 else None
        done, content = cv2.imencode(".png", synthetic.render(10_000 + seed, region, view, kind).pixels)
        try:
            predictor.predict(content.tobytes())
        except ImageError:
            continue
        taken += done
        what = f"{kind}-fracture" if kind else "normal"
        name = f"synthetic-{taken}-{region.replace(' ', '-')}-{what}.png"
        (folder / bundle.SAMPLES / name).write_bytes(content.tobytes())
        if taken == _SAMPLES:
            return


def build_bento(root: Path, folder: Path, target: Path) -> str:
    """Build the bento of a bundle with bentofile.yaml into `target` and return its tag; InputError when that fails."""
    manifest = bundle.read(folder).manifest
    with tempfile.TemporaryDirectory(prefix="fracture-bento-") as name:
        stage, home = Path(name) / "stage", Path(name) / "home"
        stage.mkdir()
        for part in ("service.py", "bentofile.yaml"):
            shutil.copy(root / part, stage)
        shutil.copytree(root / "serving", stage / "serving", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(folder, stage / "bundle")
        (stage / "locks").mkdir()
        shutil.copy(root / "locks/service.txt", stage / "locks")
        # BentoML takes no `+`, as the version of a recalibrated bundle has one.
        version = re.sub(r"[^a-z0-9._-]", ".", f"{manifest.version}-{manifest.files[bundle.MODEL][:12]}".lower())
        labels = {
            "registry_version": manifest.version, "run_id": manifest.origin.run_id,
            "git_commit": manifest.origin.git_commit, "data_hash": manifest.origin.data_hash,
            "model_sha256": manifest.files[bundle.MODEL],
        }  # fmt: skip
        command = [sys.executable, "-m", "bentoml", "build", "--version", version, "--output", "tag"]
        for key, value in labels.items():
            command += ["--label", f"{key}={value}"]
        environment = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
        done = subprocess.run(  # noqa: S603  fixed words and hashes
            command, cwd=stage, env=environment, capture_output=True, text=True, check=False
        )
        built = list((home / "bentos/bone-fracture").glob(version))
        if done.returncode or not built:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise InputError(f"bentoml build failed: {lines[-1] if lines else 'no message'}")
        with atomic_folder(target) as partial:
            shutil.copytree(built[0], partial, dirs_exist_ok=True)
            partial.chmod(0o755)  # BentoML made it for its owner alone; a container's user has to read it
    return f"bone-fracture:{version}"
