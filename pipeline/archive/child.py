"""What runs in a child process: it fetches, decodes and scores images, and may die of one."""

import ctypes
import importlib
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import cv2

from pipeline.archive.addresses import FILE, Roots
from pipeline.archive.entries import Entry
from pipeline.archive.fetching import Fetcher
from pipeline.archive.results import Row, answer_row, error_row
from pipeline.quiet import quiet_import
from serving import bundle, scoring
from serving.errors import ImageError, SettingsError
from serving.predictor import Limits, Prediction, Predictor, PreparedImage
from serving.scoring import File

_CHUNK = 8
"""Images that are prepared before the network runs on them, as in `serving.scoring`."""
FETCHES = 16
"""Images that are fetched at the same time."""
_MOST_AHEAD = 128 << 20
"""Bytes of images that wait to be decoded."""
_UNKNOWN_SIZE = 8 << 20
OUT_OF_MEMORY = "out_of_memory"

Phase = Literal["fetch", "work"]


@dataclass(frozen=True)
class Begun:
    """A message: the child waits for the bytes of an image, or works on them."""

    position: int
    phase: Phase


@dataclass(frozen=True)
class Answered:
    """A message: rows, or what else answers an entry, by their positions among the entries that were given."""

    rows: tuple[tuple[int, Any], ...]


@dataclass(frozen=True)
class Ready:
    """A message: all is loaded, or all entries are answered."""


@dataclass(frozen=True)
class Failed:
    """A message: the work cannot begin; one line says why."""

    reason: str


Message = Begun | Answered | Ready | Failed
Tell = Callable[[Message], None]


@dataclass(frozen=True)
class Scoring:
    """What a child needs to know; it may be sent to another machine."""

    bundle: Path
    digest: str  # of the bundle's model.json: another bundle is none
    roots: Roots
    warn_of_scope: bool = False

    def predictor(self, tell: Tell) -> "ObservedPredictor":
        """A predictor that tells what it works on; BundleError."""
        opened = bundle.read(self.bundle)
        if opened.manifest.digest != self.digest:
            raise bundle.BundleError(f"{self.bundle}: is another bundle than that of this scoring; name the same one")
        return ObservedPredictor(opened, Limits(warn_of_scope=self.warn_of_scope), tell)


class ObservedPredictor(Predictor):
    """Tells which image it works on, so that whoever watches knows of which one it died; measures each image's time."""

    def __init__(self, opened: bundle.Bundle, limits: Limits, tell: Tell) -> None:
        super().__init__(opened, limits)
        self._tell = tell
        self._position = 0
        self._prepared: dict[int, int] = {}
        self.seconds: dict[int, float] = {}
        self.hashes: dict[int, str] = {}

    def begin(self, position: int) -> None:
        """Say to which entry the next bytes belong."""
        self._position = position

    def prepare(self, content: bytes) -> PreparedImage:
        position = self._position
        self._tell(Begun(position, "work"))
        with self._timed(position):
            try:
                prepared = self._decode(content)
            except Exception:
                self.hashes[position] = sha256(content).hexdigest()
                raise
        self._prepared[id(prepared)] = position
        return prepared

    def _decode(self, content: bytes) -> PreparedImage:
        return super().prepare(content)

    def infer(self, prepared: PreparedImage, given_region: str = "") -> Prediction:
        position = self._prepared.pop(id(prepared))
        self._tell(Begun(position, "work"))
        with self._timed(position):
            try:
                return super().infer(prepared, given_region)
            except Exception:
                self.hashes[position] = prepared.sha256
                raise

    def forget(self) -> None:
        """Forget the images that are answered."""
        self.seconds.clear()
        self.hashes.clear()

    @contextmanager
    def _timed(self, position: int) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[position] = self.seconds.get(position, 0) + time.perf_counter() - start


def main() -> None:
    """What a new process runs: its arguments are the number of an open connection, and the function to hand it to."""
    connection = Connection(int(sys.argv[1]))
    _die_with_parent()
    module, _, name = sys.argv[2].partition(":")
    try:
        getattr(importlib.import_module(module), name)(connection, connection.recv())
    except (EOFError, BrokenPipeError):
        return  # the one who asked is gone


def run(connection: Connection, asked: Scoring) -> None:
    """Answer what comes through `connection`, lists of entries, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who watches ends us
    cv2.setNumThreads(0)
    try:
        predictor = asked.predictor(connection.send)
        with quiet_import():  # LiteRT announces its first interpreter
            predictor.warm_up()
    except (bundle.BundleError, SettingsError, ImageError) as error:
        connection.send(Failed(str(error)))
        return
    serve(
        connection, asked.roots, lambda fetcher, pool, given: answers(predictor, fetcher, pool, given, connection.send)
    )


def serve(
    connection: Connection,
    roots: Roots,
    work: Callable[[Fetcher, ThreadPoolExecutor, Sequence[Entry]], Iterable[tuple[tuple[int, Any], ...]]],
) -> None:
    """Answer lists of entries until `connection` is closed; `work` gives answers by position, a few at a time."""
    fetcher = Fetcher(roots)
    with ThreadPoolExecutor(FETCHES, "fetch") as pool:
        connection.send(Ready())
        while True:
            try:
                given = connection.recv()
            except EOFError:
                return
            for found in work(fetcher, pool, given):
                connection.send(Answered(found))
            connection.send(Ready())


def _die_with_parent() -> None:
    """Let the system end this process when the one that started it ends, even while a decoder hangs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def answers(
    predictor: ObservedPredictor, fetcher: Fetcher, pool: ThreadPoolExecutor, entries: Sequence[Entry], tell: Tell
) -> Iterator[tuple[tuple[int, Row], ...]]:
    """Rows by position, a few at a time; what is not on this machine's disk is fetched ahead."""
    model = predictor.bundle.sha256
    ahead = Ahead(fetcher, pool, entries)

    def fetch(path: str) -> bytes:
        position = int(path)
        tell(Begun(position, "fetch"))
        predictor.begin(position)
        return ahead.content(position)

    def keep(file: File, prediction: Prediction) -> Row:
        position = int(file.path)
        return answer_row(entries[position], prediction, model, predictor.seconds[position])

    for start in range(0, len(entries), _CHUNK):
        positions = range(start, min(start + _CHUNK, len(entries)))
        files = [File(str(position), "", "") for position in positions]
        rows = []
        for position, answer in zip(positions, scoring.score_chunk(predictor, files, keep, fetch), strict=True):
            if answer.error is None and answer.kept is not None:
                rows.append((position, answer.kept))
                continue
            error = answer.error or ImageError("internal", "the file cannot be handled")
            seconds, digest = predictor.seconds.get(position, 0.0), predictor.hashes.get(position)
            rows.append((position, error_row(entries[position], error, model, seconds, digest)))
        predictor.forget()
        yield tuple(rows)


class Ahead:
    """The bytes of images, fetched before they are asked for as long as they are few."""

    def __init__(self, fetcher: Fetcher, pool: ThreadPoolExecutor, entries: Sequence[Entry]) -> None:
        self._fetcher, self._pool, self._entries = fetcher, pool, entries
        self._waiting = deque(number for number, entry in enumerate(entries) if not _is_local(entry))
        self._held: deque[tuple[int, Future[bytes]]] = deque()
        self._bytes = 0

    def content(self, position: int) -> bytes:
        """The bytes of an entry; ImageError. Entries are asked for in order."""
        entry = self._entries[position]
        if _is_local(entry):
            return self._fetcher.fetch(entry)  # the system reads ahead better
        self._submit()
        found, future = self._held.popleft()
        if found != position:
            raise RuntimeError(f"entry {position} is asked for out of order: {found} is the next")
        self._bytes -= self._size(position)
        self._submit()
        return future.result()

    def _submit(self) -> None:
        while self._waiting:
            position = self._waiting[0]
            size = self._size(position)
            if self._held and (len(self._held) >= 2 * FETCHES or self._bytes + size > _MOST_AHEAD):
                return
            self._waiting.popleft()
            self._held.append((position, self._pool.submit(self._fetcher.fetch, self._entries[position])))
            self._bytes += size

    def _size(self, position: int) -> int:
        return self._entries[position].size or _UNKNOWN_SIZE


def _is_local(entry: Entry) -> bool:
    return entry.uri.startswith(f"{FILE}:")
