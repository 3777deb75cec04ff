"""Who may read metrics and worklist."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from hospital.operation import create_app
from tests.hospital.conftest import Site
from tests.hospital.objects import radiograph


def client(site: Site, key: str = "") -> TestClient:
    gateway = SimpleNamespace(parts=site.parts, observe=site.parts.metrics.exposition)
    return TestClient(create_app(cast(Any, gateway), key))


@pytest.mark.parametrize("path", ["/metrics", "/worklist.json"])
def test_key_is_asked_for(site: Site, path: str) -> None:
    asked = client(site, "secret")
    assert asked.get(path).status_code == 401
    assert asked.get(path, headers={"authorization": "Bearer other"}).status_code == 401
    assert asked.get(path, headers={"authorization": "Bearer secret"}).status_code == 200


def test_probe_asks_for_no_key(site: Site) -> None:
    assert client(site, "secret").get("/livez").status_code == 200


def test_worklist_is_not_cached_and_names_the_study(site: Site) -> None:
    sent = radiograph()
    site.take(sent)
    site.work()
    answer = client(site).get("/worklist.json")
    assert answer.headers["cache-control"] == "no-store"
    (entry,) = answer.json()["studies"]
    assert (entry["study_uid"], entry["patient"]["accession_number"]) == (sent.StudyInstanceUID, "A1")
