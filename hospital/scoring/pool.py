"""The bundle in processes of the gateway's own: a decoder that crashes takes no other image with it."""

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from hospital.errors import TryAgainError
from hospital.labels.origin import Origin
from hospital.results.source import pixel_digest
from hospital.scoring import ModelFacts, Scored
from serving import bundle as bundles
from serving.errors import BundleError, ImageError
from serving.http.pictures import explanation
from serving.http.schemas import Facts, Prediction
from serving.predictor import Limits, Predictor

_SECONDS = 120.0
"""For one image; a radiograph takes a few tenths."""
_END_SECONDS = 10.0
"""For the thread that looks after killed processes; it ends at once."""
_predictor: Predictor | None = None
_origin: Origin | None = None


class PoolScorer:
    """Scores with a verified bundle; BundleError where it is none.

    With `warn_of_scope` an image that the model is not for gets an answer with a warning, for research. With `origin`,
    answers come with their rows.
    """

    def __init__(
        self, folder: Path, processes: int = 0, warn_of_scope: bool = False, origin: Origin | None = None
    ) -> None:
        manifest = bundles.read(folder).manifest
        self.model = ModelFacts(
            manifest.name,
            manifest.version,
            manifest.digest,
            manifest.intended.regions,
            manifest.files[bundles.MODEL],
            manifest.classes,
        )
        self.at_once = processes or len(os.sched_getaffinity(0))
        self._folder, self._digest, self._warn_of_scope, self._origin = folder, manifest.digest, warn_of_scope, origin
        self._lock = threading.Lock()
        _start_tracker()
        self._pool = self._start()
        try:  # the first image shall not wait, and a bundle that fails shall fail here
            self._pool.submit(_ready).result()
        except BrokenProcessPool:
            self.close()
            raise BundleError(
                f"{folder}: the process that opened this bundle ended; see whether memory is short, and whether "
                "`fracture predict` answers with this bundle"
            ) from None
        except BaseException:
            self.close()
            raise

    def score(self, content: bytes) -> Scored:
        """As `Scorer.score`; an image that ends its process is tried again in a new one."""
        with self._lock:
            pool = self._pool
        try:
            found = pool.submit(_score, content).result(_SECONDS)
        except BrokenProcessPool:
            self._replace(pool)
            raise TryAgainError("crashed", "the process that scored the image ended") from None
        except TimeoutError:
            self._replace(pool)
            raise TryAgainError("timeout", f"the image was not scored within {_SECONDS:.0f} seconds") from None
        if isinstance(found, _Refused):
            raise ImageError(found.code, found.message)
        return found

    def close(self) -> None:
        """End the processes."""
        _end(self._pool)

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # threads and sockets of the gateway are not inherited
        facts = (self._folder, self._digest, self._warn_of_scope, self._origin)
        return ProcessPoolExecutor(self.at_once, context, _open, facts)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is broken:
                self._pool = self._start()
        _end(broken)


def _start_tracker() -> None:
    """Start multiprocessing's resource tracker with nowhere to complain to.

    It outlives a gateway that was killed, and would write what was leaked among the lines of JSON.
    """
    kept, silent = os.dup(sys.stderr.fileno()), os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, sys.stderr.fileno())
    try:
        resource_tracker.ensure_running()
    finally:
        os.dup2(kept, sys.stderr.fileno())
        os.close(kept)
        os.close(silent)


def _end(pool: ProcessPoolExecutor) -> None:
    processes = list((pool._processes or {}).values())
    manager: Any = pool._executor_manager_thread  # a thread, and something else in the standard library's type stubs
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    # Python's exit writes into a pipe that this thread closes, and complains on standard error when it comes second.
    if manager is not None:
        manager.join(_END_SECONDS)


def _open(folder: Path, digest: str, warn_of_scope: bool, origin: Origin | None) -> None:
    """In a new process: open the bundle once. Signals are the gateway's to answer.

    Nothing goes to standard error, which is the gateway's log, nor to standard output, where results may go: decoders
    in C write there what they like.
    """
    global _predictor, _origin  # one of each a process
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(silent, stream.fileno())
    os.close(silent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_gateway, daemon=True).start()
    opened = bundles.read(folder)
    if opened.manifest.digest != digest:
        raise BundleError(f"{folder}: was replaced by another bundle; start the gateway again")
    _predictor, _origin = Predictor(opened, Limits(warn_of_scope=warn_of_scope)), origin
    _predictor.warm_up()


def _end_with_gateway() -> None:
    """End this process when the gateway was killed: its queue, whose both ends are held here, never says so."""
    gateway = multiprocessing.parent_process()
    if gateway is not None:
        gateway.join()
        os._exit(1)


def answer(predictor: Predictor, content: bytes, origin: Origin | None = None) -> Scored:
    """What `POST /predict?explain=true` answers, without the id of a request: none was made.

    With `origin` it has an answer_id and the row of the store that bears it. Raises ImageError as `Predictor.predict`
    does.
    """
    prepared = predictor.prepare(content)
    found = predictor.infer(prepared)
    row = origin.answered(predictor.bundle, found, content) if origin else None
    told = Prediction(
        **found.answer(),
        model=Facts(**predictor.facts()),
        request_id="",
        answer_id=row.answer_id if row else "",
        explanation=explanation(found),
    )
    return Scored(told, pixel_digest(prepared.decoded.pixels), row)


def _score(content: bytes) -> "Scored | _Refused":
    """In a process of the pool; an ImageError itself cannot be sent to another process."""
    if _predictor is None:
        raise RuntimeError("the process has no bundle")
    try:
        return answer(_predictor, content, _origin)
    except ImageError as error:
        return _Refused(error.code, error.message)


def _ready() -> None:
    """Nothing: that it returns tells that its process has opened the bundle."""


@dataclass(frozen=True)
class _Refused:
    code: str
    message: str
