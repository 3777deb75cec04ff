"""A batch that several processes share: every image once, whoever works on it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline import train
from pipeline.data.prepared import Prepared
from pipeline.training.batches import Batches
from pipeline.training.params import Augmentation, TrainParams

OPTIONS = TrainParams(batch_size=7, augmentation=Augmentation(rotation=5, noise=2))


def _batches(squares: Callable[..., Prepared], **share: int) -> Batches:
    """Of 50 images: seven whole batches and one of a single image."""
    batches = train.batches_of(squares(98), "train", OPTIONS)
    if share:
        batches.share(**share)
    return batches


def _counted(batch: Any) -> list[tuple[bytes, float, float]]:
    """The images of a batch that weigh something, with label and weight."""
    pixels, labels, weights = batch
    rows = zip(pixels, labels, weights, strict=True)
    return [(image.tobytes(), float(label), float(weight)) for image, label, weight in rows if weight]


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_the_shares_of_a_batch_hold_each_image_once(squares: Callable[..., Prepared], processes: int) -> None:
    whole = _batches(squares)
    shares = [_batches(squares, rank=rank, processes=processes) for rank in range(processes)]
    for number in range(len(whole)):
        together = [image for share in shares for image in _counted(share[number])]
        assert sorted(together) == sorted(_counted(whole[number]))


def test_shares_differ_by_one_image_at_most(squares: Callable[..., Prepared]) -> None:
    shares = [_batches(squares, rank=rank, processes=3) for rank in range(3)]
    assert [share.rows_here(0) for share in shares] == [len(share[0][0]) for share in shares] == [3, 2, 2]


def test_a_process_for_which_no_image_is_left_gets_one_that_weighs_nothing(
    squares: Callable[..., Prepared],
) -> None:
    share = _batches(squares, rank=1, processes=2)
    pixels, _, weights = share[len(share) - 1]
    assert len(pixels) == 1
    assert not np.any(weights)
    assert (share.rows_here(len(share) - 1), share.rows_of(len(share) - 1)) == (0, 1)
