"""Metrics of a scoring: the service's names, so that one dashboard shows both."""

import socket
from collections import Counter

import httpx
import prometheus_client
import pytest

from pipeline.archive.engines import PROBABILITY, Report
from pipeline.archive.metrics import ScoringMetrics
from pipeline.archive.shards import Counts
from pipeline.errors import InputError
from serving.bundle import Bundle
from serving.http.telemetry import Telemetry
from serving.statistics import INPUTS

FACTS = {"name": "m", "version": "1", "run_id": "r", "sha256": "s"}
REPORT = Report(
    0,
    0,
    Counts(3, Counter({("Normal", "none"): 2}), Counter({"crashed": 1}), 0.5),
    {PROBABILITY: [0.1, 0.2], **{name: [0.5, 0.6] for name in INPUTS}},
)


def _lines(text: str) -> set[str]:
    """Metric, labels and bounds of a text, without values and times."""
    return {
        line.rsplit(" ", 1)[0]
        for line in text.splitlines()
        if not line.startswith("#") and "_created" not in line and "fracture_archive" not in line
    }


@pytest.fixture
def metrics(opened: Bundle) -> ScoringMetrics:
    """Count one block."""
    found = ScoringMetrics(opened.reference, FACTS, 10)
    found.found(4)
    found.done(REPORT)
    return found


def test_names_labels_and_buckets_are_those_of_the_service(metrics: ScoringMetrics, opened: Bundle) -> None:
    registry = prometheus_client.CollectorRegistry()
    Telemetry(opened.reference, FACTS, registry)
    service = _lines(prometheus_client.generate_latest(registry).decode())
    ours = _lines(prometheus_client.generate_latest(metrics.registry).decode())
    only_a_service = ("fracture_feedback", "fracture_store")  # nobody gives an archive's answers an opinion
    assert {name for name in service - ours if not name.startswith(only_a_service)} == set()
    assert ours - service == {
        'fracture_predictions_total{label="Normal",suspicion="none"}',
        'fracture_rejected_total{code="crashed"}',
    }


def test_a_block_is_counted(metrics: ScoringMetrics) -> None:
    value = metrics.registry.get_sample_value
    assert value("fracture_archive_rows_done") == 7
    assert value("fracture_predictions_total", {"label": "Normal", "suspicion": "none"}) == 2
    assert value("fracture_rejected_total", {"code": "crashed"}) == 1
    assert value("fracture_probability_count") == 2


def test_they_are_served_on_loopback(metrics: ScoringMetrics) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    metrics.serve(port)
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    assert "fracture_archive_rows 10.0" in answer.text
    with pytest.raises(InputError, match=f"--metrics-port {port}: cannot be opened"):
        metrics.serve(port)
