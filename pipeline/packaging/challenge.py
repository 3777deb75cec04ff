"""Champion and challenger on the same images: the frozen test set, held-back confirmed images, and the shadow."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.artifacts import Artifacts, PreparedRecord
from pipeline.data import input_heads, layout
from pipeline.errors import InputError
from pipeline.evaluation import comparison
from pipeline.evaluation.comparison import Answers, Comparison
from pipeline.late import late
from pipeline.monitoring import shadow
from pipeline.monitoring.shadow import ShadowReport
from pipeline.packaging import bundle
from pipeline.packaging.bundle import Registered
from pipeline.preprocess import Preparation, prepare_files
from pipeline.progress import progress_bar
from pipeline.registry.evidence import Evidence
from pipeline.registry.records import ModelVersion
from serving.imaging.canvas import Pixels, Preprocessing

if TYPE_CHECKING:
    from pipeline.evaluation import saliency
else:
    saliency = late("pipeline.evaluation.saliency")

_BATCH = 32
_SHADOW_DAYS = 90
Texts = npt.NDArray[np.str_]
_Both = tuple[Registered, Registered]


@dataclass(frozen=True)
class _Images:
    """Images with their truth: files, class numbers (n,) and groups (n,)."""

    files: Sequence[Path]
    y: comparison.Labels
    groups: Texts


def gather(paths: Artifacts, champion: ModelVersion, challenger: ModelVersion, store: str) -> Evidence:
    """Everything that can be compared now; what cannot says why. `store` is a database of answers, or empty."""
    test, judging = _test_images(paths, (champion, challenger)), _held_back(paths)
    compared: Comparison | str
    by_site: dict[str, Comparison] | str
    if isinstance(test, str) and isinstance(judging, str):
        compared, by_site = test, judging
    else:
        try:
            with (
                bundle.fetched(_address(champion), judged=False) as old,
                bundle.fetched(_address(challenger), judged=False) as new,
            ):
                compared = test if isinstance(test, str) else _compare((old, new), test)
                by_site = judging if isinstance(judging, str) else _sites((old, new), judging)
        except InputError as error:
            compared = test if isinstance(test, str) else str(error)
            by_site = judging if isinstance(judging, str) else str(error)
    return Evidence(_title(champion), _title(challenger), compared, by_site, _shadow(store, champion, challenger))


def _address(version: ModelVersion) -> str:
    return f"models:/{version.name}/{version.version}"


def _title(version: ModelVersion) -> str:
    return f"{version.name} version {version.version}"


def _test_images(paths: Artifacts, versions: Sequence[ModelVersion]) -> _Images | str:
    """The test set of prepared/, or why the models cannot be compared on it.

    A model that was measured on another test set may have been trained on images of this one.
    """
    try:
        record = PreparedRecord.read(paths.prepared / "prepared.json")
        split = layout.read_table(paths.prepared / "split.csv", ["image_id", "part", "group", "class"])
        labels = layout.read(paths.data).labels
    except InputError as error:
        return str(error)
    for version in versions:
        if version.tags.get("test_hash") != record.test_hash:
            return f"{_title(version)} was measured on another test set than that of prepared/"
    chosen = split[split["part"] == "test"].merge(labels[["image_id", "file"]], on="image_id", how="left")
    if chosen["file"].isna().any():
        return "data/ lacks images of the test set of prepared/; run `dvc repro`"
    return _images(paths.data, chosen, chosen["group"].to_numpy(str), chosen["class"].astype(int).to_numpy() > 0)


def _held_back(paths: Artifacts) -> dict[str, _Images] | str:
    """Held-back confirmed images by site, or why there are none."""
    if not (paths.held_back / "labels.csv").is_file():
        return "there is no held_back/; `fracture data feedback` fills it"
    data = layout.read(paths.held_back)
    table = data.labels.assign(fractured=data.labels["label"] != data.info.classes[0])
    named = table["patient_id"].where(table["patient_id"] != "", table["study_id"])
    table["group"] = named.where(named != "", table["image_id"])
    return {
        str(site): _images(data.folder, part, part["group"].to_numpy(str), part["fractured"].to_numpy(bool))
        for site, part in table.groupby("site")
    }


def _images(folder: Path, table: pd.DataFrame, groups: Texts, fractured: npt.NDArray[np.bool_]) -> _Images:
    return _Images([folder / file for file in table["file"]], fractured.astype(np.int64), groups)


def _sites(both: _Both, judging: dict[str, _Images]) -> dict[str, Comparison]:
    return {site: _compare(both, images) for site, images in judging.items()}


def _compare(both: _Both, images: _Images) -> Comparison:
    champion, challenger = (answers(found, images.files) for found in both)
    return comparison.compare(images.y, champion, challenger, images.groups)


def answers(found: Registered, files: Sequence[Path]) -> Answers:
    """What a registered model says of image files, each prepared as it was trained."""
    preprocessing = Preprocessing.from_dict(found.training.preprocessing)
    preparation = Preparation(preprocessing, input_heads.of_training(preprocessing))
    model = saliency.explained(found.model)
    scores: list[comparison.Array] = []
    waiting: list[Pixels] = []
    with progress_bar(f"promote: {_title(found.version)}", len(files)) as advance:
        for number, prepared in enumerate(prepare_files(files, preparation), start=1):
            waiting.append(prepared.pixels)
            if len(waiting) == _BATCH or number == len(files):
                batch = np.stack(waiting)[..., np.newaxis]
                # `predict` would compile the network anew for every site, and TensorFlow warn of it.
                scores.append(np.asarray(model(batch, training=False)[saliency.SCORES], np.float64))
                advance(len(waiting))
                waiting = []
    probabilities = found.decision.fracture_probability(np.concatenate(scores))
    return Answers(probabilities, probabilities >= found.decision.threshold)


def _shadow(store: str, champion: ModelVersion, challenger: ModelVersion) -> ShadowReport | str:
    """What the store says of the two, of the last 90 days; or why it says nothing."""
    if not store:
        return "no store is named (FRACTURE_STORE_URL)"
    normal = champion.tags.get("classes", "normal").split(", ")[0]
    until = datetime.now(UTC)
    try:
        reports = shadow.read(store, until - timedelta(days=_SHADOW_DAYS), until, normal)
    except InputError as error:
        return str(error)
    wanted = tuple(f"{_title(version)} (" for version in (champion, challenger))
    for report in reports:
        if (report.champion.startswith(wanted[0]), report.challenger.startswith(wanted[1])) == (True, True):
            return report
    return f"the store holds no image of the last {_SHADOW_DAYS} days that both answered"
