"""What a training left in a folder, and where that of the newest release lies. Keras is not needed to find it."""

from pathlib import Path

from pipeline.artifacts import TrainingRecord
from pipeline.errors import InputError
from pipeline.files import sha256_file


def read_training(folder: Path) -> TrainingRecord:
    """The facts of a training, once model.keras beside them is known to be the file it wrote.

    Raises InputError for a missing, broken or changed file.
    """
    training = TrainingRecord.read(folder / "training.json")
    path = folder / "model.keras"
    if not path.is_file() or sha256_file(path) != training.model_sha256:
        raise InputError(
            f"{path}: is missing or not the file that training wrote; make it again with `dvc repro train`"
        )
    return training


def newest_release(root: Path) -> Path:
    """The Keras file of the last model released in models/; InputError when there is none."""
    found = sorted((root / "models").glob("*/model.keras"), key=lambda path: _release_order(path.parent.name))
    if not found:
        raise InputError(
            "params.yaml: train.weights: release: models/ holds no released model; choose none or imagenet"
        )
    try:
        read_training(found[-1].parent)
    except InputError:
        raise InputError(
            f"{found[-1]}: is not the file that was released; restore it: "
            f"git checkout -- models/{found[-1].parent.name}"
        ) from None
    return found[-1]


def _release_order(name: str) -> tuple[int, str]:
    """Releases are named <data>-<architecture>-<version>."""
    version = name.rpartition("-")[2]
    return (int(version) if version.isdigit() else 0, name)
