"""Two back ends, one answer: the bundle in processes of the gateway's own, and the HTTP service."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from hospital.config import Config, Secrets
from hospital.errors import HospitalError, TryAgainError
from hospital.gateway import open_scorer
from hospital.scoring import answer_key
from hospital.scoring.pool import PoolScorer
from hospital.scoring.service import ServiceScorer
from serving import bundle
from serving.errors import BundleError, ImageError
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.settings import Settings
from tests.hospital.objects import BUNDLE, encoded, radiograph
from tests.hospital.peers import ROOT, eventually
from tests.ports import free_port

KEY = "a key for the gateway"


@pytest.fixture(scope="module")
def pool() -> Iterator[PoolScorer]:
    """Open the release in one process."""
    found = PoolScorer(BUNDLE, 1)
    yield found
    found.close()


@contextmanager
def served(**settings: Any) -> Iterator[str]:
    """The service's application on loopback, as a bento serves it; yields its address."""
    app = create_app()
    app.state.engine = Engine(bundle.read(BUNDLE), Settings(**settings), CollectorRegistry())
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
        app.state.engine.close()


def test_both_back_ends_give_the_same_answer(pool: PoolScorer) -> None:
    content = encoded(radiograph())
    with served(api_keys=(KEY,)) as url:
        service = ServiceScorer(url, KEY)
        first, second = pool.score(content), service.score(content)
        service.close()
    assert first.pixel_digest == second.pixel_digest
    without = {"request_id", "answer_id"}
    assert first.answer.model_dump(exclude=without) == second.answer.model_dump(exclude=without)
    assert (pool.model.name, pool.model.version) == (service.model.name, service.model.version)
    assert pool.model.classes == service.model.classes == bundle.read_manifest(BUNDLE).classes


@pytest.mark.parametrize("by_service", [False, True])
def test_code_of_a_report_that_means_no_class_of_the_model_is_named_with_all_classes(by_service: bool) -> None:
    store = {"site": "north", "codes": {"NOFX": "normal", "FX": "fracture"}}
    model = {"service": True} if by_service else {"bundle": BUNDLE, "processes": 1}
    config = Config.model_validate({"store": store, "model": model})
    with served() as url, pytest.raises(HospitalError) as raised:
        open_scorer(config, Secrets(service_url=url, store_url="sqlite://"))
    assert str(raised.value) == "store.codes.FX: 'fracture' is none of the model's classes (normal, fractured)"


def test_keys_of_a_later_service_are_passed_over() -> None:
    def add(response: httpx.Response) -> None:
        told = json.loads(response.read())
        told |= {"later": 1, "region": {**told["region"], "later": [1]}}
        response._content = json.dumps(told).encode()

    with served() as url:
        service = ServiceScorer(url)
        service._client.event_hooks["response"] = [add]
        found = service.score(encoded(radiograph())).answer
        service.close()
    assert "later" not in found.model_dump()["region"]


def test_both_refuse_with_the_same_code(pool: PoolScorer) -> None:
    content = encoded(radiograph(BodyPartExamined="CHEST"))
    codes = []
    with served() as url:
        for scorer in (pool, ServiceScorer(url)):
            with pytest.raises(ImageError) as raised:
                scorer.score(content)
            codes.append(raised.value.code)
    assert codes == ["out_of_scope"] * 2


@pytest.mark.slow
def test_both_warn_of_the_scope_where_they_are_told_to() -> None:
    content = encoded(radiograph(BodyPartExamined="CHEST"))
    pool = PoolScorer(BUNDLE, 1, warn_of_scope=True)
    try:
        with served(scope="warn") as url:
            notes = [[note.code for note in one.score(content).answer.warnings] for one in (pool, ServiceScorer(url))]
    finally:
        pool.close()
    assert notes[0] == notes[1]
    assert "out_of_scope" in notes[0]


def test_wrong_key_of_the_service_is_said_at_the_start() -> None:
    with served(api_keys=(KEY,)) as url, pytest.raises(HospitalError, match="FRACTURE_SERVICE_URL"):
        ServiceScorer(url, "another")


def test_service_that_goes_away_is_tried_again() -> None:
    with served() as url:
        scorer = ServiceScorer(url)
    with pytest.raises(TryAgainError, match="does not answer"):
        scorer.score(encoded(radiograph()))


def test_pool_scores_on_after_a_process_was_killed(pool: PoolScorer) -> None:
    content = encoded(radiograph())
    pool.score(content)
    for number in list(pool._pool._processes or {}):
        os.kill(number, signal.SIGKILL)
    with pytest.raises(TryAgainError, match="ended"):
        eventually(lambda: pool.score(content) is None, 30)
    assert pool.score(content).answer.suspicion == "high"


def test_no_thread_of_a_closed_pool_is_left_that_the_exit_could_meet() -> None:
    before = set(threading.enumerate())
    PoolScorer(BUNDLE, 1).close()
    assert set(threading.enumerate()) <= before


def test_pool_that_cannot_start_leaves_no_thread_and_has_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hospital.scoring.pool._open", len)  # fails in the new process
    before = set(threading.enumerate())
    with pytest.raises(BundleError, match=f"{BUNDLE}: the process that opened this bundle ended"):
        PoolScorer(BUNDLE, 1)
    assert set(threading.enumerate()) <= before


def test_processes_of_a_killed_gateway_end() -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from hospital.scoring.pool import PoolScorer\n"
        "if __name__ == '__main__':\n"
        f"    print(*PoolScorer(Path({str(BUNDLE)!r}), 1)._pool._processes, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # What is printed goes to a pipe that ends with the last process that holds it.
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.strip().isdigit()


def test_folder_without_a_bundle_is_refused_at_the_start(tmp_path: Any) -> None:
    with pytest.raises(BundleError):
        PoolScorer(tmp_path, 1)


def test_answer_is_kept_under_image_pixels_and_model() -> None:
    keys = {answer_key(*parts) for parts in (("u", "p", "m"), ("v", "p", "m"), ("u", "q", "m"), ("u", "p", "n"))}
    assert len(keys) == 4
