"""A bundle is used whole and unchanged, or not at all."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.data.sources import synthetic
from serving import bundle
from serving.errors import BundleError, ImageError
from serving.imaging.canonical.form import HEADS, head_files, read_heads
from serving.imaging.canvas import Steps
from serving.predictor import Predictor
from serving.scope import Terms
from tests.serving.imaging.dicom.builders import radiograph

Encode = Callable[..., bytes]
SLOPE = np.arange(64 * 64).reshape(64, 64)


@pytest.fixture
def copy(bundle_folder: Path, tmp_path: Path) -> Path:
    """Copy the bundle, to be broken."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))


def _change(folder: Path, change: Callable[[dict[str, Any]], None], sign: bool = False) -> None:
    path = folder / "model.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    if sign:
        facts = {name: value for name, value in raw.items() if name not in {"files", "digest"}}
        bundle.write(folder, facts)


def test_a_whole_bundle_is_read(bundle_folder: Path) -> None:
    found = bundle.read(bundle_folder)
    assert found.manifest.classes == ("normal", "fractured")
    assert found.sha256 == found.manifest.files["model.tflite"]
    assert found.preprocessing.image_size == 96


@pytest.mark.parametrize("name", ["model.tflite", "reference.npz", "samples", "model.json"])
def test_a_flipped_bit_is_found(copy: Path, name: str) -> None:
    path = copy / name if name != "samples" else sorted((copy / name).iterdir())[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="package the model again") as error:
        bundle.read(copy)
    assert str(path) in str(error.value)


def _with_list(folder: Path, content: str) -> Path:
    """The bundle with another list of terms, as if it had been packaged with it."""
    (folder / bundle.SCOPE).write_text(content)
    _change(folder, lambda _: None, sign=True)
    return folder


def test_the_list_of_a_bundle_decides_what_it_refuses(copy: Path) -> None:
    terms = Terms.for_regions(("chest",))
    answering = Predictor(bundle.read(_with_list(copy, terms.text())))
    for body_part, code in (("CHEST", "not_a_radiograph"), ("HAND", "out_of_scope")):
        with pytest.raises(ImageError) as caught:
            answering.prepare(radiograph(SLOPE, BodyPartExamined=body_part))
        assert caught.value.code == code


def test_a_bundle_without_a_list_has_the_one_of_this_version(copy: Path) -> None:
    given = bundle.read(copy).scope
    (copy / bundle.SCOPE).unlink()
    _change(copy, lambda _: None, sign=True)
    assert bundle.read(copy).scope == given


def test_a_list_that_was_changed_is_found(copy: Path) -> None:
    (copy / bundle.SCOPE).write_text(Terms.for_regions(("chest",)).text())
    with pytest.raises(BundleError, match=r"scope.json: is damaged"):
        bundle.read(copy)


def test_a_broken_list_has_one_line(copy: Path) -> None:
    with pytest.raises(BundleError, match=r"is not usable .*Field required"):
        bundle.read(_with_list(copy, "{}"))


def test_a_changed_threshold_is_found(copy: Path) -> None:
    _change(copy, lambda raw: raw.update(threshold=0.9))
    with pytest.raises(BundleError, match="was changed after packaging"):
        bundle.read(copy)


def test_another_schema_is_refused_with_both_versions(copy: Path) -> None:
    _change(copy, lambda raw: raw.update(schema_version=7))
    with pytest.raises(BundleError, match=r"has bundle schema 7, but this code reads schema 1 and 2"):
        bundle.read(copy)


def _as_schema_1(folder: Path) -> Path:
    """A bundle as the code before canonical steps wrote it: another number, another digest, nothing else."""
    manifest = bundle.read_manifest(folder)
    first = manifest.model_copy(update={"schema_version": 1, "digest": ""})
    signed = first.model_copy(update={"digest": bundle._digest(first)})
    (folder / "model.json").write_text(signed.model_dump_json())
    return folder


def test_a_bundle_of_schema_1_answers_as_the_same_one_of_schema_2(bundle_folder: Path, copy: Path) -> None:
    assert set(bundle.read(_as_schema_1(copy)).manifest.preprocessing) == {"image_size", "denoise", "clahe"}
    content = sorted((bundle_folder / "samples").iterdir())[0].read_bytes()
    new, old = (Predictor(bundle.read(folder)).predict(content) for folder in (bundle_folder, copy))
    assert old.answer() == new.answer()
    assert old.answer()["input"]["seen"] == {"x0": 0, "y0": 0, "x1": 1, "y1": 1, "turned": 0, "inverted": False}


@pytest.mark.parametrize(("sigma", "warned"), [(0, False), (12, True)])
def test_an_image_that_was_smoothed_says_so(sigma: float, warned: bool, copy: Path, encode: Encode) -> None:
    _change(copy, lambda raw: raw["guard"].update(limit=100.0), sign=True)
    _change(copy, lambda raw: raw["preprocessing"].update(denoise="adaptive"), sign=True)
    radiograph_pixels = np.asarray(synthetic.render(3, "hand", "frontal", None).pixels, np.uint8)
    clean = cv2.GaussianBlur(cv2.resize(radiograph_pixels, (72, 96), interpolation=cv2.INTER_AREA), (0, 0), 1)
    noise = np.random.default_rng(0).normal(0, sigma, clean.shape)
    found = Predictor(bundle.read(copy)).predict(encode(np.rint(clean + noise).clip(0, 255).astype(np.uint8)))
    assert ("noisy" in {note.code for note in found.warnings}) == warned


@pytest.fixture
def with_steps(copy: Path) -> Path:
    """The bundle with every canonical step, and the heads they take."""
    steps = Steps(field=True, range=True, polarity=True, orientation=True)
    _, digest = read_heads(HEADS, steps)
    for name in head_files(steps):
        shutil.copyfile(HEADS / name, copy / name)
    canonical = asdict(replace(steps, heads=digest))
    _change(copy, lambda raw: raw["preprocessing"].update(canonical=canonical), sign=True)
    return copy


def test_the_heads_travel_in_the_bundle(with_steps: Path) -> None:
    found = bundle.read(with_steps)
    assert found.preprocessing.canonical.polarity
    assert found.heads.polarity
    assert found.heads.orientation


def test_a_framed_and_inverted_radiograph_is_answered_as_the_plain_one_and_says_so(with_steps: Path) -> None:
    predictor = Predictor(bundle.read(with_steps))
    sample = sorted((with_steps / "samples").iterdir())[0]
    pixels = np.asarray(cv2.imread(str(sample), cv2.IMREAD_GRAYSCALE), np.uint8)
    odd = np.pad(255 - pixels, 40, constant_values=128)
    plain, found = (predictor.predict(cv2.imencode(".png", one)[1].tobytes()) for one in (pixels, odd))
    assert found.probability == pytest.approx(plain.probability, abs=0.05)
    assert "inverted" in {note.code for note in found.warnings}
    assert found.answer()["input"]["seen"]["inverted"]
    assert found.evidence().shape[0] / found.evidence().shape[1] == pytest.approx(odd.shape[0] / odd.shape[1], rel=0.02)


def test_the_evidence_of_a_framed_radiograph_lies_inside_the_frame(with_steps: Path) -> None:
    predictor = Predictor(bundle.read(with_steps))
    sample = sorted((with_steps / "samples").iterdir())[0]
    pixels = np.asarray(cv2.imread(str(sample), cv2.IMREAD_GRAYSCALE), np.uint8)
    odd = np.pad(pixels, 60, constant_values=255)
    shown = predictor.predict(cv2.imencode(".png", odd)[1].tobytes()).evidence()
    rim = round(0.9 * 60 * shown.shape[1] / odd.shape[1])
    assert not shown[:rim].any()
    assert not shown[:, -rim:].any()


@pytest.mark.parametrize("name", ["polarity.json", "orientation.npz"])
def test_a_missing_head_is_named(with_steps: Path, name: str) -> None:
    (with_steps / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: is missing"):
        bundle.read(with_steps)


def test_heads_of_another_training_are_refused(with_steps: Path) -> None:
    raw = json.loads((with_steps / "polarity.json").read_text())
    (with_steps / "polarity.json").write_text(json.dumps({name: -value for name, value in raw.items()}))
    _change(with_steps, lambda _: None, sign=True)
    with pytest.raises(BundleError, match="its heads are not those"):
        bundle.read(with_steps)


@pytest.mark.parametrize("name", ["model.tflite", "reference.npz", "model.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: (is missing|not found)"):
        bundle.read(copy)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema_version": 1}', "\xff"])
def test_a_broken_description_is_one_line(copy: Path, text: str) -> None:
    (copy / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError) as error:
        bundle.read(copy)
    assert "\n" not in str(error.value)


def test_a_file_outside_the_bundle_is_not_opened(copy: Path) -> None:
    (copy.parent / "secret").write_text("x")
    manifest = bundle.read_manifest(copy)
    odd = manifest.model_copy(update={"files": {**manifest.files, "../secret": "0"}, "digest": ""})
    signed = odd.model_copy(update={"digest": bundle._digest(odd)})
    (copy / "model.json").write_text(signed.model_dump_json())
    with pytest.raises(BundleError, match="names a file outside the bundle"):
        bundle.read(copy)


def _packaged(folder: Path, source: Path, at: str, synthetic: bool) -> Path:
    shutil.copytree(source, folder)

    def change(raw: dict[str, Any]) -> None:
        raw["origin"]["packaged_at"] = at
        raw["trained_on"]["synthetic"] = synthetic

    _change(folder, change, sign=True)
    return folder


def test_the_default_is_the_last_real_model_then_the_release_then_the_last_one(
    tmp_path: Path, bundle_folder: Path
) -> None:
    with pytest.raises(BundleError, match="no model to serve yet"):
        bundle.find_default(tmp_path)
    packaged = tmp_path / "build/bundle"
    first = _packaged(packaged / "b", bundle_folder, "2026-01-01T00:00:00+00:00", synthetic=True)
    assert bundle.find_default(tmp_path) == first
    last = _packaged(packaged / "a", bundle_folder, "2026-01-02T00:00:00+00:00", synthetic=True)
    assert bundle.find_default(tmp_path) == last
    release = _packaged(tmp_path / "models/r-1/bundle", bundle_folder, "2025-01-01T00:00:00+00:00", synthetic=False)
    assert bundle.find_default(tmp_path) == release
    real = _packaged(packaged / "c", bundle_folder, "2026-01-01T00:00:00+00:00", synthetic=False)
    assert bundle.find_default(tmp_path) == real
    beside = _packaged(tmp_path / "bundle", bundle_folder, "2020-01-01T00:00:00+00:00", synthetic=True)
    assert bundle.find_default(tmp_path) == beside


def test_a_broken_bundle_is_not_passed_over_for_an_older_one(tmp_path: Path, bundle_folder: Path) -> None:
    for name in ("1", "2"):
        shutil.copytree(bundle_folder, tmp_path / "build/bundle" / name)
    (tmp_path / "build/bundle/2/model.json").write_text("{")
    with pytest.raises(BundleError, match=r"2/model\.json"):
        bundle.find_default(tmp_path)


@pytest.fixture
def release(bundle_folder: Path, tmp_path: Path) -> Path:
    """A release in a checkout, to be broken."""
    (tmp_path / ".git").mkdir()
    folder = tmp_path / "models/shapes-cnn-1"
    shutil.copytree(bundle_folder, folder / "bundle")
    (folder / "MODEL_CARD.md").write_text("# shapes-cnn-1")
    return folder


RESTORE = r"restore it: `git checkout -- models/shapes-cnn-1`$"


@pytest.mark.parametrize("content", [None, b"broken"], ids=["missing", "damaged"])
@pytest.mark.parametrize("name", ["model.tflite", "reference.npz", "model.json"])
def test_a_broken_release_is_restored_from_git(release: Path, name: str, content: bytes | None) -> None:
    (release / "bundle" / name).unlink()
    if content is not None:
        (release / "bundle" / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"models/shapes-cnn-1/bundle/{name}: .*{RESTORE}"):
        bundle.read(release / "bundle")


def test_a_relative_path_to_a_broken_release_is_restored_too(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (release / "bundle/model.tflite").unlink()
    monkeypatch.chdir(release.parent)
    with pytest.raises(BundleError, match=RESTORE):
        bundle.read(Path("shapes-cnn-1/bundle"))


def test_outside_a_checkout_nothing_can_be_restored(release: Path) -> None:
    (release.parents[1] / ".git").rmdir()
    (release / "bundle/model.tflite").unlink()
    with pytest.raises(BundleError, match=r"package the model again$"):
        bundle.read(release / "bundle")


def test_the_folder_of_a_release_stands_for_its_bundle(release: Path) -> None:
    assert bundle.read(release).folder == release / "bundle"
    (release / "bundle/model.json").unlink()
    with pytest.raises(BundleError, match=r"bundle/model\.json: not found"):
        bundle.read(release)


def test_a_release_without_its_bundle_is_named_and_not_passed_over(release: Path, bundle_folder: Path) -> None:
    root = release.parents[1]
    shutil.rmtree(release / "bundle")
    named = rf"models/shapes-cnn-1: is a release without its folder bundle; {RESTORE}"
    with pytest.raises(BundleError, match=named):
        bundle.find_default(root)
    _packaged(root / "build/bundle/a", bundle_folder, "2026-01-01T00:00:00+00:00", synthetic=True)
    with pytest.raises(BundleError, match=named):
        bundle.find_default(root)


def test_an_emptied_release_is_named(release: Path) -> None:
    shutil.rmtree(release)
    release.mkdir()
    with pytest.raises(BundleError, match=RESTORE):
        bundle.find_default(release.parents[1])


def test_other_folders_in_models_are_passed_over(release: Path) -> None:
    (release.parent / "weights").mkdir()
    assert bundle.find_default(release.parents[1]) == release / "bundle"


def test_a_deleted_release_can_be_restored(release: Path) -> None:
    shutil.rmtree(release.parent)
    with pytest.raises(BundleError, match=r"no model to serve yet.*restore a release: `git checkout -- models`$"):
        bundle.find_default(release.parents[1])
