"""A folder of files to answers, in parallel: what `fracture predict` does without a server."""

import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

import cv2

from serving.errors import ImageError
from serving.predictor import Prediction, Predictor, PreparedImage

# Names in a paragraph, which the formatter would write one a line.
SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".dcm",
        ".dicom",
        ".dic",
    }
)
"""What the names of images end with, lower case."""
MAX_BYTES = 512 << 20
"""Of one file: what no radiograph has, and what a few threads can hold at once."""
_INDEX = "DICOMDIR"
_CHUNK = 8
"""Files that a thread takes at once: handing over each one by itself costs a tenth of the time of small images."""
_AHEAD = 2
"""Chunks a thread that are under way: enough that one large file does not hold up the others."""

_MOST_PIXELS = 16_000_000
"""Of decoded images that wait for the network in one thread, but for the last one."""

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class File:
    """A file to score: where it lies, its name in the answers, and its `/`-separated path in the folder walked."""

    path: str
    name: str
    relative: str


@dataclass(frozen=True, slots=True)
class Found:
    """Files in the order in which they are scored, and how many others were passed over."""

    files: tuple[File, ...]
    passed_over: int


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What became of one file: `kept` is what was made of its prediction, None where there is an `error` instead."""

    file: File
    kept: T | None
    error: ImageError | None


def find(paths: Iterable[str | Path], without: Path | None = None) -> Found:
    """The files that `paths` name: each file as it is, each folder walked, sorted by path in it.

    In a folder hidden files, the folder `without` and what is no image by name are passed over; links to folders are
    not followed. A file without a suffix counts as an image, as DICOM exports name theirs. What is named explicitly,
    or cannot be listed, is in the result whatever it is: scoring it says what is wrong.
    """
    files: list[File] = []
    passed_over = 0
    for given in [os.fspath(path) for path in paths]:
        if not os.path.isdir(given):  # noqa: PTH112  a Path would drop a leading `./`
            files.append(File(given, given, PurePosixPath(given).name or given))
            continue
        relative, others = _walk(given, without.resolve() if without else None)
        files.extend(File(path := os.path.join(given, name), path, name) for name in relative)  # noqa: PTH118  as above
        passed_over += others
    return Found(tuple(files), passed_over)


def _walk(top: str, without: Path | None) -> tuple[list[str], int]:
    """Relative paths of the images below a folder, sorted, and the number of other files."""
    found: list[str] = []
    passed_over = 0

    def unlisted(error: OSError) -> None:
        found.append(os.path.relpath(str(error.filename), top))

    for place, folders, names in os.walk(top, onerror=unlisted):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and (without is None or Path(place, name).resolve() != without)
        ]
        inside = os.path.relpath(place, top)
        chosen = [name for name in names if is_image_name(name)]
        found += chosen if inside == "." else [f"{inside}/{name}" for name in chosen]
        passed_over += len(names) - len(chosen)
    return sorted(found), passed_over


def is_image_name(name: str) -> bool:
    """Whether a file of this name, met in a folder, is tried; names made of numbers are UIDs of DICOM objects."""
    if name.startswith(".") or name.upper() == _INDEX:
        return False
    suffix = PurePosixPath(name).suffix.lower()
    return not suffix or suffix in SUFFIXES or suffix[1:].isdigit()


def read(path: str) -> bytes:
    """A file's bytes; ImageError `missing`, `unreadable` (a pipe or device, too) or `too_large`."""
    try:
        facts = os.stat(path)  # noqa: PTH116  a Path takes longer than the call
        if not stat.S_ISREG(facts.st_mode):
            kind = "a folder that cannot be listed" if stat.S_ISDIR(facts.st_mode) else "no regular file"
            raise ImageError("unreadable", f"it is {kind}")
        if facts.st_size > MAX_BYTES:
            raise ImageError("too_large", f"the file is larger than {MAX_BYTES >> 20} MiB")
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  likewise
            return file.readall()
    except FileNotFoundError:
        raise ImageError("missing", "there is no such file") from None
    except OSError as error:
        raise ImageError("unreadable", f"the file cannot be read ({error.strerror or error})") from None


def score(
    predictor: Predictor, files: Sequence[File], keep: Callable[[File, Prediction], T], threads: int | None = None
) -> Generator[Answer[T], None, None]:
    """Answers in the order of `files`, as soon as each is there; by default one thread a core.

    `keep` makes of a prediction what its answer holds, in the thread that predicted: the pixels go with the
    prediction, so that memory does not grow with the number of files. What `keep` raises ends the scoring. Switches
    OpenCV's own threads off for the whole process.
    """
    cv2.setNumThreads(0)  # the files are spread over the cores, not each image's rows
    count = threads or len(os.sched_getaffinity(0))
    size = max(1, min(_CHUNK, len(files) // (_CHUNK * count)))  # a few files are spread one by one
    waiting: deque[Future[list[Answer[T]]]] = deque()
    pool = ThreadPoolExecutor(count, "score", predictor.warm_up)
    try:
        for start in range(0, len(files), size):
            if len(waiting) >= _AHEAD * count:
                yield from waiting.popleft().result()
            waiting.append(pool.submit(score_chunk, predictor, files[start : start + size], keep))
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def score_chunk(
    predictor: Predictor,
    files: Sequence[File],
    keep: Callable[[File, Prediction], T],
    fetch: Callable[[str], bytes] = read,
) -> list[Answer[T]]:
    """Answers in the order of a few `files`, of which `fetch` gives the bytes; `keep` as in `score`.

    Prepares all files first, then runs the network on them (`Predictor.prepare`); large images a few at a time.
    """
    answers: list[Answer[T]] = []
    held: list[tuple[File, PreparedImage | ImageError]] = []
    pixels = 0
    for file in files:
        prepared = _tried(lambda path: predictor.prepare(fetch(path)), file.path)
        held.append((file, prepared))
        pixels += 0 if isinstance(prepared, ImageError) else prepared.decoded.pixels.size
        if pixels > _MOST_PIXELS:
            answers += _inferred(predictor, held, keep)
            held, pixels = [], 0
    return answers + _inferred(predictor, held, keep)


def _inferred(
    predictor: Predictor, held: Sequence[tuple[File, PreparedImage | ImageError]], keep: Callable[[File, Prediction], T]
) -> list[Answer[T]]:
    found = [image if isinstance(image, ImageError) else _tried(predictor.infer, image) for _, image in held]
    return [
        Answer(file, None, one) if isinstance(one, ImageError) else Answer(file, keep(file, one), None)
        for (file, _), one in zip(held, found, strict=True)
    ]


def _tried(action: Callable[[A], R], given: A) -> R | ImageError:
    """What `action` makes of what is given, or why it does not: one file's fault is not that of the others."""
    try:
        return action(given)
    except ImageError as error:
        return error
    except Exception as error:  # noqa: BLE001  a defect of ours costs one file its answer, not all of them
        return ImageError("internal", f"the file cannot be handled ({type(error).__name__})")
