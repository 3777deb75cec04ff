"""Names of trainings: the same for the same parameters, data and code, so that one that was stopped is found again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.training.params import TrainParams

PLACE = frozenset({"workers", "backend"})
"""Keys of `train` that say where a training runs, not what it is: it may begin on one machine and go on on four."""


def section_of(options: TrainParams) -> dict[str, Any]:
    """What defines a training in the section `train` of params.yaml."""
    return options.model_dump(mode="json", exclude=set(PLACE))


def key_of(section: Mapping[str, Any], data: Sequence[str], code: Mapping[str, bytes]) -> str:
    """Name of the training that these parameters, data hashes and modules define; 16 hex digits.

    It is the same wherever the project lies, so that a training can go on in another clone.
    """
    digest = hashlib.sha256(json.dumps(section, sort_keys=True).encode())
    for part in data:
        digest.update(part.encode())
    for name, content in sorted(code.items()):
        digest.update(name.encode() + content)
    return digest.hexdigest()[:16]


def modules_of_stage(root: Path, stage: str) -> dict[str, bytes]:
    """Content of the Python modules that dvc.yaml names as dependencies of a stage, by their paths there."""
    deps = YAML(typ="safe").load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["deps"]
    return {dep: (root / dep).read_bytes() for dep in deps if str(dep).endswith(".py")}
