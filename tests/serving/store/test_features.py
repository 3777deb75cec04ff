"""A network's features in a few numbers."""

from pathlib import Path

import numpy as np
import pytest

from serving import bundle
from serving.statistics import Reference
from serving.store import features
from serving.store.features import SUMMARY


@pytest.fixture(scope="module")
def reference(bundle_folder: Path) -> Reference:
    """Read the reference of the sample's model."""
    return bundle.read(bundle_folder).reference


def _drawn(reference: Reference, count: int, shift: float = 0.0) -> list[features.Vector]:
    mean, deviation = reference.features
    rng = np.random.default_rng(1)
    return [
        features.summarise((mean + deviation * (rng.standard_normal(len(mean)) + shift)).astype(np.float32), reference)
        for _ in range(count)
    ]


def test_features_like_those_of_training_are_near_zero_on_average(reference: Reference) -> None:
    found = np.stack(_drawn(reference, 400))
    assert np.abs(found.mean(axis=0)).max() < 4 * found.std() / np.sqrt(400)


def test_features_that_moved_are_not(reference: Reference) -> None:
    before, after = (np.stack(_drawn(reference, 100, by)) for by in (0.0, 1.0))
    assert np.abs(after.mean(axis=0) - before.mean(axis=0)).mean() > 0.3


def test_a_summary_survives_the_store(reference: Reference) -> None:
    (found,) = _drawn(reference, 1)
    assert features.unpacked(features.packed(found)) == pytest.approx(found)
    assert len(features.packed(found)) == 4 * SUMMARY


def test_other_bytes_are_no_summary() -> None:
    with pytest.raises(ValueError, match="3 features instead of 32"):
        features.unpacked(bytes(12))
