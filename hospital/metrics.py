"""Prometheus metrics of one gateway, in a registry of its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600, 86400)


class Metrics:
    """Counters of what went through, and gauges that `exposition`'s caller sets first."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.received = Counter(
            "hospital_received_total", "Objects taken in: new, known or own.", ["kind"], registry=self.registry
        )
        self.refused = Counter(
            "hospital_refused_total", "Associations, objects and images refused.", ["code"], registry=self.registry
        )
        self.echoes = Counter("hospital_echoes_total", "C-ECHO requests.", registry=self.registry)
        self.scored = Counter(
            "hospital_scored_total", "Images with an answer, by its suspicion.", ["suspicion"], registry=self.registry
        )
        self.versions = Counter("hospital_versions_total", "Results of studies made.", registry=self.registry)
        self.attempts = Counter(
            "hospital_delivery_attempts_total", "Deliveries tried.", ["destination", "outcome"], registry=self.registry
        )
        self.latency = Histogram(
            "hospital_delivery_seconds",
            "From a study's last image to a confirmed delivery.",
            ["destination"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.jobs = Gauge(
            "hospital_jobs", "Jobs in the queue.", ["kind", "destination", "state"], registry=self.registry
        )
        self.oldest = Gauge("hospital_oldest_job_seconds", "Age of the oldest job not done.", registry=self.registry)
        self.free = Gauge("hospital_spool_free_bytes", "Space left for the spool.", registry=self.registry)
        self.answers_stored = Counter(
            "hospital_store_written_total", "Answers written to the store.", registry=self.registry
        )
        self.answers_dropped = Counter(
            "hospital_store_dropped_total",
            "Answers that the store never got, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.answers_waiting = Gauge("hospital_store_queue", "Answers that wait to be written.", registry=self.registry)
        self.answers_oldest = Gauge(
            "hospital_store_queue_age_seconds",
            "Age of the oldest answer that waits to be written.",
            registry=self.registry,
        )
        self.reports = Counter(
            "hospital_reports_total", "Final reports by what became of them.", ["outcome"], registry=self.registry
        )
        self.labels_stored = Counter(
            "hospital_labels_stored_total", "Labels of final reports written to the store.", registry=self.registry
        )
        for reason in ("full", "unfit", "closing"):
            self.answers_dropped.labels(reason)  # shown as 0, so that an increase from nothing is one

        self.polls = Counter(
            "hospital_polls_total",
            "Looks at DICOMweb servers: done, or why not.",
            ["source", "outcome"],
            registry=self.registry,
        )
        self.polled_at = Gauge(
            "hospital_polled_timestamp_seconds",
            "When the last look that was done ended.",
            ["source"],
            registry=self.registry,
        )
        self.web_requests = Counter(
            "hospital_web_requests_total",
            "STOW-RS requests by the status answered.",
            ["status"],
            registry=self.registry,
        )
        self.adt = Counter(
            "hospital_adt_messages_total",
            "HL7 ADT messages: updated, merged, ignored or refused.",
            ["outcome"],
            registry=self.registry,
        )
        self.reloads = Counter(
            "hospital_reloads_total",
            "Readings of hospital.toml: done or refused.",
            ["outcome"],
            registry=self.registry,
        )

    def exposition(self) -> bytes:
        """The metrics as text."""
        return generate_latest(self.registry)
