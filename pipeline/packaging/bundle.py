"""Write the bundle of a registered model."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pipeline import register
from pipeline.artifacts import TrainingRecord
from pipeline.data import input_heads
from pipeline.data.prepared import Prepared
from pipeline.data.sources import synthetic
from pipeline.errors import InputError
from pipeline.evaluation import operating_points, subgroups
from pipeline.evaluation.records import Metrics, Robustness
from pipeline.files import atomic_folder
from pipeline.late import late
from pipeline.packaging.change_plan import Verdict
from pipeline.packaging.conversion import choose_format
from pipeline.registry import champion, promotion
from pipeline.registry.mlflow import Registry, connect
from pipeline.registry.records import ModelVersion
from serving import bundle
from serving.bundle import Manifest
from serving.decision import Decision
from serving.errors import ImageError, one_line
from serving.imaging.canonical.form import HEADS, head_files
from serving.predictor import Predictor
from serving.scope import Terms
from serving.statistics import QUANTILES, Reference

if TYPE_CHECKING:
    from pipeline.evaluation import saliency
    from pipeline.training import architectures
else:
    architectures = late("pipeline.training.architectures")
    saliency = late("pipeline.evaluation.saliency")
keras = late("keras")

REJECTED_SHARE = 0.01
"""Share of radiographs like those of training that the guard refuses: the price of refusing other pictures."""
UNUSUAL_SHARE = 0.05
"""Share of radiographs like those of training that get an answer with a warning, or none."""
_OF_QUALITY = {"test", "images", "inputs", "always_normal_accuracy"}
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

    version: ModelVersion
    model: Any
    training: TrainingRecord
    decision: Decision
    metrics: Metrics
    reference: Path
    image_heads: Path | None = None
    """image_heads.npz; None for a model that was registered before there was one."""
    slices: Path | None = None
    """slices.csv; None for a model that was measured elsewhere, or registered before it was kept."""


@contextmanager
def fetched(address: str, *, judged: bool = True) -> Iterator[Registered]:
    """The registered version behind `models:/NAME@ALIAS` or `models:/NAME/VERSION`, its gates checked again.

    Without `judged` the gates do not count, for a version that is only to be measured. Raises InputError: no such
    version, gates failed without a forced promotion, files that do not belong together.
    """
    with tempfile.TemporaryDirectory(prefix="fracture-package-") as name:
        folder = Path(name)
        yield _fetch(connect(), address, folder, judged)


def _fetch(registry: Registry, address: str, folder: Path, judged: bool) -> Registered:
    version = champion.find_address(registry, address)
    if judged:
        promotion.require_fit(version)
    content_hash = version.tags.get("content_hash", "")
    if not content_hash:
        raise InputError(f"{address}: was not registered by this project; use `fracture import-model FILE`")
    try:
        model, run = registry.download(version, register.package_folder(content_hash), folder)
    except InputError as error:
        raise InputError(
            f"{address}: its files cannot be fetched ({error}); register the model again with `dvc repro -sf register`"
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
        image_heads=heads if (heads := run / bundle.IMAGE_HEADS).is_file() else None,
        slices=slices if (slices := run / "slices.csv").is_file() else None,
    )


def _load(folder: Path, training: TrainingRecord, address: str) -> Any:
    found = sorted(folder.rglob("*.keras"))
    if len(found) != 1:
        raise InputError(f"{address}: holds {len(found)} .keras files where one is expected; register the model again")
    model = keras.models.load_model(found[0], safe_mode=True, compile=False)
    if architectures.weights_hash(model) != training.weights_sha256:
        raise InputError(f"{address}: its weights are not the ones that were trained; register the model again")
    return model


def require_same_preprocessing(found: Registered, data: Prepared) -> None:
    """Raise InputError when prepared/ holds other pixels than the model was trained on."""
    if data.preprocessing.to_dict() != found.training.preprocessing:
        raise InputError(
            f"prepared/: holds images prepared as {data.preprocessing.to_dict()}, but the model was trained on "
            f"{found.training.preprocessing}; set params.yaml: preprocess accordingly and run `dvc repro preprocess`"
        )


def write_bundle(
    found: Registered,
    data: Prepared,
    target: Path,
    robustness: Robustness | None = None,
    *,
    judge: Callable[[Mapping[str, Any]], Verdict] | None = None,
    terms: Terms | None = None,
) -> Manifest:
    """Write the bundle of a registered version into `target`, whole or not at all.

    `robustness`, and what `judge` says of its facts by the change plan, go among its quality, where `GET /model` shows
    them. `terms` is the list that headers are judged by; by default this version's, for the regions trained for.
    """
    require_same_preprocessing(found, data)
    try:
        reference = Reference.load(found.reference)
    except (KeyError, ValueError, OSError) as error:
        raise InputError(
            f"{found.reference.name} of version {found.version.version}: {one_line(error)}; register the "
            "model again with `dvc repro`"
        ) from None
    with tempfile.TemporaryDirectory(prefix="fracture-formats-") as name, atomic_folder(target) as folder:
        chosen, path, formats = choose_format(found.model, data, found.decision, Path(name))
        shutil.copyfile(path, folder / bundle.MODEL)
        shutil.copyfile(found.reference, folder / bundle.REFERENCE)
        input_heads.of_training(data.preprocessing)
        for head in head_files(data.preprocessing.canonical):
            shutil.copyfile(HEADS / head, folder / head)
        if found.image_heads:
            shutil.copyfile(found.image_heads, folder / bundle.IMAGE_HEADS)
        listed = terms or Terms.for_regions(found.training.regions)
        (folder / bundle.SCOPE).write_text(listed.text(), encoding="utf-8")
        facts = {
            **manifest_facts(found, reference),
            "number_format": chosen,
            "formats": formats,
        }
        if robustness:
            facts["quality"] = {**facts["quality"], "robustness": robustness.model_dump(mode="json")}
        if judge:
            facts["quality"] = {**facts["quality"], "change_plan": judge(facts).record()}
        bundle.write(folder, facts)
        add_samples(folder)
        return bundle.write(folder, facts)


def manifest_facts(found: Registered, reference: Reference) -> dict[str, Any]:
    """What model.json says of a registered version, but for its number format."""
    training, tags = found.training, found.version.tags
    dataset = training.dataset
    return {
        "name": found.version.name,
        "version": found.version.version,
        "architecture": training.architecture,
        "classes": training.classes,
        "preprocessing": training.preprocessing,
        **found.decision.to_dict(),
        "guard": {
            "unusual": float(np.interp(1 - UNUSUAL_SHARE, QUANTILES, reference.distances)),
            "limit": float(np.interp(1 - REJECTED_SHARE, QUANTILES, reference.distances)),
        },
        "map": "localisation" if saliency.says_where(found.model) else "grad-cam",
        "intended": {
            "use": INTENDED_USE,
            "not_for": NOT_FOR + (subgroups.warning(found.slices) if found.slices else ""),
            "regions": training.regions,
            "views": training.views,
        },
        "quality": {
            **found.metrics.model_dump(mode="json", include=_OF_QUALITY),
            "weak_regions": subgroups.weak_regions(found.slices) if found.slices else {},
        },
        "trained_on": {
            **dataset.model_dump(include={"name", "version", "licence", "citation"}),
            "synthetic": dataset.source == "sample",
        },
        "origin": {
            "registered_model": found.version.name,
            "registry_version": found.version.version,
            "run_id": found.version.run_id,
            "git_commit": tags.get("git_commit", "unknown"),
            "data_hash": training.data_hash,
            "split_hash": training.split_hash,
            "test_hash": training.test_hash,
            "weights_sha256": training.weights_sha256,
            "gates": tags.get("gates", "unknown"),
            "forced": promotion.forced_by(found.version),
            "packaged_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    }


def add_samples(folder: Path) -> None:
    """Write a few synthetic radiographs that the bundle's own guard accepts into its folder, if it accepts any.

    Intact and broken bones take turns; they are the first ones accepted, whatever the model says of them.
    """
    predictor = Predictor(bundle.read(folder, unsigned=True))
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
