"""What the service counts and logs: requests, input statistics and scores, nothing about a patient."""

import json
import os
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from serving.predictor import Prediction
from serving.statistics import INPUTS, QUANTILES, Reference, stated

_LATENCIES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PROBABILITIES = tuple(n / 20 for n in range(1, 20))


class Telemetry:
    """Prometheus metrics and JSON log lines of one worker."""

    def __init__(self, reference: Reference, facts: dict[str, str], registry: Any = None) -> None:
        import prometheus_client.multiprocess  # noqa: PLC0415  it reads a variable that BentoML sets after this import

        self._prometheus = prometheus = prometheus_client
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
        self._rejected = prometheus.Counter(
            "fracture_rejected", "Inputs without an answer, by reason", ["code"], registry=registry
        )
        self._predictions = prometheus.Counter(
            "fracture_predictions", "Answers by label and suspicion", ["label", "suspicion"], registry=registry
        )
        self._probability = prometheus.Histogram(
            "fracture_probability", "Calibrated probability of a fracture", buckets=_PROBABILITIES, registry=registry
        )
        # Bounds at the deciles of training: without drift each bucket gets a tenth.
        deciles = [int(i) for i in range(len(QUANTILES)) if i and i % 10 == 0]
        self._inputs = {
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

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def prediction(self, request_id: str, route: str, prediction: Prediction, seconds: float) -> None:
        """Count and log one answer."""
        self._predictions.labels(prediction.label, prediction.suspicion).inc()
        self._probability.observe(prediction.probability)
        for name, value in zip(INPUTS, prediction.inputs, strict=True):
            self._inputs[name].observe(float(value))
        self._write(
            event="prediction",
            request_id=request_id,
            route=route,
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
        self._rejected.labels(code).inc()
        self._write(event="rejection", request_id=request_id, route=route, code=code)

    def failure(self, request_id: str, route: str, error: BaseException) -> None:
        """Log a defect of ours: its kind and place, not its message, which may quote the input."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
        self._write(event="failure", request_id=request_id, route=route, error=type(error).__name__, where=where)

    def exposition(self) -> tuple[bytes, str]:
        """The metrics of all workers in Prometheus' text format, and its media type."""
        prometheus, registry = self._prometheus, self._registry
        if registry is prometheus.REGISTRY and os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            registry = prometheus.CollectorRegistry()
            prometheus.multiprocess.MultiProcessCollector(registry)
        return prometheus.generate_latest(registry), prometheus.CONTENT_TYPE_LATEST

    def _write(self, **facts: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, **facts, "model": self._facts}, ensure_ascii=False)
        sys.stdout.write(line + "\n")  # one write a line: those of several threads do not mix
        sys.stdout.flush()


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
