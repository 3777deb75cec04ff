"""The sample as a data set."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.data import layout
from pipeline.data.sources import synthetic
from pipeline.data.sources.synthetic.plan import draw_plans
from pipeline.data.sources.synthetic.source import make_picture
from pipeline.errors import InputError


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> layout.Dataset:
    folder = tmp_path_factory.mktemp("sample") / "data"
    synthetic.fill(folder, count=60)
    return layout.read(folder)


@pytest.fixture(scope="module")
def thumbnails(small: layout.Dataset) -> np.ndarray:
    """One row of 16 x 16 means for each picture, standardised."""
    pictures = [cv2.imread(str(small.folder / file), cv2.IMREAD_GRAYSCALE) for file in small.labels["file"]]
    rows = np.stack([cv2.resize(np.asarray(p), (16, 16), interpolation=cv2.INTER_AREA).ravel() for p in pictures])
    centred = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def measures() -> pd.DataFrame:
    """Simple measures of pictures of the default set."""
    rows = []
    for plan in draw_plans(400, 7, "binary")[:100]:
        pixels = make_picture(plan)[1].pixels
        height, width = pixels.shape
        rows.append((plan.fracture is not None, pixels.mean(), pixels.std(), np.median(pixels), height, width))
    return pd.DataFrame(rows, columns=["fractured", "mean", "contrast", "median", "height", "width"])


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_workers(tmp_path: Path) -> None:
    synthetic.fill(tmp_path / "one", count=20, seed=3, workers=1)
    synthetic.fill(tmp_path / "three", count=20, seed=3, workers=3)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "three")


def test_boxes_and_types_belong_to_the_fractured_and_to_nobody_else(small: layout.Dataset) -> None:
    fractured = small.labels["label"] == "fractured"
    assert set(small.boxes["image_id"]) == set(small.labels["image_id"][fractured])
    assert (small.labels["fracture_type"][fractured] != "").all()
    assert (small.labels["fracture_type"][~fractured] == "").all()
    assert set(small.boxes["label"]) <= set(synthetic.TYPES)


def test_about_45_percent_are_fractured(small: layout.Dataset) -> None:
    assert 0.35 <= (small.labels["label"] == "fractured").mean() <= 0.58


def test_pictures_are_8_bit_grey_between_380_and_640_pixels(small: layout.Dataset) -> None:
    for file in small.labels["file"]:
        pixels = cv2.imread(str(small.folder / file), cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 2
        assert 380 <= max(pixels.shape) <= 640


def test_a_patient_has_one_region_and_one_fracture_type(small: layout.Dataset) -> None:
    pictures = small.labels["patient_id"].value_counts()
    assert (
        not small.labels[["patient_id", "region", "fracture_type"]].drop_duplicates()["patient_id"].duplicated().any()
    )
    assert 1 < pictures.max() <= 3


def test_types_mode_has_normal_and_the_five_types(tmp_path: Path) -> None:
    info = synthetic.fill(tmp_path / "data", count=40, classes="types")
    labels = layout.read(tmp_path / "data").labels
    assert info.classes == ("normal", "transverse", "oblique", "spiral", "comminuted", "greenstick")
    assert set(labels["label"]) == set(info.classes)


def test_no_two_pictures_are_near_duplicates(thumbnails: np.ndarray) -> None:
    likeness = thumbnails @ thumbnails.T - np.eye(len(thumbnails))
    assert likeness.max() <= 0.995


@pytest.mark.slow
@pytest.mark.parametrize("what", ["mean", "contrast", "median", "height", "width"])
def test_no_simple_measure_predicts_the_fracture(measures: pd.DataFrame, what: str) -> None:
    assert 0.4 <= roc_auc_score(measures["fractured"], measures[what]) <= 0.6


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"count": 19}, "--count 19 is too small to split; give at least 20"),
        ({"seed": -1}, "--seed -1 is negative; give 0 or more"),
        ({"classes": "bones"}, "--classes 'bones' is not known; choose one of binary, types"),
    ],
)
def test_bad_options_are_refused_in_one_line(tmp_path: Path, options: dict[str, object], line: str) -> None:
    with pytest.raises(InputError) as refusal:
        synthetic.fill(tmp_path / "data", **options)  # type: ignore[arg-type]
    assert str(refusal.value) == line
    assert not (tmp_path / "data").exists()
