"""The model that ships in models/: whole, small, described by its own figures, and as good as they say."""

import csv
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.artifacts import DatasetRecord
from pipeline.data import layout
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.monitoring import drift
from pipeline.training import leakage
from pipeline.training.trained import newest_release
from serving import bundle
from serving.bundle import Bundle
from serving.imaging import decode
from serving.imaging.canvas import Preprocessing
from serving.predictor import Predictor

ROOT = Path(__file__).parents[1]
RELEASE = newest_release(ROOT).parent
Grey = npt.NDArray[np.uint8]

needs_fracatlas = pytest.mark.skipif("FRACATLAS_ARCHIVE" not in os.environ, reason="FRACATLAS_ARCHIVE names no file")


@pytest.fixture(scope="module")
def released() -> Bundle:
    return bundle.read(RELEASE / "bundle")


@pytest.fixture(scope="module")
def test_set(fracatlas_data: Path) -> dict[Path, int]:
    """Every third image of the release's test set, and whether it is fractured."""
    files = layout.read(fracatlas_data).labels.set_index("image_id")["file"]
    with (RELEASE / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "test"][::3]
    return {fracatlas_data / files[row["image_id"]]: int(row["label"] == "fractured") for row in rows}


def test_every_file_is_the_one_that_was_released() -> None:
    lines = [line.split("  ", 1) for line in (RELEASE / "sha256sums").read_text().splitlines()]
    sums = {name: expected for expected, name in lines}
    files = {path.relative_to(RELEASE).as_posix() for path in RELEASE.rglob("*") if path.is_file()} - {"sha256sums"}
    assert set(sums) == files
    for name, expected in sums.items():
        assert hashlib.sha256((RELEASE / name).read_bytes()).hexdigest() == expected, name


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_it_is_small_enough_for_git() -> None:
    assert _bytes(RELEASE / "bundle") < 25_000_000
    assert _bytes(ROOT / "models") < 60_000_000


def test_its_card_states_what_was_measured(released: Bundle) -> None:
    figures = json.loads((RELEASE / "metrics.json").read_text())
    card = (RELEASE / "MODEL_CARD.md").read_text()
    auroc = figures["test"]["auroc"]
    assert f"AUROC {auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})" in card
    assert not released.manifest.trained_on.synthetic
    assert released.manifest.origin.split_hash[:16] in card


def test_no_group_is_in_two_of_its_parts() -> None:
    parts: dict[str, set[str]] = {}
    with (RELEASE / "split.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            parts.setdefault(row["group"], set()).add(row["part"])
    assert all(len(found) == 1 for found in parts.values())


@needs_fracatlas
def test_it_tells_radiographs_apart(released: Bundle, test_set: dict[Path, int]) -> None:
    predictor = Predictor(released)
    labels, probabilities = [], []
    for path, label in test_set.items():
        try:
            found = predictor.predict(path.read_bytes())
        except decode.ImageError:  # one in a hundred is refused, as the guard's limit was chosen
            continue
        labels.append(label)
        probabilities.append(found.probability)
    assert len(labels) > 0.97 * len(test_set)
    assert roc_auc_score(labels, probabilities) > 0.88


def _inverted(pixels: Grey) -> Grey:
    return np.asarray(255 - pixels, np.uint8)


def _over_exposed(pixels: Grey) -> Grey:
    return np.asarray(np.clip(pixels.astype(np.float32) * 1.8, 0, 255), np.uint8)


@needs_fracatlas
def test_it_warns_of_an_inverted_radiograph_and_not_of_others(released: Bundle, test_set: dict[Path, int]) -> None:
    predictor = Predictor(released)
    warned = {"as it is": 0, "inverted": 0}
    files = list(test_set)[::4]
    for path in files:
        decoded = decode.decode(path.read_bytes()).pixels
        for name, pixels in (("as it is", decoded), ("inverted", _inverted(decoded))):
            content = cv2.imencode(".png", pixels)[1].tobytes()
            try:
                notes = predictor.predict(content).warnings
            except decode.ImageError:
                continue
            warned[name] += any(note.code in {"inverted", "out_of_range"} for note in notes)
    assert warned["as it is"] <= 0.03 * len(files)
    assert warned["inverted"] >= 0.95 * len(files)


@needs_fracatlas
def test_nothing_that_it_learned_from_may_judge_what_begins_from_it(fracatlas_data: Path) -> None:
    labels = layout.read(fracatlas_data).labels
    table = labels.assign(part="train", group=labels["image_id"], **{"class": 0})
    split = pd.read_csv(RELEASE / "split.csv").set_index("image_id")["part"]
    source = json.loads((RELEASE / "training.json").read_text())["dataset"]["source"]

    def of(test: pd.Series, source: str = source) -> Prepared:
        table["part"] = np.where(test, "test", "train")
        images = np.zeros((len(table), 8, 8), np.uint8)
        return Prepared(
            images,
            table,
            pd.DataFrame(),
            ("normal", "fractured"),
            Preprocessing(8),
            "",
            "",
            "",
            DatasetRecord(source=source),
        )

    own = labels["image_id"].map(split) == "test"
    leakage.require(of(own), RELEASE)
    leakage.require(of(~own, "folder"), RELEASE)
    with pytest.raises(InputError, match=rf"{(~own).sum()} of the {(~own).sum()} images of the test set"):
        leakage.require(of(~own), RELEASE)


@pytest.mark.slow
@needs_fracatlas
def test_drift_is_quiet_on_its_test_set(released: Bundle, test_set: dict[Path, int], tmp_path: Path) -> None:
    for path in test_set:
        (tmp_path / path.name).symlink_to(path)
    report = drift.compare(drift.read_folder(tmp_path, released), released, "test set")
    assert report.moved == []
    assert not report.guard_moved


@pytest.mark.slow
@needs_fracatlas
@pytest.mark.parametrize(("change", "speaks"), [(_inverted, False), (_over_exposed, True)])
def test_drift_speaks_on_another_exposure_and_not_on_what_the_canonical_form_undoes(
    change: Callable[[Grey], Grey], speaks: bool, released: Bundle, test_set: dict[Path, int], tmp_path: Path
) -> None:
    for path in list(test_set)[::2]:
        decoded = decode.decode(path.read_bytes()).pixels
        cv2.imwrite(str(tmp_path / f"{path.stem}.png"), change(decoded))
    report = drift.compare(drift.read_folder(tmp_path, released), released, "changed")
    assert ({"mean", "contrast"} <= set(report.moved)) == speaks


@pytest.mark.slow
@needs_fracatlas
def test_drift_speaks_on_images_of_one_region(released: Bundle, fracatlas_data: Path, tmp_path: Path) -> None:
    labels = layout.read(fracatlas_data).labels.set_index("image_id")
    with (RELEASE / "split.csv").open(encoding="utf-8", newline="") as file:
        test = [row["image_id"] for row in csv.DictReader(file) if row["part"] == "test"]
    for image_id in [one for one in test if labels.loc[one, "region"] == "hand"][::2]:
        path = fracatlas_data / str(labels.loc[image_id, "file"])
        (tmp_path / path.name).symlink_to(path)
    report = drift.compare(drift.read_folder(tmp_path, released), released, "hands")
    assert {"contrast", "probability"} <= set(report.moved)
