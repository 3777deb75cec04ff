"""Stage evaluate: measure the trained model on the test set, choose its operating points on the validation set."""

import cv2

from pipeline import params
from pipeline.artifacts import Artifacts
from pipeline.data import prepared
from pipeline.errors import InputError, exit_with_line
from pipeline.evaluation.report import evaluate
from pipeline.training import architectures


def main() -> None:
    """Read prepared/ and build/model/; write reports/, build/decision.json and build/reference.npz."""
    cv2.setNumThreads(0)
    paths = Artifacts()
    options = params.load(paths.params).evaluate
    data = prepared.load(paths.prepared)
    model, training = architectures.load_trained(paths.model)
    if training.split_hash != data.split_hash:
        raise InputError(f"{paths.model}: was trained on another split than {paths.prepared} holds; run `dvc repro`")
    report = evaluate(data, model, training, options)
    report.write(paths)
    print(f"{report.summary}; see {paths.metrics} and {paths.gallery}/index.html")


if __name__ == "__main__":
    exit_with_line(main)
