"""What is done to every image: what a child process does, and what is handed back of a block of them."""

import hashlib
import json
import platform
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.allocator import keep_image_buffers
from pipeline.archive.addresses import Roots
from pipeline.archive.child import Ahead, Begun, Failed, Tell, serve
from pipeline.archive.entries import Entry
from pipeline.archive.fetching import Fetcher
from pipeline.archive.worker import Bounds, WatchedChild
from pipeline.data import input_heads, scan
from pipeline.data.pixel_cache import PreparedFile
from pipeline.data.scan import Scan
from pipeline.errors import InputError
from pipeline.files import sha256_files
from serving.errors import ImageError
from serving.imaging import model_input
from serving.imaging.canvas import Pixels, Preprocessing

RUN = "pipeline.archive.preparing.tasks:run"
"""What a child runs."""
_PROJECT = Path(__file__).parents[3]
_CODE = ("serving/imaging", "serving/guard.py", "pipeline/data")
"""Where the code is that decides what comes of an image."""


@dataclass(frozen=True)
class Refused:
    """The answer for an image that stops the stage; one line says why."""

    reason: str


Answer = TypeVar("Answer")
Result = TypeVar("Result")
Gathered_co = TypeVar("Gathered_co", covariant=True)


@dataclass(frozen=True)
class Block:
    """Consecutive images; the `id` of an entry is its `file` in labels.csv."""

    number: int
    entries: Sequence[Entry]


class Task(Protocol[Answer, Gathered_co]):
    """What is done to each image, and with the answers of a block; it may be sent to another machine."""

    @property
    def roots(self) -> Roots:
        """Where images may lie."""

    @property
    def key(self) -> str:
        """Hash of all that the answers depend on beside the images."""

    def begin(self) -> Callable[[bytes], Answer | Refused]:
        """What is done to the bytes of an image, in the child; InputError where it cannot be done here."""

    def unread(self, error: ImageError) -> Answer | Refused:
        """The answer for an image whose bytes could not be had."""

    def poison(self, error: ImageError) -> Answer | Refused:
        """The answer for an image that ends its process."""

    def gather(self, number: int, answers: Sequence[Answer]) -> Gathered_co:
        """What is handed back of a block."""


@dataclass(frozen=True)
class ScannedBlock:
    """The facts about the images of a block."""

    number: int
    chunk: scan.Chunk


@dataclass(frozen=True)
class ScanTask:
    """What validate asks of an image. `code` is `code_key` of whoever asks: other code may see something else."""

    roots: Roots
    code: str
    with_features: bool

    @property
    def key(self) -> str:
        """Hash of all that the answers depend on beside the images."""
        return _hash(["scan", self.code, self.with_features])

    def begin(self) -> Callable[[bytes], Scan | Refused]:
        """What is done to the bytes of an image."""
        check_code(self.code)
        return lambda content: scan.scan_content(content, with_features=self.with_features)

    def unread(self, error: ImageError) -> Scan | Refused:
        """A missing image is a fact, anything else stops the stage."""
        return scan.MISSING if error.code == "missing" else Refused(error.message)

    def poison(self, error: ImageError) -> Scan | Refused:
        """An image that ends its process is one that cannot be decoded."""
        return Scan("failed", error.message)

    def gather(self, number: int, answers: Sequence[Scan]) -> ScannedBlock:
        """In chunks as on one machine, which round alike."""
        return ScannedBlock(number, scan.chunk_of(answers))


@dataclass(frozen=True)
class PreparedBlock:
    """The model's inputs of a block, uint8 (n, size, size), and the place of each."""

    number: int
    pixels: Pixels
    places: list[dict[str, Any]]


@dataclass(frozen=True)
class PrepareTask:
    """What preprocess asks of an image."""

    roots: Roots
    code: str
    preprocessing: Preprocessing

    @property
    def key(self) -> str:
        """Hash of all that the answers depend on beside the images."""
        return _hash(["prepare", self.code, self.preprocessing.to_dict()])

    def begin(self) -> Callable[[bytes], PreparedFile | Refused]:
        """What is done to the bytes of an image; InputError where the heads of the canonical form are others here."""
        check_code(self.code)
        heads = input_heads.of_training(self.preprocessing)

        def prepare(content: bytes) -> PreparedFile | Refused:
            try:
                return PreparedFile.of(model_input.prepare(content, self.preprocessing, heads))
            except ImageError as error:
                return self.unread(error)

        return prepare

    def unread(self, error: ImageError) -> Refused:
        """As on one machine."""
        return Refused(f"changed since validation ({error.message}); run `dvc repro` again")

    def poison(self, error: ImageError) -> Refused:
        """The same."""
        return self.unread(error)

    def gather(self, number: int, answers: Sequence[PreparedFile]) -> PreparedBlock:
        """The pixels in one array."""
        pixels: npt.NDArray[np.uint8] = np.stack([found.pixels for found in answers])
        return PreparedBlock(number, pixels, [found.place() for found in answers])


@dataclass(frozen=True)
class Job(Generic[Answer, Result]):
    """A task with what one image may take, and what a child runs; in tests something else. May be sent elsewhere."""

    task: Task[Answer, Result]
    bounds: Bounds
    target: str = RUN

    def worker(self) -> WatchedChild[Answer | Refused]:
        """A process that does it; it starts when it is first needed."""
        return WatchedChild(self.task, self.bounds, lambda _, error: self.task.poison(error), self.target)

    def do(self, worker: WatchedChild[Answer | Refused], block: Block) -> Result:
        """Do a block; InputError names the first image that stops the stage."""
        answers: list[Answer] = []
        for entry, answer in zip(block.entries, worker.answer(block.entries), strict=True):
            if isinstance(answer, Refused):
                raise InputError(f"{entry.id}: {answer.reason}")
            answers.append(answer)
        return self.task.gather(block.number, answers)


def run(connection: Connection, asked: Task[Any, Any]) -> None:
    """Answer what comes through `connection`, lists of entries, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who watches ends us
    cv2.setNumThreads(1)
    keep_image_buffers()
    try:
        work = asked.begin()
    except InputError as error:
        connection.send(Failed(str(error)))
        return

    def answers(fetcher: Fetcher, pool: ThreadPoolExecutor, given: Sequence[Entry]) -> Iterator[tuple[Any, ...]]:
        contents = contents_of(fetcher, pool, given, connection.send)
        for numbered in enumerate(answers_of(asked, work, contents, connection.send)):
            yield (numbered,)

    serve(connection, asked.roots, answers)


def answers_of(
    asked: Task[Answer, Any],
    work: Callable[[bytes], Answer | Refused],
    contents: Iterable[bytes | ImageError],
    tell: Tell,
) -> Iterator[Answer | Refused]:
    """What is answered for the bytes of images, or for why there are none."""
    for position, content in enumerate(contents):
        if isinstance(content, ImageError):
            yield asked.unread(content)
            continue
        tell(Begun(position, "work"))
        yield work(content)


def contents_of(
    fetcher: Fetcher, pool: ThreadPoolExecutor, given: Sequence[Entry], tell: Tell
) -> Iterator[bytes | ImageError]:
    """The bytes of each entry, or why there are none; those that lie elsewhere are fetched ahead."""
    listed = [entry for entry in given if entry.uri]
    ahead, number = Ahead(fetcher, pool, listed), 0
    for position, entry in enumerate(given):
        if not entry.uri:
            yield ImageError("missing", "the manifest does not list it")
            continue
        tell(Begun(position, "fetch"))
        try:
            yield ahead.content(number)
        except ImageError as error:
            yield error
        number += 1


def code_key() -> str:
    """Hash of all that an answer depends on beside the task and the image: our code, the packages with versions."""
    files = [path for part in _CODE for path in [_PROJECT / part, *(_PROJECT / part).rglob("*.py")] if path.is_file()]
    packages = sorted(path.name for path in Path(cv2.__file__).parents[1].glob("*.dist-info"))
    return _hash([sha256_files(_PROJECT, files), packages])


def check_code(wanted: str) -> None:
    """InputError where code or packages are not those of whoever asks."""
    if code_key() != wanted:
        raise InputError(
            f"{platform.node()}: has another version of this project, or of its packages, than the machine of the "
            "command; install the same one there (make ray-setup)"
        )


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=asdict).encode()).hexdigest()
