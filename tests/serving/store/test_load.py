"""A service under load whose PostgreSQL goes away and comes back."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from serving import bundle
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.settings import Settings
from serving.store.database import Database
from tests.deploy.tracking_server import postgres, reachable_folder
from tests.serving.store.conftest import address_of

pytestmark = [pytest.mark.slow, pytest.mark.postgres]


@contextmanager
def _service(folder: Path, **settings: Any) -> Iterator[str]:
    app = create_app()
    app.state.engine = Engine(bundle.read(folder), Settings(**settings), CollectorRegistry())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    running = threading.Thread(target=server.run, daemon=True)
    running.start()
    while not server.started:
        assert running.is_alive(), "the server did not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        running.join(timeout=30)
        app.state.engine.close()


def _figure(client: httpx.Client, name: str) -> float:
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.2)


def test_a_database_that_stops_and_starts_under_load_costs_no_answer_and_no_row(
    bundle_folder: Path, radiograph: bytes
) -> None:
    with reachable_folder() as folder, postgres(folder / "server") as server:
        database = Database(address_of(server))
        database.upgrade()
        with _service(bundle_folder, store_url=address_of(server)) as address, httpx.Client(timeout=60) as client:
            ids: list[str] = []
            ending = threading.Event()

            def ask() -> None:
                with httpx.Client(base_url=address, timeout=60) as own:
                    while not ending.is_set():
                        answer = own.post("/predict", files={"image": radiograph})
                        assert answer.status_code == 200, answer.text
                        ids.append(answer.json()["answer_id"])

            client.base_url = httpx.URL(address)
            with ThreadPoolExecutor(4) as pool:
                asking = [pool.submit(ask) for _ in range(4)]
                _wait(lambda: _figure(client, "fracture_store_written_total") > 10)
                server.control("stop", "-m", "immediate")
                away = len(ids)
                _wait(lambda: len(ids) > away + 50)
                server.control("start")
                back = len(ids)
                _wait(lambda: len(ids) > back + 20)
                ending.set()
                for one in asking:
                    one.result(60)
            _wait(lambda: _figure(client, "fracture_store_written_total") == len(ids))
            assert _figure(client, "fracture_store_dropped_total") == 0
        rows = database.answers(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
        assert {row.answer_id for row in rows} == set(ids)
        database.close()


def test_keeping_answers_hardly_slows_them(bundle_folder: Path, radiograph: bytes, tmp_path: Path) -> None:
    with reachable_folder() as folder, postgres(folder / "server") as server:
        Database(address_of(server)).upgrade()
        kept = {"store_url": address_of(server), "feedback_key": "f" * 32, "pseudonym_key": "p" * 32}
        with _service(bundle_folder, **kept) as storing, _service(bundle_folder) as plain:
            times: dict[str, list[float]] = {storing: [], plain: []}
            with httpx.Client(timeout=60) as client:
                for turn in range(200):  # in turns, so that what else runs here slows both
                    for address, taken in times.items():
                        begin = time.perf_counter()
                        assert client.post(f"{address}/predict", files={"image": radiograph}).status_code == 200
                        if turn >= 20:
                            taken.append(time.perf_counter() - begin)
    ratio = median(times[storing]) / median(times[plain])
    print(f"median with store and feedback {1000 * median(times[storing]):.1f} ms, ratio to without {ratio:.2f}")
    assert ratio < 1.5
