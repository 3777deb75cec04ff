"""What is kept of a stage: shards whose blocks come in any order."""

from pathlib import Path

import numpy as np

from pipeline.archive.preparing.kept import GrowingShard, read_places

ROWS = np.random.default_rng(0).integers(0, 256, (7, 4, 4), np.uint8)


def _add(shard: GrowingShard, number: int) -> bool:
    rows = range(3 * number, min(3 * number + 3, len(ROWS)))
    return shard.add(number, ROWS[list(rows)], [{"row": row} for row in rows])


def test_blocks_may_come_in_any_order_and_twice(tmp_path: Path) -> None:
    shard = GrowingShard(tmp_path, "s", len(ROWS), 4, 3)
    assert [_add(shard, number) for number in (2, 0, 0, 1)] == [False, False, False, True]
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), ROWS)
    assert read_places(tmp_path, "s") == [{"row": row} for row in range(7)]


def test_a_shard_that_lacks_a_block_is_not_there(tmp_path: Path) -> None:
    shard = GrowingShard(tmp_path, "s", len(ROWS), 4, 3)
    _add(shard, 0)
    shard.close()
    assert read_places(tmp_path, "s") is None
    assert not list(tmp_path.iterdir())
