"""Stage register: complete the MLflow run from the files and make a version of the registered model."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline import params
from pipeline.artifacts import Artifacts, PreparedRecord, Registration, TrainingRecord
from pipeline.errors import InputError, exit_with_line
from pipeline.evaluation import operating_points
from pipeline.evaluation.records import Metrics
from pipeline.files import sha256_file
from pipeline.git import git_commit
from pipeline.late import late
from pipeline.params import Params
from pipeline.registry import champion, promotion
from pipeline.registry.mlflow import Registry, connect
from pipeline.registry.records import Run
from pipeline.training import trained
from serving.decision import Decision

if TYPE_CHECKING:
    from pipeline.training import architectures
else:
    architectures = late("pipeline.training.architectures")
keras = late("keras")
tensorflow = late("tensorflow")


def packaged(paths: Artifacts) -> list[Path]:
    """Files that packaging needs, kept under `package_folder`: one run may be evaluated, and registered, repeatedly."""
    return [paths.decision, paths.reference, paths.image_heads, paths.training, paths.metrics, paths.slices]


def _kept(paths: Artifacts) -> list[Path]:
    """Files kept with the run. The gallery and the predictions stay out: they show and name patients' images."""
    return [paths.params, *packaged(paths), paths.history, paths.validation]


def content_hash(training: TrainingRecord, decision: Decision) -> str:
    """What makes two models the same: weights, classes, preprocessing and decision; hex sha256."""
    return content_hash_of(
        training.model_dump(mode="json", include={"weights_sha256", "classes", "preprocessing"}), decision
    )


def content_hash_of(parts: Mapping[str, Any], decision: Decision) -> str:
    """As `content_hash`, of weights_sha256, classes and preprocessing as JSON has them."""
    return hashlib.sha256(json.dumps([parts, decision.to_dict()], sort_keys=True).encode()).hexdigest()


def package_folder(content: str) -> str:
    """Where among a run's artifacts the files of `packaged` lie for the version with this content hash."""
    return f"package/{content[:16]}"


@dataclass(frozen=True)
class Candidate:
    """All that is registered, read from the files of the stages before."""

    paths: Artifacts
    training: TrainingRecord
    metrics: Metrics
    decision: Decision
    history: pd.DataFrame
    options: Params

    @classmethod
    def read(cls, root: Path) -> "Candidate":
        """Read build/, reports/ and params.yaml below `root`; InputError names what is missing."""
        paths = Artifacts(root)
        missing = [path for path in (*_kept(paths), paths.plots) if not path.exists()]
        if missing:
            raise InputError(f"{missing[0]}: not found; `dvc repro` writes it")
        metrics = Metrics.read(paths.metrics)
        training = trained.read_training(paths.model)
        if metrics.weights_sha256 != training.weights_sha256:
            raise InputError(f"{paths.metrics}: belongs to another model; run `dvc repro evaluate`")
        return cls(
            paths=paths,
            training=training,
            metrics=metrics,
            decision=operating_points.read(paths.decision),
            history=_read_history(paths.history),
            options=params.load(paths.params),
        )

    def content_hash(self) -> str:
        """What makes two models the same."""
        return content_hash(self.training, self.decision)

    def flat_params(self) -> dict[str, Any]:
        """params.yaml as section.key pairs."""
        sections = self.options.model_dump(mode="json", by_alias=True)
        return {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}

    def tags(self) -> dict[str, str]:
        """What an auditor asks a version for."""
        return {
            "content_hash": self.content_hash(),
            "architecture": self.training.architecture,
            "classes": ", ".join(self.training.classes),
            "data_hash": self.training.data_hash,
            "split_hash": self.training.split_hash,
            "test_hash": self.metrics.hashes.test,
            "test_auroc": str(self.metrics.test.auroc.value),
            "dataset": _dataset_name(self.paths),
            "data_dvc_sha256": _hash_or_unknown(self.paths.root / "data.dvc"),
            "dvc_lock_sha256": _hash_or_unknown(self.paths.root / "dvc.lock"),
            "git_commit": git_commit(self.paths.root),
        }


def _read_history(path: Path) -> pd.DataFrame:
    try:
        history = pd.read_csv(path)
    except ValueError as error:
        raise InputError(f"{path}: is no table ({error}); run `dvc repro -f train`") from None
    if "epoch" not in history.columns or not len(history):
        raise InputError(f"{path}: has no epoch; run `dvc repro -f train`")
    return history


def _dataset_name(paths: Artifacts) -> str:
    dataset = PreparedRecord.read(paths.prepared / "prepared.json").dataset
    return f"{dataset.name} {dataset.version}"


def _hash_or_unknown(path: Path) -> str:
    return sha256_file(path) if path.is_file() else "unknown"


def complete_run(registry: Registry, candidate: Candidate) -> str:
    """Bring the run that training began up to date with the files, or make one; returns its id.

    What got through live is not logged twice.
    """
    run = registry.find_run(candidate.training.run_id) or registry.start(candidate.training.architecture)
    missing = {key: value for key, value in candidate.flat_params().items() if key not in run.params}
    registry.log_params(run.id, missing)
    _log_history(registry, run, candidate.history)
    registry.log_metrics(run.id, candidate.metrics.flat(), candidate.training.best_epoch)
    registry.tag_run(run.id, candidate.tags())
    for path in _kept(candidate.paths):
        if path.is_file():
            registry.log_file(run.id, path, path.relative_to(candidate.paths.root).parent.name or "files")
    for path in sorted(candidate.paths.plots.glob("*.png")):
        registry.log_file(run.id, path, "plots")
    return run.id


def _log_history(registry: Registry, run: Run, history: pd.DataFrame) -> None:
    """Log the metrics of every epoch that the run does not have yet."""
    logged = {name: registry.steps(run.id, name) for name in history.columns if name in run.metrics}
    for row in history.to_dict("records"):
        step = int(row.pop("epoch"))
        if new := {str(name): value for name, value in row.items() if step not in logged.get(name, ())}:
            registry.log_metrics(run.id, new, step)


def keep_for_packaging(registry: Registry, candidate: Candidate, run_id: str) -> None:
    """Log the files of `packaged`; again for a known version: a newer evaluation may have another reference."""
    for path in packaged(candidate.paths):
        registry.log_file(run_id, path, package_folder(candidate.content_hash()))


def log_model(registry: Registry, candidate: Candidate, run_id: str) -> str:
    """Log the Keras model and register it; returns the version's number."""
    keras.utils.disable_interactive_logging()  # MLflow tries the input example out, with a progress bar
    model, _ = architectures.load_trained(candidate.paths.model)
    size = candidate.training.image_size
    # A grey ramp: a registry is no place for a patient's pixels.
    ramp = np.tile(np.linspace(0, 255, size, dtype=np.uint8), (size, 1))[np.newaxis, ..., np.newaxis]
    requirements = (f"tensorflow=={tensorflow.__version__}", f"keras=={keras.__version__}")
    return registry.log_model(run_id, candidate.options.register_.model_name, model, ramp, requirements)


def register(registry: Registry, candidate: Candidate) -> Registration:
    """Complete the run, make the version unless the same model has one, set tags and the challenger's alias."""
    options = candidate.options.register_
    name = options.model_name
    current = champion.observe(registry, name)
    gates = promotion.check_gates(candidate.metrics, current.tags if current else None, options)
    known = registry.version_with_tag(name, "content_hash", candidate.content_hash())
    if known is not None:
        version, run_id = known.version, known.run_id
    else:
        run_id = complete_run(registry, candidate)
        version = log_model(registry, candidate, run_id)
    keep_for_packaging(registry, candidate, run_id)
    verdict = {"gates": gates.verdict, "comparison": gates.comparison}
    registry.set_version_tags(name, version, verdict if known else {**candidate.tags(), **verdict})
    if not gates.reasons:
        registry.set_alias(name, promotion.CHALLENGER, version)
    return Registration(
        model=name,
        version=version,
        run_id=run_id,
        new=known is None,
        gates=gates.verdict,
        comparison=gates.comparison,
        content_hash=candidate.content_hash(),
    )


def main() -> None:
    """Read build/ and reports/, write reports/registration.json; MLflow has to answer."""
    candidate = Candidate.read(Path())
    result = register(connect(), candidate)
    result.write(candidate.paths.registration)
    state = "registered" if result.new else "already registered"
    print(f"{result.model} version {result.version} {state}; gates {result.gates}; {result.comparison}")
    print(next_step(result))


def next_step(result: Registration) -> str:
    """What a person can do with a version that was registered, as a line."""
    if result.gates == promotion.PASSED:
        return "it is the challenger; promote it with `fracture promote` or in the MLflow UI (`make mlflow`)"
    return (
        "improve it (params.yaml, docs/training.md), or promote it in spite of its gates: "
        f"fracture promote {result.version} --force --reason '...'"
    )


if __name__ == "__main__":
    exit_with_line(main)
