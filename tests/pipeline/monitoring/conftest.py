"""Answers as a service with the sample's model would have kept them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import bundle
from serving.bundle import Bundle
from serving.statistics import INPUTS, QUANTILES
from serving.store import features
from serving.store.records import AnswerRecord

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
Answers = Callable[..., list[AnswerRecord]]


@pytest.fixture(scope="session")
def opened(bundle_folder: Path) -> Bundle:
    """Open the bundle of the sample's model."""
    return bundle.read(bundle_folder)


@pytest.fixture(scope="session")
def answers(opened: Bundle) -> Answers:
    """Give a function that draws answers like those of training, changed as its arguments say.

    `scale` multiplies the sharpness, `shift` moves the features by so many standard deviations, `ago` is when.
    """

    def draw(
        count: int,
        ago: timedelta = timedelta(days=1),
        seed: int = 0,
        scale: float = 1.0,
        shift: float = 0.0,
        **more: Any,
    ) -> list[AnswerRecord]:
        rng = np.random.default_rng(seed)
        reference = opened.reference
        mean, deviation = reference.features
        made = []
        for number in range(count):
            drawn = [float(np.interp(rng.random(), QUANTILES, row)) for row in reference.inputs]
            statistics = dict(zip(INPUTS, drawn, strict=True))
            statistics["sharpness"] *= scale
            statistics["distance"] = float(np.interp(rng.random(), QUANTILES, reference.distances))
            seen = (mean + deviation * (rng.standard_normal(len(mean)) + shift)).astype(np.float32)
            given: dict[str, Any] = {
                "answer_id": f"{seed:016x}{number:016x}", "at": NOON - ago, "request_id": "r", "route": "predict",
                "site": "north", "caller": "ward", "model_name": "m", "model_version": opened.manifest.version,
                "model_sha256": opened.sha256, "label": "Normal", "suspicion": "none", "threshold": 0.5,
                "probability": float(np.interp(rng.random(), QUANTILES, reference.scores)), "region": "hand",
                "statistics": statistics, "features": features.packed(features.summarise(seen, reference)),
            }  # fmt: skip
            made.append(AnswerRecord(**{**given, **more}))
        return made

    return draw
