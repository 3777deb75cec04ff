"""STOW-RS requests and their answers (PS3.18, 10.5)."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from httpx import Response
from pydicom.uid import CTImageStorage, generate_uid
from sqlalchemy import func, select
from starlette.testclient import TestClient

from hospital.config import WebReceiver
from hospital.database import Instance
from hospital.dicomweb import app as module
from hospital.dicomweb.app import StoreService, create_app
from hospital.dicomweb.gate import ObjectGate
from hospital.intake import Intake
from hospital.parts import Parts
from hospital.spool import Spool
from tests.hospital.dicomweb.servers import related, related_type
from tests.hospital.objects import encoded, radiograph

Post = Callable[..., Response]


@pytest.fixture
def post(parts: Parts) -> Post:
    """Give a function that sends a body; `settings` are those of the table `web_receiver`."""

    def send(
        body: bytes, path: str = "/studies", key: str = "", reserve: int = 0, headers: Any = None, **settings: Any
    ) -> Response:
        gate = ObjectGate(Intake(parts, "gateway", reserve), parts.metrics, lambda: None, "STOW-RS")
        service = StoreService(WebReceiver.model_validate(settings), key, gate, parts, reserve)
        client = TestClient(create_app(service.answer), base_url="http://127.0.0.1:11181")
        answer: Response = client.post(path, content=body, headers={"content-type": related_type(), **(headers or {})})
        assert list(parts.spool.partial.iterdir()) == []
        return answer

    return send


def kept(parts: Parts) -> int:
    with parts.database.session() as session:
        return session.scalar(select(func.count()).select_from(Instance)) or 0


def named(answer: Response, tag: str) -> list[str]:
    items = answer.json().get(tag, {"Value": []})["Value"]
    return [item["00081155"]["Value"][0] for item in items]


def reasons(answer: Response, tag: str) -> list[int]:
    return [item["00081197"]["Value"][0] for item in answer.json()[tag]["Value"]]


def test_objects_that_are_all_taken_are_referenced(post: Post, parts: Parts) -> None:
    sent = [radiograph(), radiograph(sop_class="DX")]
    answer = post(related(*map(encoded, sent)))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert named(answer, "00081199") == [one.SOPInstanceUID for one in sent]
    assert "00081198" not in answer.json()
    assert kept(parts) == 2


def test_same_object_again_is_referenced_and_kept_once(post: Post, parts: Parts) -> None:
    sent = encoded(radiograph())
    assert [post(related(sent)).status_code for _ in range(2)] == [200, 200]
    assert kept(parts) == 1


def test_one_of_two_is_accepted_with_a_failure(post: Post) -> None:
    good, other = radiograph(), radiograph(SOPClassUID=CTImageStorage)
    answer = post(related(encoded(good), encoded(other)))
    assert answer.status_code == 202
    assert (named(answer, "00081199"), named(answer, "00081198")) == ([good.SOPInstanceUID], [other.SOPInstanceUID])
    assert reasons(answer, "00081198") == [0x0122]


def test_none_of_them_is_a_conflict(post: Post) -> None:
    answer = post(related(encoded(radiograph(SOPClassUID=CTImageStorage))))
    assert answer.status_code == 409
    assert "00081199" not in answer.json()


def test_what_has_no_uids_is_among_the_other_failures(post: Post) -> None:
    answer = post(related(b"nothing of DICOM"))
    assert (answer.status_code, reasons(answer, "0008119A")) == (409, [0xC000])


def test_part_of_another_type_fails_alone(post: Post) -> None:
    body = related(b"{}", kind="application/dicom+json", end=False) + related(encoded(radiograph()))
    answer = post(body)
    assert (answer.status_code, reasons(answer, "0008119A")) == (202, [0xC000])


def test_part_that_is_too_large_fails_alone(post: Post, parts: Parts) -> None:
    answer = post(related(bytes(3 << 20), encoded(radiograph())), max_object_mb=1)
    assert (answer.status_code, reasons(answer, "0008119A")) == (202, [0x0110])
    assert kept(parts) == 1


def test_object_of_another_study_than_the_path_fails(post: Post) -> None:
    sent = radiograph()
    answer = post(related(encoded(sent)), f"/studies/{generate_uid()}")
    assert (answer.status_code, reasons(answer, "00081198")) == (409, [0xA900])
    assert post(related(encoded(sent)), f"/studies/{sent.StudyInstanceUID}").status_code == 200


@pytest.mark.parametrize(
    ("status", "code", "how"),
    [
        pytest.param(400, "truncated_multipart", {"body": related(b"x", end=False)}, id="truncated"),
        pytest.param(400, "malformed_multipart", {"body": related(b"x", boundary="other")}, id="wrong boundary"),
        pytest.param(400, "malformed_multipart", {"body": b"--frontier--\r\n"}, id="no part"),
        pytest.param(400, "bad_uid", {"path": "/studies/Name"}, id="path"),
        pytest.param(413, "too_many_parts", {"body": related(*[b"x"] * 4), "max_parts": 3}, id="parts"),
        pytest.param(413, "body_size", {"body": bytes(2 << 20), "max_request_mb": 1}, id="announced"),
        pytest.param(415, "media_type", {"headers": {"content-type": "application/json"}}, id="JSON"),
        pytest.param(415, "encoded", {"headers": {"content-encoding": "gzip"}}, id="gzip"),
        pytest.param(421, "host", {"headers": {"host": "rebound.example:11181"}}, id="host"),
        pytest.param(401, "unauthorized", {"key": "secret"}, id="no key"),
        pytest.param(401, "unauthorized", {"key": "a", "headers": {"authorization": "Bearer b"}}, id="other key"),
        pytest.param(503, "disk_reserve", {"reserve": 1 << 62}, id="disk"),
    ],
)
def test_request_that_is_refused_has_a_code(post: Post, parts: Parts, status: int, code: str, how: Any) -> None:
    answer = post(**{"body": related(encoded(radiograph())), **how})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert kept(parts) == 0
    assert f'hospital_web_requests_total{{status="{status}"}} 1.0' in parts.metrics.exposition().decode()


def test_body_beyond_its_limit_is_given_up_while_it_comes(post: Post) -> None:
    def chunks() -> Any:
        yield related(b"", end=False)[:-2]
        for _ in range(100):
            yield bytes(1 << 16)

    answer = post(chunks(), max_request_mb=1, max_object_mb=1)
    assert answer.status_code == 413


def test_gzip_bomb_is_never_inflated(post: Post, parts: Parts) -> None:
    answer = post(gzip.compress(related(bytes(50 << 20))), headers={"content-encoding": "gzip"})
    assert answer.status_code == 415


def test_key_opens_the_port_under_any_name(post: Post) -> None:
    headers = {"authorization": "Bearer secret", "host": "gateway.example"}
    assert post(related(encoded(radiograph())), key="secret", headers=headers).status_code == 200


def test_full_disk_within_a_request_is_unavailable(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    room = iter([1 << 40, 0])
    monkeypatch.setattr(Spool, "free_bytes", lambda _: next(room))
    answer = post(related(encoded(radiograph())), reserve=1)
    assert (answer.status_code, reasons(answer, "00081198")) == (503, [0xA700])
    assert answer.headers["retry-after"] == "60"


def test_drip_is_given_up(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(module, "monotonic", lambda: next(clock))
    assert post(related(encoded(radiograph()))).status_code == 408


def test_further_request_than_allowed_is_told_to_come_again(parts: Parts) -> None:
    gate = ObjectGate(Intake(parts, "gateway", 0), parts.metrics, lambda: None, "STOW-RS")
    service = StoreService(WebReceiver(max_requests=1), "", gate, parts, 0)
    service._active = 1
    client = TestClient(create_app(service.answer), base_url="http://localhost")
    answer = client.post("/studies", content=b"x", headers={"content-type": related_type()})
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")


def test_other_addresses_and_methods_are_not_there(parts: Parts) -> None:
    gate = ObjectGate(Intake(parts, "gateway", 0), parts.metrics, lambda: None, "STOW-RS")
    client = TestClient(create_app(StoreService(WebReceiver(), "", gate, parts, 0).answer))
    assert [client.get(path).status_code for path in ("/livez", "/studies", "/metrics")] == [200, 405, 404]
