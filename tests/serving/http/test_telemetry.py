"""Figures of several workers."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from serving import bundle
from serving.http.telemetry import Telemetry

_GAUGE = """
import sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from serving import bundle
from serving.http.telemetry import Telemetry
registry = CollectorRegistry()
facts = {"name": "n", "version": "1", "run_id": "r", "sha256": "s"}
telemetry = Telemetry(bundle.read(Path(sys.argv[1])).reference, facts, registry)
telemetry.waiting(3, float(sys.argv[2]))
"""
_READ = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


@pytest.mark.parametrize(
    "shown",
    [
        'fracture_requests_total{route="predict",status="200"}',
        'fracture_requests_total{route="predict_batch",status="500"}',
        'fracture_requests_total{route="explain",status="503"}',
        'fracture_request_seconds_count{route="predict"}',
        'fracture_rejected_total{code="not_a_radiograph"}',
        'fracture_feedback_total{opinion="disagree"}',
        'fracture_store_dropped_total{reason="full"}',
        "fracture_probability_count",
    ],
)
def test_what_the_rules_count_is_0_before_the_first_image_so_that_they_see_the_first_ones(
    bundle_folder: Path, shown: str
) -> None:
    facts = {"name": "n", "version": "1", "run_id": "r", "sha256": "s"}
    telemetry = Telemetry(bundle.read(bundle_folder).reference, facts, CollectorRegistry())
    assert f"{shown} 0.0\n" in telemetry.exposition()[0].decode()


def _run(folder: Path, code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=Path(__file__).parents[3],
        env={"PROMETHEUS_MULTIPROC_DIR": str(folder)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_queue_of_a_worker_that_was_killed_is_forgotten_by_the_next(bundle_folder: Path, tmp_path: Path) -> None:
    _run(tmp_path, _GAUGE, str(bundle_folder), "900")
    assert "fracture_store_queue_age_seconds 900.0" in _run(tmp_path, _READ)
    _run(tmp_path, _GAUGE, str(bundle_folder), "1")
    assert "fracture_store_queue_age_seconds 1.0" in _run(tmp_path, _READ)
    assert "fracture_store_queue 3.0" in _run(tmp_path, _READ)
