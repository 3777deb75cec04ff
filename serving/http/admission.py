"""What one worker lets in: its predictor and threads, the requests in flight, and the bytes they hold."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Timer
from typing import Any

import cv2
from starlette.requests import Request

from serving.bundle import Bundle
from serving.http.keeping import Keeper
from serving.http.keys import Keyring
from serving.http.problems import RETRY_AFTER_SECONDS, ProblemError
from serving.http.rates import RateLimit
from serving.http.schemas import Facts
from serving.http.settings import KIB, MIB, Settings
from serving.http.spare import SpareWork
from serving.http.telemetry import Telemetry
from serving.imaging import dicom
from serving.predictor import Limits, Prediction, Predictor

_DICOM_AFTER_SECONDS = 2.0
"""From the engine to the loading of pydicom: the worker listens by then, and the first DICOM file need not wait."""


class Engine:
    """What the routes of one worker share: the predictor, its threads, and how much is in flight."""

    def __init__(self, bundle: Bundle, settings: Settings, registry: Any = None) -> None:
        """`registry` is Prometheus' own; by default the one that BentoML shows at /metrics."""
        cv2.setNumThreads(1)  # requests are spread over the cores, not each image's rows
        self.settings = settings
        self.predictor = Predictor(bundle, Limits(settings.max_pixels, settings.max_frames, settings.scope == "warn"))
        self.facts = Facts(**self.predictor.facts())
        self.keyring = Keyring(settings.api_keys)
        self.telemetry = Telemetry(bundle.reference, self.predictor.facts(), registry)
        self.keeper = Keeper(settings, self.telemetry, bundle.reference, self.facts) if settings.store_url else None
        self.spare = (
            SpareWork(settings, self.telemetry, bundle.preprocessing.canonical.range)
            if settings.keep_images or settings.shadow_bundle
            else None
        )
        self.feedback_rate = RateLimit(settings.feedback_per_minute)
        self._pool = ThreadPoolExecutor(settings.threads, "predict", self.predictor.warm_up)
        self._in_flight = 0
        self._buffered = 0
        # A prediction in each thread, so that `ready` means ready.
        for waiting in [self._pool.submit(time.sleep, 0.01) for _ in range(settings.threads)]:
            waiting.result()
        self._later = Timer(_DICOM_AFTER_SECONDS, dicom.load)
        self._later.daemon = True
        self._later.start()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Take one of the places for requests in flight; Problem `overloaded` at once when none is free."""
        if self._in_flight >= self.settings.concurrency:
            raise _overloaded()
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def body(self, request: Request, most: int | None = None) -> bytes:
        """The request's body, of at most `most` bytes; Problem `body_too_large`, `request_timeout` or `overloaded`."""
        settings, most = self.settings, most or self.settings.max_body
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > most:
            raise _too_large(most)
        chunks: list[bytes] = []
        held = 0
        try:
            async with asyncio.timeout(settings.timeout):
                async for chunk in request.stream():
                    held += len(chunk)
                    self._buffered += len(chunk)
                    if held > most:
                        raise _too_large(most)
                    if self._buffered > settings.max_buffered:
                        raise _overloaded()
                    chunks.append(chunk)
        except TimeoutError:
            raise ProblemError("request_timeout", f"the request did not arrive within {settings.timeout:g} s") from None
        finally:
            self._buffered -= held
        return b"".join(chunks)

    async def predict(self, content: bytes, region: str = "") -> Prediction:
        """Predict in one of the threads (`Predictor.predict`); ImageError, or Problem `timeout`."""
        loop = asyncio.get_running_loop()
        waiting = loop.run_in_executor(self._pool, self.predictor.predict, content, region)
        try:
            return await asyncio.wait_for(waiting, self.settings.timeout)
        except TimeoutError:
            raise ProblemError(
                "timeout", f"no answer within {self.settings.timeout:g} s", {"retry-after": str(RETRY_AFTER_SECONDS)}
            ) from None

    async def draw(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a drawing function in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Let running predictions end and stop the threads."""
        self._later.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self.spare:
            self.spare.close()
        if self.keeper:
            self.keeper.close()


def _overloaded() -> ProblemError:
    return ProblemError("overloaded", "the service is busy; try again", {"retry-after": str(RETRY_AFTER_SECONDS)})


def _too_large(most: int) -> ProblemError:
    size = f"{most / MIB:g} MiB" if most >= MIB else f"{most // KIB} KiB"
    return ProblemError("body_too_large", f"the request has more than {size}")
