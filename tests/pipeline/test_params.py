"""params.yaml: every bad input is refused in one line that names the file and the key."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from pipeline import params
from pipeline.errors import InputError
from pipeline.training.params import TrainParams

ROOT = Path(__file__).parents[2]


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        params.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_the_projects_own_parameters_are_accepted() -> None:
    assert params.load(ROOT / "params.yaml").preprocess.image_size >= 32


@pytest.mark.parametrize("path", ["docs/results/fracatlas/teachers/params.yaml"])
def test_a_recipe_of_the_documents_is_accepted(path: str) -> None:
    assert params.load(ROOT / path).train.epochs > 1


def _keys(section: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in section.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{name}.")


def _described(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for name, field in section.model_fields.items():
        yield f"{prefix}{field.alias or name}", field.description
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _described(field.annotation, f"{prefix}{field.alias or name}.")


def test_every_key_of_the_file_is_known_and_every_known_key_is_in_the_file() -> None:
    file = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    assert set(_keys(file)) == {name for name, _ in _described(params.Params)}


@pytest.mark.parametrize(("name", "description"), list(_described(params.Params)))
def test_every_key_is_described_in_one_sentence(name: str, description: str | None) -> None:
    assert description, name
    assert description.endswith(".")


def test_what_is_not_given_has_its_default(tmp_path: Path) -> None:
    assert params.load(write(tmp_path, "train: {epochs: 3}")).train == TrainParams(epochs=3)


def test_a_whole_number_is_accepted_for_a_fraction(tmp_path: Path) -> None:
    assert params.load(write(tmp_path, "train: {dropout: 0}")).train.dropout == 0


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfpreprocess: {image_size: 64}\n")
    assert params.load(path).preprocess.image_size == 64


def test_a_loaded_value_cannot_be_changed(tmp_path: Path) -> None:
    loaded = params.load(write(tmp_path, "train: {}"))
    with pytest.raises(ValueError, match="frozen"):
        loaded.train.epochs = 3


WRONG = {
    # wrong type
    "preprocess: {image_size: big}": ("preprocess.image_size", "valid integer (found 'big')"),
    "preprocess: {image_size: 64.5}": ("preprocess.image_size", "valid integer"),
    "preprocess: {image_size: '64'}": ("preprocess.image_size", "valid integer"),
    "preprocess: {image_size: true}": ("preprocess.image_size", "valid integer"),
    "preprocess: {image_size: }": ("preprocess.image_size", "valid integer"),
    "preprocess: {clahe: 1}": ("preprocess.clahe", "valid boolean"),
    "preprocess: {test_fraction: [0.2]}": ("preprocess.test_fraction", "valid number"),
    "train: {augmentation: {flip: sometimes}}": ("train.augmentation.flip", "valid boolean (found 'sometimes')"),
    "train: {architecture_options: {alpha: [1]}}": ("train.architecture_options.alpha", "valid"),
    "train: 12": ("train", "valid dictionary"),
    "train:": ("train", "valid dictionary"),
    # unknown key
    "train: {epoch: 3}": ("train.epoch", "unknown key"),
    "trian: {epochs: 3}": ("trian", "unknown key"),
    "validate: {offenders: {blurred: fail}}": ("validate.offenders.blurred", "unknown key"),
    "validate_: {}": ("validate_", "unknown key"),
    "1: {}": ("1", "string"),
    # out of range
    "preprocess: {image_size: -224}": ("preprocess.image_size", "greater than or equal to 32 (found -224)"),
    "preprocess: {image_size: 0}": ("preprocess.image_size", "greater than or equal to 32"),
    "preprocess: {image_size: 100000}": ("preprocess.image_size", "less than or equal to 2048"),
    "preprocess: {test_fraction: 0}": ("preprocess.test_fraction", "greater than 0"),
    "preprocess: {test_fraction: 1}": ("preprocess.test_fraction", "less than 1"),
    "preprocess: {validation_fraction: .nan}": ("preprocess.validation_fraction", "(found nan)"),
    "preprocess: {seed: -1}": ("preprocess.seed", "greater than or equal to 0"),
    "preprocess: {denoise: gauss}": (
        "preprocess.denoise",
        "'none', 'median', 'bilateral' or 'adaptive' (found 'gauss')",
    ),
    "validate: {min_per_class: 1}": ("validate.min_per_class", "greater than or equal to 2"),
    "validate: {offenders: {blank: ignore}}": (
        "validate.offenders.blank",
        "'fail', 'exclude' or 'keep' (found 'ignore')",
    ),
    "train: {architecture: ../cnn}": ("train.architecture", "pattern"),
    "train: {learning_rate: 0}": ("train.learning_rate", "greater than 0"),
    "register: {model_name: 'a/b'}": ("register.model_name", "pattern"),
    "evaluate: {threshold: 1.5}": ("evaluate.threshold", "less than 1"),
    # values that contradict each other
    "preprocess: {folds: 5, fold: 5}": ("preprocess", "fold 5 does not exist; with folds: 5 it is below 5"),
    "preprocess: {fold: 1}": ("preprocess", "fold 1 does not exist; with folds: 0 it is below 1"),
    "preprocess: {folds: 5, fold: -1}": ("preprocess.fold", "greater than or equal to 0"),
    "preprocess: {folds: 1}": ("preprocess", "folds must be 0 (off) or at least 2"),
    "preprocess: {test_set: a.csv, holdout_column: region, holdout_value: hip}": ("preprocess", "exclude each other"),
    "preprocess: {holdout_column: region}": ("preprocess", "holdout_column and holdout_value are given together"),
    "train: {backend: jax}": ("train.backend", "JAX is left out, see docs/training.md; set it to tensorflow"),
    "train: {workers: 4, batch_size: 2}": ("train", "batch_size (2) must give each of workers (4) an image"),
    "train: {epochs: 3, frozen_epochs: 3}": ("train", "frozen_epochs (3) must be fewer than epochs (3)"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.items(), ids=WRONG)
def test_a_wrong_value_is_named_with_its_path(text: str, expected: tuple[str, str], tmp_path: Path) -> None:
    path, reason = expected
    message = refusal(write(tmp_path, text))
    assert message.startswith((f"{path}: ", f"{path}."))
    assert reason in message


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "preprocess: {image_size: big}\ntrain: {epoch: 3}"))
    assert "preprocess.image_size: " in message
    assert "train.epoch: " in message


@pytest.mark.parametrize(
    "text",
    [
        "train: [unclosed",
        "train:\n\tepochs: 3",
        "train: {epochs: 3}\ntrain: {epochs: 4}",
        "train: {epochs: 3}\n---\ntrain: {epochs: 4}",
        "train: !!python/object:os.system {}",
        "train: {weights: 2024-99-99}",
        "train: \x07",
    ],
)
def test_bad_yaml_is_refused(text: str, tmp_path: Path) -> None:
    assert refusal(write(tmp_path, text)).startswith("is not valid YAML (")


@pytest.mark.parametrize("content", ["größe: 1".encode("latin-1"), "train: {}".encode("utf-16")])
def test_another_encoding_than_utf_8_is_refused(content: bytes, tmp_path: Path) -> None:
    assert refusal(write(tmp_path, content)).startswith("is not valid YAML (")


@pytest.mark.parametrize("text", ["", "just words", "- train\n- evaluate", "12"])
def test_a_file_without_sections_is_refused(text: str, tmp_path: Path) -> None:
    assert refusal(write(tmp_path, text)).startswith("must hold the sections validate, preprocess, train")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "params.yaml").startswith("not found; run the command in the project's root")


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith("is a folder")
