"""An image to its answer, by one of two back ends that give the same record."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hospital.config import Model
from hospital.errors import HospitalError
from hospital.labels.settings import Store
from serving import bundle as bundles
from serving.http.schemas import Prediction
from serving.store.records import AnswerRecord

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class ModelFacts:
    """Who answers: name and version for a reader, and a digest of everything that an answer depends on.

    `sha256` is the network's, by which the store of answers knows it; empty where the answers are not ours to keep.
    `classes` has the normal one first.
    """

    name: str
    version: str
    digest: str
    regions: tuple[str, ...]
    sha256: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """An answer, with its explanation, and the digest of the pixels that it is about (`results.source.pixel_digest`).

    `row` is for the store of answers; None where whoever answered writes it himself, or nobody keeps any.
    """

    answer: Prediction
    pixel_digest: str
    row: AnswerRecord | None = None


class Scorer(Protocol):
    """A back end. `score` may be called from several threads at once."""

    @property
    def model(self) -> ModelFacts: ...

    @property
    def at_once(self) -> int:
        """Images that are scored at the same time."""

    def score(self, content: bytes) -> Scored:
        """The answer for a file's bytes.

        Raises ImageError where the model gives none to this image, and TryAgainError where it may give one later.
        """

    def close(self) -> None: ...


def bundle_folder(model: Model) -> Path:
    """The bundle that a configuration names, or the one that `fracture serve` would serve; BundleError for none."""
    return model.bundle or bundles.find_default(_ROOT)


def check_codes(store: Store | None, classes: Sequence[str]) -> None:
    """HospitalError where a code of final reports means what is none of the model's classes."""
    for code, label in (store.codes if store else {}).items():
        if label not in classes:
            known = ", ".join(classes)
            raise HospitalError(f"store.codes.{code}: {label!r} is none of the model's classes ({known})")


def answer_key(sop_instance_uid: str, pixel_digest: str, model_digest: str) -> str:
    """What an answer is kept under: the same image and model are never scored twice."""
    return hashlib.sha256("\n".join((sop_instance_uid, pixel_digest, model_digest)).encode()).hexdigest()
