"""Files of another origin are read without running their code, and refused in one line."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
from keras import layers

from pipeline.errors import InputError
from pipeline.packaging.keras_import import model_file
from tests.pipeline.packaging.keras_import.builders import (
    SIGMOID,
    classic,
    convolutions,
    save,
    sequence,
)


def _error(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        model_file.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_that_holds_code_is_refused(tmp_path: Path, suffix: str) -> None:
    model = sequence(layers.Lambda(lambda x: x), *convolutions(), layers.Flatten(), layers.Dense(**SIGMOID))
    path = save(model, tmp_path, suffix)
    assert "holds code of its own (Lambda" in _error(path)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    for name in ("model.h5", "model.keras", "model.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        assert "is no Keras model" in _error(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_class_of_its_own_is_one_line(tmp_path: Path) -> None:
    path = save(classic(), tmp_path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    known = b'"keras.layers", "class_name": "Conv2D"'
    contents["config.json"] = contents["config.json"].replace(known, b'"os", "class_name": "system"')
    assert b"system" in contents["config.json"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    assert "cannot load it" in _error(path)


def test_a_saved_model_is_told_what_to_do(tmp_path: Path) -> None:
    classic().export(tmp_path / "saved", verbose=False)
    assert "is a SavedModel" in _error(tmp_path / "saved")


def test_a_file_of_an_older_keras_is_told_what_to_do(tmp_path: Path) -> None:
    import h5py  # type: ignore[import-untyped]

    path = save(classic(), tmp_path, ".h5")
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "2.11.0"
        file.attrs["model_config"] = file.attrs["model_config"].replace("Conv2D", "TFOpLambda")
    assert "it was saved by Keras 2.11.0: load it with tf_keras" in _error(path)


def test_weights_alone_are_one_line(tmp_path: Path) -> None:
    classic().save_weights(tmp_path / "model.weights.h5")
    assert "holds weights only" in _error(tmp_path / "model.weights.h5")


@pytest.mark.parametrize("name", ["gone.keras", "folder", "notes.txt"])
def test_what_is_no_model_file_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    assert "give a" in _error(tmp_path / name)


def test_a_file_cut_short_is_one_line(tmp_path: Path) -> None:
    path = save(classic(), tmp_path)
    path.write_bytes(path.read_bytes()[:2000])
    assert "model.keras" in _error(path)
