"""Data sets of drawn shapes whose images an engine reads, and an engine that needs no process."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.fetching import Fetcher
from pipeline.archive.preparing.images import EngineImages
from pipeline.archive.preparing.listings import listing_of
from pipeline.archive.preparing.tasks import Block, Job, answers_of, contents_of
from pipeline.data import layout
from pipeline.data.layout import Dataset

IDS = [f"i{number:02d}" for number in range(20)]


class InThisProcess:
    """Does blocks without a child process, and counts them; with `fails` it is interrupted after so many."""

    def __init__(self, fails: int = -1) -> None:
        self.fails = fails
        self.done: list[int] = []

    def run(self, job: Job[Any, Any], blocks: Iterator[Block], done: Callable[[Any], None]) -> None:
        work, fetcher = job.task.begin(), Fetcher(job.task.roots)
        with ThreadPoolExecutor(2) as pool:
            for block in blocks:
                if len(self.done) == self.fails:
                    raise KeyboardInterrupt
                worker = _Answers(lambda given: contents_of(fetcher, pool, given, _hear), job, work)
                done(job.do(worker, block))  # type: ignore[arg-type]  # the one method that is called
                self.done.append(block.number)


class _Answers:
    def __init__(self, contents: Callable[[Any], Any], job: Job[Any, Any], work: Callable[[bytes], Any]) -> None:
        self._contents, self._job, self._work = contents, job, work

    def answer(self, entries: Any) -> list[Any]:
        return list(answers_of(self._job.task, self._work, self._contents(entries), _hear))


def _hear(_: Any) -> None: ...


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory, make_data: Callable[..., Dataset]) -> Path:
    """Draw twenty images, once."""
    return make_data(tmp_path_factory.mktemp("drawn") / "data", {image_id: {} for image_id in IDS}).folder


@pytest.fixture
def data(tmp_path: Path, drawn: Path) -> Dataset:
    """Copy the drawn images, for a test that changes them."""
    shutil.copytree(drawn, tmp_path / "data")
    return layout.read(tmp_path / "data")


@pytest.fixture
def runner() -> InThisProcess:
    """Make an engine that counts its blocks."""
    return InThisProcess()


@pytest.fixture
def images(data: Dataset, tmp_path: Path) -> Callable[..., EngineImages]:
    """Give a function that makes what an engine reads of a data set."""

    def make(runner: InThisProcess, given: Dataset = data) -> EngineImages:
        found = EngineImages(given.folder, listing_of(given), runner, tmp_path / "kept")
        (tmp_path / "kept").mkdir(exist_ok=True)
        found.shard_bytes = 8 * 32 * 32
        return found

    return make
