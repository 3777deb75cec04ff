"""How a trained model behaves: it bears small changes of position and exposure, and a planted fracture counts.

Model behaviour tests in the sense of Ribeiro et al. (CheckList, ACL 2020): invariance and direction, on synthetic
radiographs that differ in nothing else.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.sources import synthetic
from pipeline.evaluation.metrics import logit
from pipeline.training import architectures
from serving.imaging.canvas import Preprocessing
from serving.imaging.model_input import prepare

pytestmark = pytest.mark.slow

Score = Callable[[list[npt.NDArray[np.uint8]]], npt.NDArray[np.float64]]


@pytest.fixture(scope="module")
def score(trained_folder: Path) -> Score:
    """Give the small sample's network as a function from pictures to log odds."""
    model, training = architectures.load_trained(trained_folder / "build/model")
    preprocessing = Preprocessing.from_dict(training.preprocessing)

    def of(pictures: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float64]:
        encoded = [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]
        canvases = np.stack([prepare(content, preprocessing).pixels for content in encoded])
        return logit(model.predict(canvases[..., np.newaxis], verbose=0)[:, 0])

    return of


@pytest.fixture(scope="module")
def pairs() -> list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
    """Radiographs without and with a planted fracture, otherwise the same, of seeds the training set does not hold."""
    found = []
    for seed in range(48):
        region = synthetic.REGIONS[seed % len(synthetic.REGIONS)]
        kind = synthetic.TYPES[seed % len(synthetic.TYPES)]
        images = [synthetic.render(900_000 + seed, region, "frontal", fracture) for fracture in (None, kind)]
        found.append((images[0].pixels, images[1].pixels))
    return found


def test_a_planted_fracture_raises_the_score(score: Score, pairs: Any) -> None:
    raised = score([with_one for _, with_one in pairs]) - score([without for without, _ in pairs])
    assert raised.mean() > 2 * raised.std(ddof=1) / np.sqrt(len(raised)), "not beyond chance"
    assert (raised > 0).mean() > 0.6


def _spread(score: Score, pairs: Any, change: Callable[[Any], Any]) -> float:
    """Median change of the score relative to the spread of scores between images."""
    pictures = [picture for pair in pairs for picture in pair]
    before = score(pictures)
    return float(np.median(np.abs(score([change(picture) for picture in pictures]) - before)) / before.std())


def test_a_small_shift_changes_the_score_less_than_another_image_does(score: Score, pairs: Any) -> None:
    def shift(picture: Any) -> Any:
        return np.roll(picture, (3, 3), axis=(0, 1))

    assert _spread(score, pairs, shift) < 0.5


@pytest.mark.parametrize("exposure", [0.9, 1.1])
def test_another_exposure_changes_the_score_less_than_another_image_does(
    score: Score, pairs: Any, exposure: float
) -> None:
    def expose(picture: Any) -> Any:
        return np.clip(picture.astype(np.float32) * exposure, 0, 255).astype(np.uint8)

    assert _spread(score, pairs, expose) < 0.5


def test_a_mirrored_image_changes_the_score_less_than_another_image_does(score: Score, pairs: Any) -> None:
    assert _spread(score, pairs, lambda picture: np.ascontiguousarray(picture[:, ::-1])) < 0.8
