"""Stage evaluate: measure the trained model on the test set, choose its operating points on the validation set."""

import cv2

from pipeline import params
from pipeline.artifacts import Artifacts
from pipeline.data import input_heads as canonical_heads
from pipeline.data import prepared
from pipeline.errors import InputError, exit_with_line
from pipeline.evaluation.report import evaluate
from pipeline.training import architectures


def main() -> None:
    """Read prepared/ and build/model/; write reports/, and build/ but for build/model."""
    cv2.setNumThreads(0)
    paths = Artifacts()
    options = params.load(paths.params).evaluate
    data = prepared.load(paths.prepared)
    heads = canonical_heads.of_training(data.preprocessing)
    model, training = architectures.load_trained(paths.model)
    if training.split_hash != data.split_hash:
        raise InputError(f"{paths.model}: was trained on another split than {paths.prepared} holds; run `dvc repro`")
    report = evaluate(data, model, training, options, heads)
    report.write(paths)
    print(f"{report.summary}; see {paths.metrics} and {paths.gallery}/index.html")


if __name__ == "__main__":
    exit_with_line(main)
