"""Prometheus metrics of a scoring: those of the service's answers, and how far it is."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from pipeline.archive.engines import PROBABILITY, Report
from pipeline.errors import InputError
from serving.http.telemetry import AnswerMetrics
from serving.statistics import Reference


class ScoringMetrics:
    """Counts what becomes of images, from the reports of finished blocks."""

    def __init__(self, reference: Reference, facts: Mapping[str, str], rows: int) -> None:
        self.registry = registry = CollectorRegistry()
        self._answers = AnswerMetrics(reference, facts, registry)
        self._values = {PROBABILITY: self._answers.probability, **self._answers.inputs}
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
            self._answers.predictions.labels(label, suspicion).inc(count)
        for code, count in counts.errors.items():
            self._answers.rejected.labels(code).inc(count)
        for name, values in report.values.items():
            for value in values:
                self._values[name].observe(value)
        self._done.inc(counts.rows)
        self._seconds.inc(counts.seconds)
