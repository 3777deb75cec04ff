"""What the service counts and logs: requests, input statistics and scores, nothing about a patient."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.http.problems import REFUSED_BY_GUARD
from serving.late import late
from serving.predictor import Prediction
from serving.statistics import INPUTS, QUANTILES, Reference, stated

if TYPE_CHECKING:
    import prometheus_client as prometheus
    from prometheus_client import multiprocess
else:  # it reads a variable when it is loaded, which BentoML sets after this import
    prometheus = late("prometheus_client")
    multiprocess = late("prometheus_client.multiprocess")

_LATENCIES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PROBABILITIES = tuple(n / 20 for n in range(1, 20))
IMAGE_ROUTES = ("predict", "predict_batch", "explain")
_STATUSES = ("200", "500", "503")
"""Answered, failed and overloaded: what the recording rules set against each other."""


class AnswerMetrics:
    """What is counted of answers, by a service and when an archive is scored: one dashboard shows both."""

    def __init__(self, reference: Reference, facts: Mapping[str, str], registry: Any) -> None:
        self.rejected = prometheus.Counter(
            "fracture_rejected", "Inputs without an answer, by reason", ["code"], registry=registry
        )
        for code in REFUSED_BY_GUARD:
            self.rejected.labels(code)  # shown as 0, so that an increase from nothing is one; likewise below
        self.predictions = prometheus.Counter(
            "fracture_predictions", "Answers by label and suspicion", ["label", "suspicion"], registry=registry
        )
        self.probability = prometheus.Histogram(
            "fracture_probability", "Calibrated probability of a fracture", buckets=_PROBABILITIES, registry=registry
        )
        # Bounds at the deciles of training: without drift each bucket gets a tenth.
        deciles = [int(i) for i in range(len(QUANTILES)) if i and i % 10 == 0]
        self.inputs = {
            name: prometheus.Histogram(
                f"fracture_input_{name}",
                f"Input statistic {name}; bounds are the deciles of training",
                buckets=_increasing(reference.inputs[number, deciles]),
                registry=registry,
            )
            for number, name in enumerate(INPUTS)
        }
        model = prometheus.Gauge(
            "fracture_model_info", "The model that answers", [*facts], multiprocess_mode="mostrecent", registry=registry
        )
        model.labels(**facts).set(1)


class Telemetry:
    """Prometheus metrics and JSON log lines of one worker."""

    def __init__(self, reference: Reference, facts: dict[str, str], registry: Any = None) -> None:
        _forget_dead_workers()
        self._facts = facts
        self._registry = registry = registry or prometheus.REGISTRY
        self._requests = prometheus.Counter(
            "fracture_requests", "Requests by route and status", ["route", "status"], registry=registry
        )
        self._seconds = prometheus.Histogram(
            "fracture_request_seconds",
            "Time from first byte to answer",
            ["route"],
            buckets=_LATENCIES,
            registry=registry,
        )
        for route in IMAGE_ROUTES:
            self._seconds.labels(route)
            for status in _STATUSES:
                self._requests.labels(route, status)
        self._answers = AnswerMetrics(reference, facts, registry)
        self._regions = prometheus.Counter(
            "fracture_regions", "Answers by region and how it is known", ["region", "source"], registry=registry
        )
        self._stored = prometheus.Counter("fracture_store_written", "Answers written to the store", registry=registry)
        self._dropped = prometheus.Counter(
            "fracture_store_dropped", "Answers that the store never got, by reason", ["reason"], registry=registry
        )
        self._waiting = prometheus.Gauge(
            "fracture_store_queue", "Answers that wait to be written", multiprocess_mode="livesum", registry=registry
        )
        self._oldest = prometheus.Gauge(
            "fracture_store_queue_age_seconds",
            "Age of the oldest answer that waits to be written",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._feedback = prometheus.Counter(
            "fracture_feedback", "Opinions of readers on answers", ["opinion"], registry=registry
        )
        self.kept_images = SpareCounter(
            prometheus.Counter("fracture_images_kept", "Pictures that were kept", registry=registry),
            prometheus.Counter(
                "fracture_images_dropped", "Pictures that were not kept, by reason", ["reason"], registry=registry
            ),
            ("busy", "full", "burned_in", "failed", "closing"),
            self.trouble,
        )
        self.shadow = SpareCounter(
            prometheus.Counter("fracture_shadow_answers", "Answers of the shadow bundle", registry=registry),
            prometheus.Counter(
                "fracture_shadow_dropped",
                "Images without a kept answer of the shadow bundle, by reason",
                ["reason"],
                registry=registry,
            ),
            ("busy", "failed", "closing", "unkept"),
            self.trouble,
        )
        for reason in ("full", "unfit", "closing"):
            self._dropped.labels(reason)
        for opinion in ("agree", "disagree", "unsure"):
            self._feedback.labels(opinion)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def prediction(
        self,
        request_id: str,
        route: str,
        prediction: Prediction,
        seconds: float,
        *,
        answer_id: str = "",
        site: str = "",
    ) -> None:
        """Count and log one answer."""
        self._answers.predictions.labels(prediction.label, prediction.suspicion).inc()
        self._answers.probability.observe(prediction.probability)
        self._regions.labels(*_region(prediction)).inc()
        for name, value in zip(INPUTS, prediction.inputs, strict=True):
            self._answers.inputs[name].observe(float(value))
        self._write(
            event="prediction",
            request_id=request_id,
            answer_id=answer_id,
            route=route,
            site=site,
            label=prediction.label,
            probability=round(prediction.probability, 6),
            suspicion=prediction.suspicion,
            warnings=[note.code for note in prediction.warnings],
            inputs=prediction.statistics(),
            width=prediction.width,
            height=prediction.height,
            seconds=round(seconds, 4),
        )

    def rejection(self, request_id: str, route: str, code: str) -> None:
        """Count and log one input that got no answer."""
        self._answers.rejected.labels(code).inc()
        self._write(event="rejection", request_id=request_id, route=route, code=code)

    def failure(self, request_id: str, route: str, error: BaseException) -> None:
        """Log a defect of ours: its kind and place, not its message, which may quote the input."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
        self._write(event="failure", request_id=request_id, route=route, error=type(error).__name__, where=where)

    def stored(self, rows: int) -> None:
        """Count answers that reached the store."""
        self._stored.inc(rows)

    def not_stored(self, rows: int, reason: str) -> None:
        """Count answers that never will: the queue was `full`, they were `unfit`, or the service was `closing`."""
        self._dropped.labels(reason).inc(rows)

    def waiting(self, rows: int, oldest_seconds: float) -> None:
        """Show how many answers wait to be written, and for how long the first of them."""
        self._waiting.set(rows)
        self._oldest.set(oldest_seconds)

    def trouble(self, message: str) -> None:
        """Log what keeps answers from the store."""
        self._write(event="store", message=message)

    def feedback(self, request_id: str, answer_id: str, opinion: str) -> None:
        """Count and log an opinion; what the reader wrote is not logged."""
        self._feedback.labels(opinion).inc()
        self._write(event="feedback", request_id=request_id, answer_id=answer_id, opinion=opinion)

    def exposition(self) -> tuple[bytes, str]:
        """The metrics of all workers in Prometheus' text format, and its media type."""
        registry = self._registry
        if registry is prometheus.REGISTRY and os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            registry = prometheus.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return prometheus.generate_latest(registry), prometheus.CONTENT_TYPE_LATEST

    def _write(self, **facts: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, **facts, "model": self._facts}, ensure_ascii=False)
        sys.stdout.write(line + "\n")  # one write a line: those of several threads do not mix
        sys.stdout.flush()


class SpareCounter:
    """What became of the images that were given to one kind of spare process."""

    def __init__(self, done: Any, dropped: Any, reasons: Iterable[str], trouble: Callable[[str], None]) -> None:
        self._done, self._dropped = done, dropped
        self.trouble = trouble
        for reason in reasons:
            dropped.labels(reason)

    def done(self) -> None:
        """Count one that went well."""
        self._done.inc()

    def dropped(self, reason: str, count: int = 1) -> None:
        """Count what was dropped."""
        self._dropped.labels(reason).inc(count)


def _region(prediction: Prediction) -> tuple[str, str]:
    """Region and source as labels: `unknown` where the image shows none that is known, `none` without a source.

    An image that shows several, of which nobody stated one, counts as `several`.
    """
    region = prediction.region
    if region is None:
        return "unknown", "none"
    if region.source == "image" and region.also:
        return "several", region.source
    return (region.name if region.known or region.source != "image" else "unknown"), region.source


def _forget_dead_workers() -> None:
    """Drop what killed workers said of themselves last: nobody else does, and their queue would look stuck."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
    for path in Path(folder).glob("gauge_live*_*.db") if folder else ():
        number = path.stem.rpartition("_")[2]
        if number.isdigit() and not _lives(int(number)):
            multiprocess.mark_process_dead(int(number))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _increasing(bounds: Iterable[float]) -> list[float]:
    """The bounds without repetitions, which a nearly constant statistic has."""
    rounded = [stated(bound) for bound in bounds]
    return sorted(set(rounded)) or [0.0]


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def __call__(self) -> float:
        return time.perf_counter() - self._start
