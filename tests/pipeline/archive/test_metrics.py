"""Metrics of a scoring: the service's, and how far it is."""

import socket
from collections import Counter

import httpx
import pytest

from pipeline.archive.engines import PROBABILITY, Report
from pipeline.archive.metrics import ScoringMetrics
from pipeline.archive.shards import Counts
from pipeline.errors import InputError
from serving.bundle import Bundle
from serving.statistics import INPUTS

FACTS = {"name": "m", "version": "1", "run_id": "r", "sha256": "s"}
REPORT = Report(
    0,
    0,
    Counts(3, Counter({("Normal", "none"): 2}), Counter({"crashed": 1}), 0.5),
    {PROBABILITY: [0.1, 0.2], **{name: [0.5, 0.6] for name in INPUTS}},
)


@pytest.fixture
def metrics(opened: Bundle) -> ScoringMetrics:
    """Count one block."""
    found = ScoringMetrics(opened.reference, FACTS, 10)
    found.found(4)
    found.done(REPORT)
    return found


def test_a_block_is_counted(metrics: ScoringMetrics) -> None:
    value = metrics.registry.get_sample_value
    assert value("fracture_archive_rows_done") == 7
    assert value("fracture_predictions_total", {"label": "Normal", "suspicion": "none"}) == 2
    assert value("fracture_rejected_total", {"code": "crashed"}) == 1
    assert value("fracture_probability_count") == value("fracture_input_mean_count") == 2
    assert value("fracture_model_info", FACTS) == 1


def test_they_are_served_on_loopback(metrics: ScoringMetrics) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    metrics.serve(port)
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    assert "fracture_archive_rows 10.0" in answer.text
    with pytest.raises(InputError, match=f"--metrics-port {port}: cannot be opened"):
        metrics.serve(port)
