"""Who may read metrics and worklist."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from hospital import operation
from hospital.operation import create_app
from hospital.parts import Parts
from tests.hospital.conftest import Site
from tests.hospital.objects import radiograph
from tests.hospital.worklist.rows import add_study


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


@pytest.mark.parametrize(
    ("asked", "page", "shown"), [("", 1, 2), ("?page=2", 2, 1), ("?page=9", 2, 1), ("?page=x", 1, 2)]
)
def test_long_worklist_has_pages(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, asked: str, page: int, shown: int
) -> None:
    monkeypatch.setattr(operation, "PAGE_SIZE", 2)
    for number in range(3):
        add_study(parts, f"1.2.{number}", "high")
    answer = client(cast(Any, SimpleNamespace(parts=parts))).get(f"/worklist.json{asked}").json()
    assert (answer["page"], answer["pages"], answer["total"], len(answer["studies"])) == (page, 2, 3, shown)
