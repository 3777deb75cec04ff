"""`python -m serving.spare.shadow`: answers images with a second bundle, silently, for a worker."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from serving import bundle
from serving.errors import ImageError
from serving.predictor import Limits, Predictor
from serving.spare import child


def begin(settings: Mapping[str, Any]) -> child.Work:
    """Open the bundle; BundleError for one that cannot be used."""
    cv2.setNumThreads(1)
    limits = Limits(settings["max_pixels"], settings["max_frames"], settings["warn_of_scope"])
    predictor = Predictor(bundle.read(Path(settings["bundle"])), limits)
    predictor.warm_up()
    facts = predictor.facts()
    model = {"model_name": facts["name"], "model_version": facts["version"], "model_sha256": facts["sha256"]}

    def work(given: Mapping[str, Any], content: bytes) -> dict[str, Any]:
        start = time.perf_counter()
        try:
            found = predictor.predict(content, given["region"])
        except ImageError as error:
            return {"done": {**model, "refused": error.code, "seconds": time.perf_counter() - start}}
        answer = {
            "label": found.label,
            "probability": found.probability,
            "threshold": found.threshold,
            "suspicion": found.suspicion,
            "region": found.region.name if found.region else None,
            "seconds": time.perf_counter() - start,
        }
        return {"done": {**model, **answer}}

    return work


if __name__ == "__main__":
    child.serve(begin)
