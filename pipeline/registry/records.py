"""What a model registry holds, as records."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelVersion:
    """A version of a registered model as it was when it was read."""

    name: str
    version: str  # a number from 1
    run_id: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """A run as it was when it was read."""

    id: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    """The last value of each."""
