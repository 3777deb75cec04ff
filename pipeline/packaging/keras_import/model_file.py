"""Read a model file of another origin without running code of its own."""

import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.quiet import quiet_import

with quiet_import():
    import keras
import h5py  # type: ignore[import-untyped]  # comes with Keras

from pipeline.errors import InputError
from serving.errors import one_line

_UNSAFE = {"Lambda", "__lambda__", "TorchModuleWrapper"}
_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"


def load(path: Path) -> keras.Model:
    """The model of a `.keras` or `.h5` file, in Keras' safe mode: no code of the file's own is run.

    Raises InputError for another kind of file, one that holds code (a Lambda layer) or weights only, and for what
    this Keras cannot load.
    """
    for config in _configs(path):
        name, kind = config.get("name", config.get("config", {}).get("name", "")), config["class_name"]
        if kind in _UNSAFE:
            raise InputError(
                f"{path}: holds code of its own ({kind} {name!r}), which is never run; replace it by a layer of Keras "
                "and save the model again"
            )
    try:
        with quiet_import(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that Keras calls legacy
            model = keras.models.load_model(path, safe_mode=True, compile=False)
    except Exception as error:  # Keras raises whatever a broken or foreign file leads it to
        raise InputError(
            f"{path}: Keras {keras.__version__} cannot load it ({one_line(error)}); {_remedy(path)}"
        ) from error
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise InputError(f"{path}: is no functional or sequential model whose layers are known; save it as one")
    return model


def _remedy(path: Path) -> str:
    """What to do about a file that cannot be loaded, which may be of a Keras before 3."""
    written = _keras_version(path)
    if written and not written.startswith("3"):
        return (
            f"it was saved by Keras {written}: load it with tf_keras or TensorFlow before 2.16, rebuild the model with "
            "Keras 3, set its weights and save it as .keras"
        )
    return "save it again as .keras with Keras 3 and without classes of your own"


def _keras_version(path: Path) -> str:
    """The version of Keras that wrote a file, as it says itself; empty where it does not."""
    try:
        if path.suffix.lower() == ".keras":
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        with h5py.File(path, "r") as file:
            version = file.attrs.get("keras_version", "")
    except (KeyError, OSError, ValueError, zipfile.BadZipFile):
        return ""
    return version.decode() if isinstance(version, bytes) else str(version)


def _configs(path: Path) -> Iterator[dict[str, Any]]:
    """Every object a model file describes, before any of them is made."""
    if (path / "saved_model.pb").is_file():
        raise InputError(
            f"{path}: is a SavedModel, of which Keras 3 reads no layers; save the Keras model where it was made: "
            "model.save('model.keras')"
        )
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give a .keras or .h5 file")
    with path.open("rb") as file:
        start = file.read(8)
    suffix = path.suffix.lower()
    wanted = {".keras": _ZIP, ".h5": _HDF5, ".hdf5": _HDF5}.get(suffix)
    if wanted is None or not start.startswith(wanted):
        raise InputError(f"{path}: is no Keras model; give a file that model.save() wrote as .keras or .h5")
    try:
        found = json.loads(_model_config(path, suffix))
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is broken ({one_line(error)}); save the model again") from None
    yield from _objects(found)


def _model_config(path: Path, suffix: str) -> bytes | str:
    if suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return archive.read("config.json")
    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise InputError(f"{path}: holds weights only; save the whole model with model.save()")
        config: bytes | str = file.attrs["model_config"]
        return config


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("class_name"), str):
            yield value
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)
