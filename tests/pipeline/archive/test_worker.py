"""Workers: one row an image, whatever an image does to the process that decodes it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.archive.addresses import Roots
from pipeline.archive.child import Scoring
from pipeline.archive.entries import Entry
from pipeline.archive.manifest import Sources
from pipeline.archive.worker import RUN, Bounds, Worker
from pipeline.errors import InputError
from serving.bundle import Bundle
from tests.pipeline.archive.conftest import RELEASE, SAMPLES

POISON = "tests.pipeline.archive.poison:run"


def _scoring(folder: Path, opened: Bundle) -> Scoring:
    return Scoring(RELEASE, opened.manifest.digest, Roots.of([str(folder)]))


def _entries(folder: Path) -> list[Entry]:
    return list(Sources((str(folder),)).entries(lambda _: None))


class _Workers:
    def __init__(self, opened: Bundle) -> None:
        self._opened = opened
        self.made: list[Worker] = []

    def __call__(self, folder: Path, bounds: Bounds | None = None, target: str = POISON) -> Worker:
        worker = Worker(_scoring(folder, self._opened), bounds or Bounds(), self._opened.sha256, target)
        self.made.append(worker)
        return worker


@pytest.fixture
def worker(opened: Bundle) -> Iterator[_Workers]:
    """Give a function that makes a worker, which is closed at the end."""
    workers = _Workers(opened)
    yield workers
    for made in workers.made:
        made.close()


def _codes(worker: Worker, folder: Path) -> dict[str, str | None]:
    return {Path(row["uri"]).name: row["error_code"] for row in worker.score(_entries(folder))}


def test_every_image_has_a_row_in_order(archive: Path, worker: _Workers) -> None:
    entries = _entries(archive)
    rows = worker(archive, target=RUN).score(entries)
    assert [row["id"] for row in rows] == [entry.id for entry in entries]
    assert [row["error_code"] for row in rows] == [None] * 4 + ["unsupported_format", rows[5]["error_code"]]
    assert all(row["seconds"] > 0 for row in rows)
    assert all(len(row["sha256"]) == 64 for row in rows)


def _children() -> set[psutil.Process]:
    return {one for one in psutil.Process().children() if RUN in one.cmdline()}


def test_a_closed_worker_leaves_no_process_behind(archive: Path, worker: _Workers) -> None:
    others = _children()
    made = worker(archive, target=RUN)
    made.score(_entries(archive)[4:5])
    (process,) = _children() - others
    made.close()
    assert not process.is_running()


def test_images_that_end_their_process_are_rows_and_the_others_are_answered(tmp_path: Path, worker: _Workers) -> None:
    shutil.copy(SAMPLES[0], tmp_path / "a.png")
    shutil.copy(SAMPLES[1], tmp_path / "z.png")
    for word in ("crash", "kill", "hang", "eat"):
        (tmp_path / f"{word}.png").write_text(f"{word} ")
    assert _codes(worker(tmp_path, Bounds(seconds=10, memory=600 << 20)), tmp_path) == {
        "a.png": None,
        "crash.png": "crashed",
        "eat.png": "out_of_memory",
        "hang.png": "timeout",
        "kill.png": "out_of_memory",
        "z.png": None,
    }


def test_a_process_that_died_of_something_else_is_no_fault_of_the_image(tmp_path: Path, worker: _Workers) -> None:
    (tmp_path / "a.png").write_bytes(b"once " + bytes(tmp_path / "mark"))
    assert _codes(worker(tmp_path), tmp_path) == {"a.png": "unsupported_format"}
    assert (tmp_path / "mark").exists()


def test_processes_that_never_begin_are_one_line(archive: Path, worker: _Workers) -> None:
    with pytest.raises(InputError, match="end before they begin"):
        worker(archive, target="tests.pipeline.archive.poison:end_at_once").score(_entries(archive))


def test_another_bundle_is_one_line(archive: Path) -> None:
    worker = Worker(Scoring(RELEASE, "f" * 64, Roots.of([str(archive)])), Bounds(), "0")
    with pytest.raises(InputError, match="is another bundle"):
        worker.score(_entries(archive))
