"""Measure a wrapped model and register it like one trained here."""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.quiet import quiet_import

with quiet_import():
    import keras
import pandas as pd

from pipeline import params, register
from pipeline.artifacts import Artifacts, DatasetRecord, ImportedFrom, TrainingRecord
from pipeline.data import prepared
from pipeline.data.prepared import Prepared
from pipeline.evaluation.report import evaluate
from pipeline.files import sha256_file
from pipeline.git import git_commit
from pipeline.packaging.keras_import.scale import Scale
from pipeline.packaging.keras_import.wrapping import take_over
from pipeline.registry.mlflow import connect
from pipeline.training import architectures

_TRAINED_ON = "unknown (imported)"


@dataclass(frozen=True)
class Imported(register.Candidate):
    """A candidate that was trained elsewhere: no training parameters of this project, and its file among the tags."""

    extra: Mapping[str, str] = field(default_factory=dict)

    def flat_params(self) -> dict[str, Any]:
        """params.yaml without the section of a training that did not happen here."""
        return {name: value for name, value in super().flat_params().items() if not name.startswith("train.")}

    def tags(self) -> dict[str, str]:
        """Those of any version, and where this one comes from."""
        return {**super().tags(), **self.extra}


def _training(model: keras.Model, file: Path, data: Prepared, paths: Artifacts) -> TrainingRecord:
    """Write model.keras and training.json; of the training itself nothing is known."""
    paths.model.mkdir(parents=True)
    model.save(paths.keras_model)
    record = TrainingRecord(
        architecture=model.name,
        classes=data.classes,
        image_size=data.preprocessing.image_size,
        preprocessing=data.preprocessing.to_dict(),
        model_sha256=sha256_file(paths.keras_model),
        weights_sha256=architectures.weights_hash(model),
        parameters=model.count_params(),
        epochs=0,
        best_epoch=0,
        data_hash=data.data_hash,
        split_hash=data.split_hash,
        test_hash=data.test_hash,
        dataset=DatasetRecord(**dict.fromkeys(("name", "version", "licence", "citation", "source"), _TRAINED_ON)),
        regions=(),
        views=(),
        run_id="",
        imported_from=ImportedFrom(file=file.name, sha256=sha256_file(file)),
    )
    record.write(paths.training)
    return record


def _copy_context(root: Path, folder: Path) -> None:
    """Copy what a version's tags and artifacts are taken from, as far as it is there, into a temporary project."""
    source, target = Artifacts(root), Artifacts(folder)
    prepared_record = "prepared.json"
    for path, copy in (
        (source.params, target.params),
        (root / "data.dvc", folder / "data.dvc"),
        (root / "dvc.lock", folder / "dvc.lock"),
        (source.prepared / prepared_record, target.prepared / prepared_record),
        (source.validation, target.validation),
    ):
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def import_model(path: Path, root: Path, scale: Scale | None, classes: tuple[str, ...] | None) -> list[str]:
    """Take over, measure and register a model file; the lines to print.

    Everything is written in a temporary folder: build/ and reports/ of `root` stay as they are.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns that measuring two models takes two graphs
    data = prepared.load(Artifacts(root).prepared)
    options = params.load(Artifacts(root).params)
    model, meaning = take_over(path, data, scale, classes or data.classes)
    with tempfile.TemporaryDirectory(prefix="fracture-import-") as name:
        paths = Artifacts(Path(name))
        _copy_context(root, paths.root)
        training = _training(model, path, data, paths)
        report = evaluate(data, model, training, options.evaluate)
        report.write(paths)
        candidate = Imported(
            paths=paths,
            training=training,
            metrics=report.metrics,
            decision=report.decision,
            history=pd.DataFrame(),
            options=options,
            extra={
                "imported_from": f"{path.name} (sha256 {sha256_file(path)})",
                "git_commit": git_commit(root),
            },
        )
        result = register.register(connect(), candidate)
    state = "registered" if result.new else "already registered"
    auroc = report.metrics.test.auroc.value
    turned = ",".join(reversed(meaning.classes))
    doubt = [f"an AUROC below 0.5 suggests another order of its columns: try --classes {turned}"]
    return [
        f"{path}: pixels of {meaning.scale}, columns {', '.join(meaning.classes)}; probabilities unchanged",
        report.summary,
        *(doubt if auroc is not None and auroc < 0.5 else []),
        "whether the model has seen these test images in its training, only its author knows",
        f"{result.model} version {result.version} {state}; gates {result.gates}; {result.comparison}",
        register.next_step(result),
    ]
