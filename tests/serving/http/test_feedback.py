"""Answers that are kept and feedback on them, as a program would send it."""

import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from serving import bundle
from serving.errors import SettingsError
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.settings import Settings
from serving.store import features
from serving.store.database import Database
from serving.store.pseudonyms import pseudonyms_of
from serving.store.records import COMMENTS, AnswerRecord, FeedbackRecord
from tests.serving.http.test_app import _code
from tests.serving.imaging.dicom import builders

SECRET = "f" * 32
NORTH, SOUTH, PACS = "north-key", "south-key", "pacs-key"
KEYS = (f"ward:reader:north:{NORTH}", f"office:reader:south:{SOUTH}", f"pacs:sender:north:{PACS}")


class Service:
    """An application with a store in SQLite."""

    def __init__(self, bundle_folder: Path, folder: Path, **settings: Any) -> None:
        url = f"sqlite:///{folder / 'answers.db'}"
        self.database = Database(url)
        self.database.upgrade()
        given = {"store_url": url, "feedback_key": SECRET, **settings}
        app = create_app()
        self.engine = app.state.engine = Engine(bundle.read(bundle_folder), Settings(**given), CollectorRegistry())
        self.client = TestClient(app, raise_server_exceptions=False)

    def predict(self, image: bytes, key: str = "", **more: str) -> httpx.Response:
        files = {"image": ("Doe_Jane.png", image)}
        response: httpx.Response = self.client.post("/predict", files=files, headers=_key(key), params=more)
        return response

    def say(self, answer: dict[str, Any], key: str = "", **changes: Any) -> httpx.Response:
        token = answer.get("feedback_token", "")
        body = {"answer_id": answer["answer_id"], "feedback_token": token, "opinion": "agree", **changes}
        response: httpx.Response = self.client.post("/feedback", json=body, headers=_key(key))
        return response

    def answers(self) -> list[AnswerRecord]:
        self.engine.keeper._writer.close()  # type: ignore[union-attr]
        return self.database.answers(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))

    def opinions(self) -> list[FeedbackRecord]:
        return self.database.opinions()


def _key(key: str) -> dict[str, str]:
    return {"x-api-key": key} if key else {}


Start = Callable[..., Service]


@pytest.fixture
def start(bundle_folder: Path, tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a service with the given settings."""
    made: list[Service] = []

    def begin(**settings: Any) -> Service:
        made.append(Service(bundle_folder, tmp_path, **settings))
        return made[-1]

    yield begin
    for service in made:
        service.engine.close()
        service.database.close()


def test_an_answer_is_kept_with_its_site_and_model_and_without_the_files_name(start: Start, radiograph: bytes) -> None:
    service = start(api_keys=KEYS)
    said = service.predict(radiograph, NORTH).json()
    (row,) = service.answers()
    assert (row.answer_id, row.site, row.caller, row.refused) == (said["answer_id"], "north", "ward", None)
    assert (row.model_sha256, row.image_sha256) == (said["model"]["sha256"], said["input"]["sha256"])
    assert row.probability == pytest.approx(said["probability"], abs=1e-6)
    assert set(row.statistics or {}) == {"mean", "contrast", "dark", "bright", "sharpness", "content", "distance"}
    assert len(features.unpacked(row.features or b"")) == features.SUMMARY
    assert "Doe" not in repr(row)


def test_a_dicom_objects_patient_is_kept_as_a_pseudonym_of_the_site(start: Start, radiograph: bytes) -> None:
    service = start(api_keys=KEYS, pseudonym_key=SECRET)
    pixels = np.asarray(Image.open(io.BytesIO(radiograph)).convert("L"), np.uint16) * 16
    content = builders.radiograph(pixels, PatientID="4711", StudyInstanceUID="1.2.3")
    assert service.predict(content, NORTH).status_code == 200
    (row,) = service.answers()
    expected = pseudonyms_of(content, "north", SECRET)
    assert expected.patient is not None
    assert (row.patient, row.study) == (expected.patient, expected.study)


def test_a_picture_waits_for_no_second_turn_in_the_threads(
    start: Start, radiograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start(pseudonym_key=SECRET)
    monkeypatch.delattr(Engine, "draw")
    assert service.predict(radiograph).status_code == 200
    assert len(service.answers()) == 1


def test_each_image_of_a_batch_and_each_overlay_has_an_answer_id_of_its_own(start: Start, radiograph: bytes) -> None:
    service = start()
    batch = service.client.post("/predict/batch", files=[("images", radiograph), ("images", radiograph)]).json()
    drawn = service.client.post("/explain", files={"image": radiograph})
    ids = [entry["prediction"]["answer_id"] for entry in batch["results"]] + [drawn.headers["x-answer-id"]]
    assert len(set(ids)) == 3
    assert {row.answer_id for row in service.answers()} == set(ids)


def test_a_request_id_that_is_used_twice_gives_two_answers(start: Start, radiograph: bytes) -> None:
    service = start()
    for _ in range(2):
        service.client.post("/predict", files={"image": radiograph}, headers={"x-request-id": "mine"})
    first, second = service.answers()
    assert (first.request_id, second.request_id) == ("mine", "mine")
    assert first.answer_id != second.answer_id


def test_a_refused_image_is_kept_with_its_code(start: Start) -> None:
    service = start()
    assert _code(service.predict(b"no image")) == "unsupported_format"
    (row,) = service.answers()
    assert (row.refused, row.probability, row.image_sha256) == ("unsupported_format", None, None)


def test_without_a_store_there_is_an_answer_id_and_no_token(bundle_folder: Path, radiograph: bytes) -> None:
    app = create_app()
    app.state.engine = Engine(bundle.read(bundle_folder), Settings(), CollectorRegistry())
    client = TestClient(app)
    answer = client.post("/predict", files={"image": radiograph}).json()
    assert re.fullmatch("[0-9a-f]{32}", answer["answer_id"])
    assert "feedback_token" not in answer
    assert _code(client.post("/feedback", json={})) == "not_found"
    assert client.get("/model").json()["feedback"] is None
    app.state.engine.close()


def test_a_broken_store_costs_no_answer(bundle_folder: Path, tmp_path: Path, radiograph: bytes) -> None:
    app = create_app()
    settings = Settings(store_url=f"sqlite:///{tmp_path / 'nowhere/x.db'}", feedback_key=SECRET)
    app.state.engine = Engine(bundle.read(bundle_folder), settings, CollectorRegistry())
    client = TestClient(app)
    response = client.post("/predict", files={"image": radiograph})
    answer = response.json()
    assert response.status_code == 200
    said = {"answer_id": answer["answer_id"], "feedback_token": answer["feedback_token"], "opinion": "agree"}
    refused = client.post("/feedback", json=said)
    assert (_code(refused), refused.headers["retry-after"]) == ("store_unavailable", "1")
    app.state.engine.close()
    assert 'fracture_store_dropped_total{reason="closing"} 1.0' in client.get("/metrics").text


def test_an_opinion_is_kept_with_its_reader(start: Start, radiograph: bytes) -> None:
    service = start(api_keys=KEYS)
    answer = service.predict(radiograph, NORTH).json()
    box = {"x0": 0.1, "y0": 0.2, "x1": 0.3, "y1": 0.4}
    response = service.say(
        answer,
        NORTH,
        opinion="disagree",
        label="fractured",
        boxes=[box],
        comments=["hardware", "cast"],
        saw_answer=True,
    )
    assert response.status_code == 200, response.text
    assert response.json() | {"request_id": ""} == {
        "answer_id": answer["answer_id"], "opinion": "disagree", "opinions": 1, "request_id": "",
    }  # fmt: skip
    (kept,) = service.opinions()
    assert (kept.site, kept.reader, kept.source) == ("north", "ward", "reader")
    assert (kept.opinion, kept.label, kept.boxes) == ("disagree", "fractured", [[0.1, 0.2, 0.3, 0.4]])
    assert (kept.comments, kept.saw_answer) == (["cast", "hardware"], True)


def test_a_second_opinion_replaces_the_first_and_taking_back_leaves_none(start: Start, radiograph: bytes) -> None:
    service = start()
    answer = service.predict(radiograph).json()
    assert service.say(answer, opinion="agree").json()["opinions"] == 1
    assert service.say(answer, opinion="unsure").json()["opinions"] == 2
    assert [row.opinion for row in service.opinions()] == ["unsure"]
    assert service.say(answer, opinion="withdrawn").json()["opinions"] == 3
    assert service.opinions() == []


def test_opinions_are_counted(start: Start, radiograph: bytes) -> None:
    service = start()
    service.say(service.predict(radiograph).json(), opinion="disagree")
    assert 'fracture_feedback_total{opinion="disagree"} 1.0' in service.client.get("/metrics").text


@pytest.mark.parametrize(
    ("changes", "key", "detail"),
    [
        ({"feedback_token": ""}, NORTH, "feedback_token is missing"),
        ({"feedback_token": "1.x"}, NORTH, "not the one that came with this answer"),
        ({"answer_id": "b" * 32}, NORTH, "not the one that came with this answer"),
        ({}, SOUTH, "not the one that came with this answer"),
        ({}, PACS, "the key pacs may send images, but no feedback"),
    ],
)
def test_feedback_that_is_not_ones_own_is_refused(
    start: Start, radiograph: bytes, changes: dict[str, Any], key: str, detail: str
) -> None:
    service = start(api_keys=KEYS)
    response = service.say(service.predict(radiograph, NORTH).json(), key, **changes)
    assert _code(response) == "feedback_refused"
    assert detail in response.json()["detail"]
    assert service.opinions() == []


def test_a_token_that_is_left_out_is_refused_too(start: Start, radiograph: bytes) -> None:
    service = start()
    said = {"answer_id": service.predict(radiograph).json()["answer_id"], "opinion": "agree"}
    assert _code(service.client.post("/feedback", json=said)) == "feedback_refused"


def test_an_expired_token_is_refused(start: Start, radiograph: bytes) -> None:
    service = start(feedback_days=-1.0)
    response = service.say(service.predict(radiograph).json())
    assert (_code(response), "expired" in response.json()["detail"]) == ("feedback_refused", True)


def test_a_sender_gets_no_token(start: Start, radiograph: bytes) -> None:
    assert "feedback_token" not in start(api_keys=KEYS).predict(radiograph, PACS).json()


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"opinion": "maybe"}, "opinion: "),
        ({"label": "broken"}, "label: is none of the model's classes (normal, fractured)"),
        ({"boxes": [{"x0": 0.5, "y0": 0, "x1": 0.4, "y1": 1}]}, "boxes.0: x0 must be below x1"),
        ({"boxes": [{"x0": -1, "y0": 0, "x1": 0.4, "y1": 1}]}, "boxes.0.x0: "),
        ({"boxes": [{"x0": 0, "y0": 0, "x1": 0.4, "y1": 1}] * 21}, "boxes: "),
        ({"comments": ["bad day"]}, "comments.0: "),
        ({"text": "Jane Doe"}, "text: this service takes no free text"),
        ({"text": "broken\0"}, "text: String should match pattern"),
        ({"answer_id": "A"}, "answer_id: "),
        ({"patient": "Jane Doe"}, "patient: "),
        ({"saw_answer": "yes"}, "saw_answer: Input should be a valid boolean"),
        ({"comments": ["cast", "hardware", "cast"]}, "comments: cast is given twice"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_key(
    start: Start, radiograph: bytes, changes: dict[str, Any], detail: str
) -> None:
    service = start()
    response = service.say(service.predict(radiograph).json(), **changes)
    assert _code(response) == "invalid_feedback"
    assert response.json()["detail"].startswith(detail)
    assert "Jane" not in response.text


def test_free_text_is_taken_where_it_is_switched_on_and_never_logged(
    start: Start, radiograph: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    service = start(feedback_text=True)
    assert service.say(service.predict(radiograph).json(), text="Jane Doe fell").status_code == 200
    assert [row.text for row in service.opinions()] == ["Jane Doe fell"]
    assert "Jane" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, "invalid_feedback"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, "unsupported_media_type"),
        ({"content": bytes(17 * 1024), "headers": {"content-type": "application/json"}}, "body_too_large"),
    ],
)
def test_a_body_that_is_no_feedback_is_a_problem(start: Start, arguments: dict[str, Any], code: str) -> None:
    assert _code(start().client.post("/feedback", **arguments)) == code


def test_more_opinions_than_a_key_may_give_have_to_wait(start: Start, radiograph: bytes) -> None:
    service = start(api_keys=KEYS, feedback_per_minute=2)
    answers = {key: service.predict(radiograph, key).json() for key in (NORTH, SOUTH)}
    for _ in range(2):
        assert service.say(answers[NORTH], NORTH).status_code == 200
    late = service.say(answers[NORTH], NORTH)
    assert _code(late) == "too_many_requests"
    assert 1 <= int(late.headers["retry-after"]) <= 30
    assert service.say(answers[SOUTH], SOUTH).status_code == 200


def test_the_model_says_what_feedback_may_hold(start: Start) -> None:
    found = start().client.get("/model").json()["feedback"]
    assert found == {"comments": COMMENTS, "free_text": False}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"FRACTURE_FEEDBACK_KEY": "short"}, "FRACTURE_FEEDBACK_KEY: is shorter than 32 characters"),
        ({"FRACTURE_PSEUDONYM_KEY": "short"}, "FRACTURE_PSEUDONYM_KEY: is shorter than 32 characters"),
        ({"FRACTURE_FEEDBACK_TEXT": "perhaps"}, "FRACTURE_FEEDBACK_TEXT: 'perhaps' is neither true nor false"),
    ],
)
def test_a_wrong_setting_is_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_environment(variables)


def test_an_address_that_is_no_store_ends_the_start(bundle_folder: Path) -> None:
    with pytest.raises(SettingsError, match="FRACTURE_STORE_URL: the store's address begins with mysql"):
        Engine(bundle.read(bundle_folder), Settings(store_url="mysql://x/y"), CollectorRegistry())
