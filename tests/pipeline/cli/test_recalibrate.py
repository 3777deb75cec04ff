"""`fracture recalibrate`: honest figures on another site's images, in a new bundle that says so."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli import recalibrate as command
from pipeline.data.sources import synthetic
from pipeline.errors import InputError
from pipeline.evaluation import metrics
from pipeline.packaging import recalibration
from pipeline.packaging.recalibration import Scores, Site
from pipeline.params import EvaluateParams
from serving import bundle
from serving.bundle import Bundle
from serving.decision import Decision, LogisticCalibration, TemperatureCalibration, sigmoid
from serving.predictor import Predictor

BINARY = ("normal", "fractured")
TYPES = ("normal", "spiral", "transverse")
OPTIONS = EvaluateParams(bootstrap=100)
BEFORE = Decision(LogisticCalibration(1.0, 0.0), 0.5, 0.3, 0.7, 0.5)


def _fill(folder: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number}.png").write_bytes(b"x")
    return folder


def _scores(count: int = 120, shift: float = 0.0, groups: np.ndarray | None = None, seed: int = 0) -> Scores:
    """Raw scores that separate half normal, half fractured images somewhat; `shift` moves their log odds."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % 2
    raw = sigmoid(rng.normal(2.0 * classes - 1.0 + shift, 1.0))[:, np.newaxis]
    return Scores(raw, classes, np.arange(count) if groups is None else groups, {})


def test_a_folder_of_class_folders_is_read(tmp_path: Path) -> None:
    site = recalibration.read_site(_fill(tmp_path / "St Elsewhere", Normal=10, Fractures=12), BINARY)
    assert np.bincount(site.classes).tolist() == [10, 12]
    assert site.name == "St Elsewhere"


def test_the_layout_of_data_is_read_with_its_patients(tmp_path: Path, make_data: Callable[..., Any]) -> None:
    make_data(tmp_path / "data", {f"i{n}": {"patient_id": f"p{n // 2}"} for n in range(20)})
    site = recalibration.read_site(tmp_path / "data", BINARY)
    assert np.bincount(site.classes).tolist() == [10, 10]
    assert site.kin["patient_id"].nunique() == 10


def test_any_type_is_a_fracture_for_a_model_of_two_classes(tmp_path: Path) -> None:
    site = recalibration.read_site(_fill(tmp_path, normal=10, spiral=5, transverse=6), BINARY)
    assert np.bincount(site.classes).tolist() == [10, 11]


def test_a_model_of_types_wants_its_own_types(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="comminuted: is no class of the model"):
        recalibration.read_site(_fill(tmp_path, normal=10, comminuted=10, spiral=10), TYPES)


def test_the_types_of_a_model_are_told_apart(tmp_path: Path) -> None:
    site = recalibration.read_site(_fill(tmp_path, transverse=12, normal=10, spiral=11), TYPES)
    assert np.bincount(site.classes).tolist() == [10, 11, 12]


def test_too_few_images_of_a_class_are_one_line_that_counts_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"too few images \(9 of fractured\); at least 10"):
        recalibration.read_site(_fill(tmp_path, normal=30, fractured=9), BINARY)


def test_a_normal_class_of_an_unusual_name_is_asked_for(tmp_path: Path) -> None:
    _fill(tmp_path, gesund=10, gebrochen=10)
    with pytest.raises(InputError, match="--normal"):
        recalibration.read_site(tmp_path, BINARY)
    assert recalibration.read_site(tmp_path, BINARY, "gesund").classes.sum() == 10


def test_a_label_that_is_no_class_is_named_with_its_row(tmp_path: Path, make_data: Callable[..., Any]) -> None:
    make_data(tmp_path / "data", {f"i{n}": {} for n in range(20)})
    table = tmp_path / "data/labels.csv"
    table.write_text(table.read_text().replace("fractured", "broken", 1))
    with pytest.raises(InputError, match=r"labels\.csv: row 3: label 'broken'"):
        recalibration.read_site(tmp_path / "data", BINARY)


def test_what_is_no_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: is no folder"):
        recalibration.read_site(tmp_path / "nowhere", BINARY)


def _dicom(path: Path, patient: str) -> None:
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    found = pydicom.Dataset()
    found.PatientID = patient
    found.file_meta = meta
    found.save_as(path, enforce_file_format=True)


def test_dicom_files_of_one_patient_are_known_to_be(tmp_path: Path) -> None:
    _fill(tmp_path, normal=10, fractured=10)
    for name in ("normal/a.dcm", "fractured/b.dcm"):
        _dicom(tmp_path / name, "Doe")
    site = recalibration.read_site(tmp_path, BINARY)
    assert (site.kin["patient_id"] == "Doe").sum() == 2


def test_images_of_one_patient_and_identical_ones_are_one_group() -> None:
    kin = pd.DataFrame({"patient_id": ["p1", "p1", "", "", ""], "study_id": ["", "", "", "s1", "s1"]})
    groups = recalibration._groups(kin, ["a", "b", "b", "c", "d"])
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 2


def test_one_file_with_two_labels_is_one_line_that_names_both() -> None:
    with pytest.raises(InputError, match="b and c are the same file with two labels"):
        recalibration._check_contradictions(pd.Series(["x", "y", "y"]), np.array([0, 0, 1]), ["a", "b", "c"])


def test_no_group_lies_in_two_folds_and_every_fold_leaves_both_classes() -> None:
    groups = np.arange(120) // 6
    folds = recalibration.folds_of(_scores(groups=groups), 7)
    assert all(len(set(folds[groups == group])) == 1 for group in range(20))
    assert len(set(folds)) == 5
    assert all(set(_scores().classes[folds != number]) == {0, 1} for number in range(5))


def test_images_of_one_patient_alone_cannot_be_measured() -> None:
    with pytest.raises(InputError, match="come from one patient"):
        recalibration.folds_of(_scores(groups=np.zeros(120, np.int64)), 7)


def test_an_image_is_judged_by_what_was_fitted_without_its_fold() -> None:
    scores = _scores()
    folds = np.arange(120) % 3
    p, above = recalibration.cross_fitted(scores, folds, OPTIONS, 0.5)
    own = folds == 1
    others = metrics.decide(scores.raw[~own], scores.classes[~own], OPTIONS, 0.5)
    assert np.allclose(p[own], others.fracture_probability(scores.raw[own]))
    assert (above["high_sensitivity"][own] == (p[own] >= others.high_sensitivity)).all()


def test_figures_after_are_lower_than_those_on_the_images_that_were_fitted() -> None:
    flattering, honest = [], []
    for seed in range(30):
        scores = _scores(30, seed=seed)
        fractured = scores.classes == 1
        found = metrics.decide(scores.raw, scores.classes, OPTIONS, 0.5)
        flattering.append((found.fracture_probability(scores.raw) >= found.high_sensitivity)[fractured].mean())
        _, above = recalibration.cross_fitted(scores, recalibration.folds_of(scores, 7), OPTIONS, 0.5)
        honest.append(above["high_sensitivity"][fractured].mean())
    assert min(flattering) >= 0.95
    assert np.mean(honest) < 0.95


def test_shifted_scores_are_put_right() -> None:
    quality = recalibration.refit(_scores(400, shift=3.0), BEFORE, OPTIONS).quality
    assert quality["before"]["calibration_intercept"]["value"] < -1.5
    assert abs(quality["after"]["calibration_intercept"]["value"]) < 0.3
    assert quality["after"]["brier"]["value"] < quality["before"]["brier"]["value"]


def test_operating_points_reach_the_targets_of_the_parameters() -> None:
    scores = _scores(400)
    options = EvaluateParams(bootstrap=100, target_sensitivity=0.9, target_specificity=0.7)
    found = recalibration.refit(scores, BEFORE, options).decision
    p = found.fracture_probability(scores.raw)
    assert (p[scores.classes == 1] >= found.high_sensitivity).mean() == pytest.approx(0.9, abs=0.01)
    assert (p[scores.classes == 0] < found.high_specificity).mean() == pytest.approx(0.7, abs=0.01)


def test_the_threshold_stays() -> None:
    assert recalibration.refit(_scores(), replace(BEFORE, threshold=0.4), OPTIONS).decision.threshold == 0.4


def test_intervals_are_wider_when_images_come_in_groups() -> None:
    widths = []
    for groups in (np.arange(120), np.arange(120) // 12):
        figure = recalibration.refit(_scores(groups=groups), BEFORE, OPTIONS).quality["before"]["brier"]
        assert figure["low"] <= figure["value"] <= figure["high"]
        widths.append(figure["high"] - figure["low"])
    assert widths[0] != widths[1]


def test_several_classes_keep_their_kind_of_calibration() -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(90) % 3
    raw = rng.dirichlet(np.ones(3), 90) + np.eye(3)[classes]
    scores = Scores(raw / raw.sum(axis=1, keepdims=True), classes, np.arange(90), {})
    before = replace(BEFORE, calibration=TemperatureCalibration(1.0))
    assert isinstance(recalibration.refit(scores, before, OPTIONS).decision.calibration, TemperatureCalibration)


@pytest.mark.parametrize(
    ("old", "new"), [("3", "3+site"), ("3+site", "3+site2"), ("3+site2", "3+site3"), ("12+site9", "12+site10")]
)
def test_every_recalibration_has_a_version_of_its_own(old: str, new: str) -> None:
    assert recalibration.recalibrated_version(old) == new


@pytest.fixture
def opened(bundle_folder: Path, tmp_path: Path) -> Bundle:
    """A copy of the small bundle."""
    shutil.copytree(bundle_folder, tmp_path / "old")
    return bundle.read(tmp_path / "old")


def _sorted_into(folder: Path, data: Path) -> Path:
    """Folders of classes with 15 radiographs each out of a folder in the layout of data/."""
    table = pd.read_csv(data / "labels.csv")
    for label, rows in table.groupby("label"):
        (folder / str(label)).mkdir(parents=True)
        for file in rows["file"].iloc[:15]:
            shutil.copy(data / file, folder / str(label))
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class-named folders with 15 synthetic radiographs of another seed each, and a broken file."""
    data = tmp_path_factory.mktemp("site") / "data"
    synthetic.fill(data, count=30, seed=91)
    folder = _sorted_into(tmp_path_factory.mktemp("labelled"), data)
    (folder / "normal/broken.png").write_bytes(b"no image")
    return folder


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _write(opened: Bundle, target: Path) -> Bundle:
    scores = replace(_scores(), refused={"blank": 2})
    site = Site("St Elsewhere", (), scores.classes, pd.DataFrame())
    recalibration.write_bundle(opened, site, scores, recalibration.refit(scores, opened.decision, OPTIONS), target)
    return bundle.read(target)


def test_the_new_bundle_says_that_it_was_recalibrated(opened: Bundle, tmp_path: Path) -> None:
    new = _write(opened, tmp_path / "new")
    assert new.manifest.version == "1+site"
    said = new.manifest.recalibrated
    assert said is not None
    assert (said.images, said.fractured, said.data) == (120, 60, "St Elsewhere")
    assert said.quality["refused"] == {"blank": 2}
    assert {"before", "after", "note", "groups", "folds"} <= set(said.quality)


def test_the_network_is_the_same_and_its_answers_are_not(opened: Bundle, tmp_path: Path) -> None:
    new = _write(opened, tmp_path / "new")
    assert new.sha256 == opened.sha256
    assert new.decision != opened.decision
    picture = (opened.folder / opened.manifest.samples[0]).read_bytes()
    assert Predictor(new).predict(picture).probability != Predictor(opened).predict(picture).probability


def test_the_old_bundle_stays_as_it_was(opened: Bundle, tmp_path: Path) -> None:
    before = _hashes(opened.folder)
    _write(opened, tmp_path / "new")
    assert _hashes(opened.folder) == before


def test_drift_is_measured_from_the_new_probabilities(opened: Bundle, tmp_path: Path) -> None:
    new = _write(opened, tmp_path / "new")
    raw = np.array([[0.2], [0.7]])
    old_p, new_p = (found.decision.fracture_probability(raw) for found in (opened, new))
    old_share = np.interp(old_p, opened.reference.scores, np.arange(101))
    new_share = np.interp(new_p, new.reference.scores, np.arange(101))
    assert new_share == pytest.approx(old_share, abs=2)


def test_raw_scores_are_those_behind_the_calibration(opened: Bundle, labelled: Path) -> None:
    scores = recalibration.score_site(opened, recalibration.read_site(labelled, BINARY))
    file = sorted((labelled / "fractured").iterdir())[0]
    wanted = Predictor(opened).predict(file.read_bytes()).probability
    found = opened.decision.fracture_probability(scores.raw)
    assert np.abs(found - wanted).min() < 1e-6


def test_refusals_are_counted_by_reason(opened: Bundle, labelled: Path) -> None:
    scores = recalibration.score_site(opened, recalibration.read_site(labelled, BINARY))
    assert scores.refused["unsupported_format"] == 1
    assert len(scores.classes) + sum(scores.refused.values()) == 31


def test_images_of_the_model_s_own_training_are_left_out(opened: Bundle, trained_folder: Path, tmp_path: Path) -> None:
    table = pd.read_csv(trained_folder / "prepared/split.csv").set_index("image_id")
    folder = _sorted_into(tmp_path / "again", trained_folder / "data")
    used = [table.loc[file.stem, "part"] != "test" for file in folder.rglob("*.*")]
    site = recalibration.read_site(folder, BINARY)
    with pytest.raises(InputError, match=rf"{sum(used)} trained_on\); these are too few images"):
        recalibration.score_site(opened, site)


def test_too_few_answered_images_are_one_line(opened: Bundle, tmp_path: Path) -> None:
    site = recalibration.read_site(_fill(tmp_path / "data", normal=10, fractured=10), BINARY)
    with pytest.raises(InputError, match=r"0 of 20 images are left \(left out: 20 unsupported_format\)"):
        recalibration.score_site(opened, site)


@pytest.mark.parametrize("where", ["old", ".", "old/new"])
def test_the_old_bundle_is_never_replaced(opened: Bundle, tmp_path: Path, where: str) -> None:
    with pytest.raises(InputError, match="would replace the bundle"):
        recalibration.check_target(tmp_path / where, opened)


def test_a_folder_of_other_files_is_never_replaced(opened: Bundle, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").touch()
    with pytest.raises(InputError, match="holds something else than a bundle"):
        recalibration.check_target(tmp_path / "full", opened)


def test_a_failure_leaves_nothing_behind(opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "write", full)
    with pytest.raises(OSError, match="No space"):
        _write(opened, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"old"}


def test_the_command_prints_figures_before_and_after_and_where_the_bundle_is(
    opened: Bundle, labelled: Path, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    app = typer.Typer()
    app.command()(command.recalibrate)
    result = CliRunner().invoke(app, ["--data", str(labelled), "--bundle", str(opened.folder)])
    assert result.exit_code == 0, result.output
    for text in ("before", "after", "cross-fitted", "calibration intercept", "left out: 1 unsupported_format"):
        assert text in result.stdout, text
    written = bundle.read(project / "build/bundle/bone-fracture-1+site")
    assert str(written.folder) in result.stdout
    assert json.loads((written.folder / "model.json").read_text())["recalibrated"]["images"] == 30
