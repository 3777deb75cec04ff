"""Engines: what is stopped stays undone."""

import shutil
from pathlib import Path

import pytest

from pipeline.archive.addresses import Roots
from pipeline.archive.child import Scoring
from pipeline.archive.engines import LocalEngine, Report, Work
from pipeline.archive.manifest import Manifest, Sources
from pipeline.archive.places import open_place
from pipeline.archive.pseudonyms import Pseudonyms
from pipeline.archive.scoring import Request
from pipeline.archive.shards import Block, Shards, checkpoints_name
from pipeline.archive.worker import Bounds
from serving.bundle import Bundle
from tests.pipeline.archive.conftest import RELEASE, SAMPLES


def test_a_block_under_way_when_the_engine_is_interrupted_is_not_written(
    opened: Bundle, shared_manifest: Manifest, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(SAMPLES[0], folder / "a.png")
    (folder / "hang.png").write_text("hang ")
    first, second = Sources((str(folder),)).entries(lambda _: None)
    asked = Scoring(RELEASE, opened.manifest.digest, Roots.of([str(folder)]))
    work = Work(asked, Bounds(seconds=20), opened.sha256, Pseudonyms(), "tests.pipeline.archive.poison:run")
    shards = Shards(open_place(str(tmp_path / "out")), Request(shared_manifest, opened).plan())

    def interrupt(_: Report) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalEngine(work, 2).run(shards, iter([Block(0, 0, [first]), Block(0, 1, [second])]), interrupt)
    assert set(shards.done_blocks(checkpoints_name(0))) == {0}
