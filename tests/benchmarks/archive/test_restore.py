"""Going on after a kill at the very end, on few images."""

from pathlib import Path

from benchmarks.archive import restore
from pipeline.archive.places import open_place


def test_what_is_laid_down_is_gone_on_with_to_the_end(tmp_path: Path) -> None:
    restore.fill(tmp_path, 100, 50)
    out = open_place(str(tmp_path / "out"))
    assert [len(out.names(f"checkpoints/{shard:05d}")) for shard in range(2)] == [6, 6]  # of seven blocks each
    restore.restore(tmp_path, 50)
    assert out.read("_SUCCESS") is not None
