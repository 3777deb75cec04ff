"""Prometheus metrics of a scoring, by the names of the service's (`serving.http.telemetry`): one dashboard for both."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from pipeline.archive.engines import PROBABILITY, Report
from pipeline.errors import InputError
from serving.statistics import INPUTS, QUANTILES, Reference, stated

_PROBABILITIES = tuple(n / 20 for n in range(1, 20))


class ScoringMetrics:
    """Counts what becomes of images, from the reports of finished blocks."""

    def __init__(self, reference: Reference, facts: Mapping[str, str], rows: int) -> None:
        self.registry = registry = CollectorRegistry()
        self._rejected = Counter(
            "fracture_rejected", "Inputs without an answer, by reason", ["code"], registry=registry
        )
        self._predictions = Counter(
            "fracture_predictions", "Answers by label and suspicion", ["label", "suspicion"], registry=registry
        )
        probability = Histogram(
            "fracture_probability", "Calibrated probability of a fracture", buckets=_PROBABILITIES, registry=registry
        )
        # Bounds at the deciles of training: without drift each bucket gets a tenth.
        deciles = [int(i) for i in range(len(QUANTILES)) if i and i % 10 == 0]
        self._values = {PROBABILITY: probability} | {
            name: Histogram(
                f"fracture_input_{name}",
                f"Input statistic {name}; bounds are the deciles of training",
                buckets=_increasing(reference.inputs[number, deciles]),
                registry=registry,
            )
            for number, name in enumerate(INPUTS)
        }
        Gauge("fracture_model_info", "The model that answers", [*facts], registry=registry).labels(**facts).set(1)
        Gauge("fracture_archive_rows", "Images of the manifest", registry=registry).set(rows)
        self._done = Gauge(
            "fracture_archive_rows_done", "Images that have a row, earlier runs included", registry=registry
        )
        self._seconds = Counter(
            "fracture_archive_seconds", "Decoding and scoring, over all processes", registry=registry
        )

    def serve(self, port: int) -> None:
        """Answer on loopback at /metrics until the process ends; InputError where the port is taken."""
        try:
            start_http_server(port, addr="127.0.0.1", registry=self.registry)
        except OSError as error:
            raise InputError(f"--metrics-port {port}: cannot be opened ({error.strerror or error})") from None

    def found(self, rows: int) -> None:
        """Rows that an earlier run wrote."""
        self._done.inc(rows)

    def done(self, report: Report) -> None:
        """A block that is done now."""
        counts = report.counts
        for (label, suspicion), count in counts.answers.items():
            self._predictions.labels(label, suspicion).inc(count)
        for code, count in counts.errors.items():
            self._rejected.labels(code).inc(count)
        for name, values in report.values.items():
            for value in values:
                self._values[name].observe(value)
        self._done.inc(counts.rows)
        self._seconds.inc(counts.seconds)


def _increasing(bounds: Iterable[float]) -> list[float]:
    """The bounds without repetitions, which a nearly constant statistic has."""
    return sorted({stated(bound) for bound in bounds}) or [0.0]
