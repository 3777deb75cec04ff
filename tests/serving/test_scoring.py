"""A folder of files to answers: which files, in which order, and what one bad file does to the others."""

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving import bundle, scoring
from serving.errors import ImageError
from serving.predictor import Predictor
from serving.scoring import File


def _fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def _relative(folder: Path, without: Path | None = None) -> list[str]:
    return [file.relative for file in scoring.find([folder], without).files]


def test_a_folder_is_walked_and_sorted(tmp_path: Path) -> None:
    assert _relative(_fill(tmp_path, "b.png", "a/z.jpg", "a/b/c.tif", "a-1.bmp")) == [
        "a-1.bmp", "a/b/c.tif", "a/z.jpg", "b.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["a.JPG", "a.jpeg", "a.png", "a.bmp", "a.tif", "a.TIFF", "a.dcm", "IM000001", "1.2.840.113619"]
)
def test_images_are_known_by_their_names(tmp_path: Path, name: str) -> None:
    assert _relative(_fill(tmp_path, name)) == [name]


@pytest.mark.parametrize("name", [".a.png", ".cache/a.png", "notes.txt", "DICOMDIR", "a.png.bak"])
def test_hidden_files_and_others_are_passed_over_in_a_folder(tmp_path: Path, name: str) -> None:
    assert _relative(_fill(tmp_path, name)) == []


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    assert scoring.find([_fill(tmp_path, "a.png", "b.txt", "c/d.txt")]).passed_over == 2


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "gone.png"])
def test_what_is_named_explicitly_is_always_tried(tmp_path: Path, name: str) -> None:
    assert [file.relative for file in scoring.find([tmp_path / name]).files] == [name]


def test_the_name_of_an_answer_is_what_was_given_and_the_path_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(_fill(tmp_path, "xrays/a/b.png"))
    assert [file.name for file in scoring.find(["xrays", "xrays/a/b.png"]).files] == ["xrays/a/b.png"] * 2


def test_a_folder_to_leave_out_is_left_out(tmp_path: Path) -> None:
    assert _relative(_fill(tmp_path, "a.png", "heat/a.png"), tmp_path / "heat") == ["a.png"]


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    (_fill(tmp_path, "a.png") / "loop").symlink_to(tmp_path)
    assert _relative(tmp_path) == ["a.png"]


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(tmp_path, "a.png", "locked/b.png")
    scandir = os.scandir

    def refuse(place: Any) -> Any:
        if str(place).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert _relative(tmp_path) == ["a.png", "locked"]
    assert _code_of_reading(tmp_path / "locked") == "unreadable"


def _code_of_reading(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        scoring.read(str(path))
    return caught.value.code


def test_a_missing_file_has_a_code(tmp_path: Path) -> None:
    assert _code_of_reading(tmp_path / "gone.png") == "missing"


@pytest.mark.timeout(20)
def test_a_pipe_nobody_writes_to_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert _code_of_reading(tmp_path / "pipe.png") == "unreadable"


@pytest.mark.timeout(20)
def test_a_device_is_not_read() -> None:
    assert _code_of_reading(Path("/dev/zero")) == "unreadable"


def test_a_file_the_system_refuses_has_a_code(tmp_path: Path) -> None:
    assert _code_of_reading(_fill(tmp_path, "a") / "a/b.png") == "unreadable"


def test_a_file_too_large_to_be_a_radiograph_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(scoring.MAX_BYTES + 1)
    assert _code_of_reading(tmp_path / "a.png") == "too_large"


class Double:
    """Stands for a predictor: what `answer` makes of a file's bytes is its prediction."""

    def __init__(self, answer: Callable[[bytes], Any], pixels: int = 0) -> None:
        self.answer = answer
        self.pixels = pixels
        self.started = 0
        self.waiting = self.most_waiting = 0

    def warm_up(self) -> None: ...

    def prepare(self, content: bytes) -> Any:
        self.started += 1
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        pixels = SimpleNamespace(size=self.pixels)
        return SimpleNamespace(content=content, decoded=SimpleNamespace(pixels=pixels))

    def infer(self, prepared: Any) -> Any:
        self.waiting -= 1
        return self.answer(prepared.content)


def _files(folder: Path, count: int) -> list[File]:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number:03d}").write_bytes(b"%d" % number)
    return list(scoring.find([folder]).files)


def _score(answer: Callable[[bytes], Any], files: list[File], threads: int = 2) -> list[scoring.Answer[Any]]:
    return list(scoring.score(Double(answer), files, lambda _, found: found, threads))  # type: ignore[arg-type]


def test_answers_come_in_the_order_of_the_files_whoever_is_done_first(tmp_path: Path) -> None:
    def answer(content: bytes) -> int:
        time.sleep(0.02 if int(content) % 2 == 0 else 0)
        return int(content)

    assert [found.kept for found in _score(answer, _files(tmp_path, 12), 4)] == list(range(12))


def test_files_are_scored_in_parallel(tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=10)
    assert len(_score(lambda _: together.wait(), _files(tmp_path, 3), 3)) == 3


def test_a_refused_file_is_an_error_and_the_others_get_their_answers(tmp_path: Path) -> None:
    def answer(content: bytes) -> int:
        if content == b"1":
            raise ImageError("blank", "shows nothing")
        return 1

    found = _score(answer, _files(tmp_path, 3))
    assert [one.kept for one in found] == [1, None, 1]
    assert found[1].error is not None
    assert found[1].error.code == "blank"


def test_a_file_that_breaks_the_program_is_an_error_too(tmp_path: Path) -> None:
    found = _score(lambda content: 1 // int(content), _files(tmp_path, 2))
    assert found[0].error is not None
    assert found[0].error.code == "internal"
    assert found[1].kept == 1


def test_a_file_that_vanishes_is_an_error(tmp_path: Path) -> None:
    files = _files(tmp_path, 2)
    Path(files[0].path).unlink()
    assert [one.error.code if one.error else "" for one in _score(len, files)] == ["missing", ""]


def test_only_so_many_files_are_under_way_however_many_there_are(tmp_path: Path) -> None:
    double = Double(len)
    answers = scoring.score(double, _files(tmp_path, 200), lambda _, found: found, 1)  # type: ignore[arg-type]
    next(answers)
    time.sleep(0.3)
    assert 1 <= double.started < 40
    answers.close()


def test_nothing_is_scored_after_the_answers_are_left(tmp_path: Path) -> None:
    double = Double(lambda _: time.sleep(0.01))
    answers = scoring.score(double, _files(tmp_path, 100), lambda _, found: found, 1)  # type: ignore[arg-type]
    next(answers)
    answers.close()
    before = double.started
    time.sleep(0.1)
    assert double.started == before


def test_a_failing_keep_ends_the_scoring(tmp_path: Path) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        list(scoring.score(Double(len), _files(tmp_path, 2), full, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize(("pixels", "most"), [(100, 8), (20_000_000, 1)])
def test_only_a_few_large_images_wait_for_the_network(tmp_path: Path, pixels: int, most: int) -> None:
    double = Double(len, pixels)
    assert len(list(scoring.score(double, _files(tmp_path, 64), lambda *_: 1, 1))) == 64  # type: ignore[arg-type]
    assert double.most_waiting == most


class _Pixels:
    """As large as nothing, but whether it lives on can be seen."""


def test_predictions_are_not_kept_beyond_their_answer(tmp_path: Path) -> None:
    alive: weakref.WeakSet[_Pixels] = weakref.WeakSet()

    def answer(_: bytes) -> _Pixels:
        pixels = _Pixels()
        alive.add(pixels)
        return pixels

    answers = list(scoring.score(Double(answer), _files(tmp_path, 20), lambda *_: 1, 1))  # type: ignore[arg-type]
    gc.collect()
    assert len(answers) == 20
    assert len(alive) == 0


def test_answers_are_those_of_the_predictor_alone(bundle_folder: Path) -> None:
    predictor = Predictor(bundle.read(bundle_folder))
    files = scoring.find([bundle_folder / "samples"]).files
    found = scoring.score(predictor, files, lambda _, prediction: prediction.answer(), 2)
    alone = [predictor.predict(Path(file.path).read_bytes()).answer() for file in files]
    assert len(alone) > 0
    assert [answer.kept for answer in found] == alone
