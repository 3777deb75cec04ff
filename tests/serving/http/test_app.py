"""The HTTP interface, asked as a program would ask it."""

import asyncio
import base64
import io
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry
from pydicom.uid import JPEGBaseline8Bit
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from serving import bundle
from serving.decision import LogisticCalibration
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.openapi import description
from serving.http.problems import PROBLEMS
from serving.http.settings import MIB, Settings
from serving.predictor import Predictor
from serving.wording import STATEMENTS, WARNINGS

Start = Callable[..., TestClient]
Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]


@pytest.fixture
def start(bundle_folder: Path) -> Iterator[Start]:
    """Give a function that starts the application with the given settings and returns a client."""
    engines = []

    def begin(**settings: Any) -> TestClient:
        app = create_app()
        app.state.engine = Engine(bundle.read(bundle_folder), Settings(**settings), CollectorRegistry())
        engines.append(app.state.engine)
        return TestClient(app, raise_server_exceptions=False)

    yield begin
    for engine in engines:
        engine.close()


@pytest.fixture
def client(start: Start) -> TestClient:
    """Start the application with its default settings."""
    return start()


def _code(response: httpx.Response) -> str:
    document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == response.status_code == PROBLEMS[document["code"]][0]
    assert document["request_id"] == response.headers["x-request-id"]
    return str(document["code"])


def test_an_uploaded_radiograph_is_answered(client: TestClient, radiograph: bytes) -> None:
    response = client.post("/predict", files={"image": ("x.png", radiograph)})
    assert response.status_code == 200
    answer = response.json()
    assert (answer["label"] == "Fracture detected") == (answer["probability"] >= answer["threshold"])
    assert answer["suspicion"] in {"none", "possible", "high"}
    assert answer["probabilities"]["fractured"] == pytest.approx(answer["probability"], abs=1e-5)
    assert set(answer["model"]) == {"name", "version", "run_id", "sha256"}
    assert {"code": "synthetic_model"}.items() <= answer["warnings"][0].items()
    assert answer["input"]["width"] > 0
    assert answer["request_id"] == response.headers["x-request-id"]
    assert answer["schema_version"] == 1


def test_a_region_that_the_sender_names_wins(client: TestClient, radiograph: bytes, bundle_folder: Path) -> None:
    for region in bundle.read(bundle_folder).manifest.intended.regions:
        answer = client.post(f"/predict?region={region}", files={"image": ("x.png", radiograph)}).json()
        assert (answer["region"]["name"], answer["region"]["source"]) == (region, "caller")


def test_a_region_that_the_model_does_not_know_is_refused_with_those_it_knows(
    client: TestClient, radiograph: bytes
) -> None:
    response = client.post("/predict?region=tail", files={"image": ("x.png", radiograph)})
    assert _code(response) == "invalid_parameter"
    assert "region: 'tail' is not one that the model knows" in response.json()["detail"]


def test_the_image_as_the_body_gets_the_same_answer(client: TestClient, radiograph: bytes, bundle_folder: Path) -> None:
    form = client.post("/predict", files={"image": ("x.png", radiograph)}).json()
    raw = client.post("/predict", content=radiograph, headers={"content-type": "image/png"}).json()
    own = Predictor(bundle.read(bundle_folder)).predict(radiograph)
    assert raw["probability"] == form["probability"] == pytest.approx(own.probability, abs=1e-6)


def test_an_explanation_has_a_layer_of_the_images_shape_and_boxes_in_it(client: TestClient, radiograph: bytes) -> None:
    answer = client.post("/predict?explain=true", files={"image": radiograph}).json()
    shown = answer["explanation"]
    layer = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["heatmap"]["data"]))))
    assert layer.shape == (shown["heatmap"]["height"], shown["heatmap"]["width"], 4)
    aspect = answer["input"]["width"] / answer["input"]["height"]
    assert layer.shape[1] / layer.shape[0] == pytest.approx(aspect, rel=0.05)
    assert all(0 <= box["x0"] < box["x1"] <= 1 for box in shown["boxes"])


def test_explain_may_stand_in_the_form(client: TestClient, radiograph: bytes) -> None:
    assert "explanation" in client.post("/predict", files={"image": radiograph}, data={"explain": "true"}).json()
    assert "explanation" not in client.post("/predict", files={"image": radiograph}).json()


def test_the_overlay_is_a_picture_of_the_radiographs_size(client: TestClient, radiograph: bytes) -> None:
    response = client.post("/explain", files={"image": radiograph})
    assert response.headers["content-type"] == "image/png"
    wanted = Image.open(io.BytesIO(radiograph)).size
    assert Image.open(io.BytesIO(response.content)).size == wanted


def test_a_preview_shows_what_a_browser_cannot(client: TestClient, encode: Encode, radiograph: bytes) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(radiograph)).convert("L"), np.uint16) * 16
    answer = client.post("/predict?preview=1", files={"image": encode(pixels, "TIFF")}).json()
    shown = Image.open(io.BytesIO(base64.b64decode(answer["preview"]["data"])))
    assert (shown.format, shown.size) == ("JPEG", pixels.shape[::-1])


def test_a_batch_answers_each_file_in_order_and_goes_on_after_a_bad_one(client: TestClient, radiograph: bytes) -> None:
    files = [("images", ("a.png", radiograph)), ("images", ("b.txt", b"no image")), ("images", ("c.png", radiograph))]
    results = client.post("/predict/batch", files=files).json()["results"]
    assert [entry["file"] for entry in results] == ["a.png", "b.txt", "c.png"]
    assert results[1]["error"]["code"] == "unsupported_format"
    assert results[0]["prediction"]["probability"] == results[2]["prediction"]["probability"]


def test_a_study_gets_the_answer_of_its_most_suspicious_view(client: TestClient, bundle_folder: Path) -> None:
    paths = sorted((bundle_folder / "samples").iterdir())
    files = [("images", (path.name, path.read_bytes())) for path in paths]
    answer = client.post("/predict/batch?study=true", files=files).json()
    found = [entry["prediction"]["probability"] for entry in answer["results"]]
    assert answer["study"]["probability"] == max(found)
    assert answer["study"]["index"] == int(np.argmax(found))
    assert (answer["study"]["images"], answer["study"]["unanswered"]) == (len(paths), 0)


def test_no_label_stands_without_its_suspicion_and_the_words_for_both(client: TestClient, bundle_folder: Path) -> None:
    def labelled(document: Any) -> Iterator[dict[str, Any]]:
        if isinstance(document, dict):
            yield from [document] if "label" in document else []
            document = list(document.values())
        for value in document if isinstance(document, list) else []:
            yield from labelled(value)

    files = [("images", (path.name, path.read_bytes())) for path in sorted((bundle_folder / "samples").iterdir())]
    answer = client.post("/predict/batch?study=true", files=files).json()
    found = list(labelled(answer))
    assert len(found) == len(files) + 1
    assert all(one["statement"] == STATEMENTS[one["label"], one["suspicion"]] for one in found)


def _certain(client: TestClient, log_odds: float) -> None:
    """Let the service answer every radiograph alike."""
    predictor = client.app.state.engine.predictor  # type: ignore[attr-defined]  # typed as any callable
    decision = replace(predictor.bundle.decision, calibration=LogisticCalibration(0, log_odds))
    predictor.bundle = replace(predictor.bundle, decision=decision)


@pytest.mark.parametrize(
    ("readable", "said"),
    [
        (1, "1 readable view: no fracture found. 2 views could not be read."),
        (2, "2 readable views: no fracture found. 2 views could not be read."),
    ],
)
def test_a_study_says_how_many_views_have_no_answer(
    client: TestClient, radiograph: bytes, encode: Encode, readable: int, said: str
) -> None:
    _certain(client, -20)
    bad = [("images", ("b.txt", b"no image")), ("images", ("c.png", _unlike("blank", encode)))]
    files = [*bad, *[("images", ("a.png", radiograph))] * readable]
    study = client.post("/predict/batch?study=true", files=files).json()["study"]
    assert (study["suspicion"], study["statement"]) == ("none", said)
    assert (study["index"], study["images"], study["unanswered"]) == (2, readable, 2)


def test_a_fracture_is_told_whatever_other_views_show(client: TestClient, radiograph: bytes) -> None:
    _certain(client, 20)
    files = [("images", ("a.png", radiograph)), ("images", ("b.txt", b"no image"))]
    study = client.post("/predict/batch?study=true", files=files).json()["study"]
    assert study["label"] == "Fracture detected"
    assert study["statement"] in STATEMENTS.values()
    assert study["unanswered"] == 1


def test_a_normal_study_of_readable_views_is_told_as_one_image_is(client: TestClient, radiograph: bytes) -> None:
    _certain(client, -20)
    study = client.post("/predict/batch?study=true", files=[("images", ("a.png", radiograph))] * 2).json()["study"]
    assert study["statement"] == "No sign of a fracture was found."
    assert study["unanswered"] == 0


def test_a_normal_study_with_a_view_cut_short_says_so(client: TestClient, radiograph: bytes, encode: Encode) -> None:
    _certain(client, -20)
    whole = encode(np.asarray(Image.open(io.BytesIO(radiograph)).convert("L")), "JPEG")
    files = [("images", ("a.png", radiograph)), ("images", ("b.jpg", whole[: len(whole) * 9 // 10]))]
    study = client.post("/predict/batch?study=true", files=files).json()["study"]
    said = "2 readable views, at least one incomplete: no fracture found."
    assert study["statement"] == said
    files.append(("images", ("c.txt", b"no image")))
    study = client.post("/predict/batch?study=true", files=files).json()["study"]
    assert study["statement"] == f"{said} 1 view could not be read."


def test_a_study_without_an_answer_is_null(client: TestClient) -> None:
    answer = client.post("/predict/batch?study=true", files=[("images", ("a", b"nothing"))]).json()
    assert answer["study"] is None


def test_too_many_files_are_refused(start: Start, radiograph: bytes) -> None:
    client = start(max_files=2)
    assert _code(client.post("/predict/batch", files=[("images", radiograph)] * 3)) == "too_many_files"
    assert _code(client.post("/predict", files=[("image", radiograph)] * 2)) == "too_many_files"
    assert _code(client.post("/predict/batch", files=[("images", b"x")] * 300)) == "too_many_files"


WHAT_TO_DO = r"[.;] ([Ss]end|save|export|check) "
"""Of a refused image, in the detail of its problem document."""


def _unlike(kind: str, encode: Encode) -> bytes:
    rng = np.random.default_rng(3)
    if kind == "colour_photograph":
        return encode(cv2.resize(rng.integers(0, 255, (6, 6, 3), np.uint8), (300, 300)), "JPEG")
    if kind == "blank":
        return encode(np.full((200, 200), 90, np.uint8))
    if kind == "too_small":
        return encode(np.full((1, 1), 90, np.uint8))
    return encode(rng.integers(0, 255, (400, 400), np.uint8))


@pytest.mark.parametrize("kind", ["colour_photograph", "blank", "too_small", "not_a_radiograph"])
def test_what_is_no_radiograph_gets_a_reason_instead_of_an_answer(
    client: TestClient, encode: Encode, kind: str
) -> None:
    response = client.post("/predict", files={"image": _unlike(kind, encode)})
    assert (response.status_code, _code(response)) == (422, kind)
    assert re.search(WHAT_TO_DO, response.json()["detail"])


def _bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels in a few kilobytes."""
    compressor = zlib.compressobj(9)
    row = bytes(30_001)
    data = b"".join(compressor.compress(row) for _ in range(200)) + compressor.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    size = (30_000).to_bytes(4, "big")
    header = chunk(b"IHDR", size + size + bytes([8, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _animated() -> bytes:
    frames = [Image.fromarray(np.full((64, 64), level, np.uint8)) for level in (10, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"I am text that calls itself a picture", "unsupported_format"),
        (b"http://169.254.169.254/latest/meta-data", "unsupported_format"),
        (b"GIF89a" + bytes(100), "unsupported_format"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "unsupported_format"),
        (_bomb(), "too_many_pixels"),
        (_animated(), "too_many_frames"),
    ],
    ids=["empty", "text", "address", "gif", "broken png", "bomb", "animated"],
)
def test_a_bad_file_is_named_by_its_code(client: TestClient, content: bytes, code: str) -> None:
    response = client.post("/predict", files={"image": ("x.png", content)})
    assert _code(response) == code
    if code != "unsupported_format":  # of which there is a test of its own, and some are of no known kind
        assert re.search(WHAT_TO_DO, response.json()["detail"])


def test_a_truncated_radiograph_is_answered_with_a_warning(
    client: TestClient, encode: Encode, radiograph: bytes
) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(radiograph)).convert("L"))
    whole = encode(pixels, "JPEG")
    answer = client.post("/predict", files={"image": whole[: len(whole) * 9 // 10]}).json()
    assert "truncated" in [warning["code"] for warning in answer["warnings"]]
    assert answer["statement"] != "No sign of a fracture was found."
    assert _code(client.post("/predict", files={"image": whole[: len(whole) // 4]})) == "undecodable"


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P", "RGBA", "I;16"])
def test_every_mode_of_a_grey_picture_gets_about_the_same_answer(
    client: TestClient, radiograph: bytes, mode: str
) -> None:
    grey = Image.open(io.BytesIO(radiograph)).convert("L")
    image = Image.fromarray(np.asarray(grey, np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    plain = client.post("/predict", files={"image": radiograph}).json()
    answer = client.post("/predict", files={"image": buffer.getvalue()}).json()
    assert answer["probability"] == pytest.approx(plain["probability"], abs=0.05)


def test_an_exif_rotated_radiograph_is_turned_upright(client: TestClient, radiograph: bytes) -> None:
    image = Image.open(io.BytesIO(radiograph)).convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.rotate(90, expand=True).save(buffer, "JPEG", quality=98, exif=exif)
    answer = client.post("/predict", files={"image": buffer.getvalue()}).json()
    assert (answer["input"]["width"], answer["input"]["height"]) == image.size


def _dicom(**changes: Any) -> bytes:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.1"), generate_uid()
    meta.TransferSyntaxUID = changes.pop("syntax", ExplicitVRLittleEndian)
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPInstanceUID, data.PatientName = "1.2.3.4", "Doe^Jane"
    data.Rows, data.Columns, data.BitsAllocated, data.BitsStored, data.HighBit = 64, 64, 16, 12, 11
    data.SamplesPerPixel, data.PixelRepresentation, data.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    data.PixelData = np.random.default_rng(0).integers(0, 4095, (64, 64), np.uint16).tobytes()
    for name, value in changes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PixelData": None}, "no_pixels"),
        ({"NumberOfFrames": 3}, "too_many_frames"),
        ({"PhotometricInterpretation": "HSV", "SamplesPerPixel": 3}, "unsupported_dicom"),
        ({"Modality": "CT"}, "out_of_scope"),
        ({"Modality": "XA", "NumberOfFrames": 3}, "out_of_scope"),
        ({"BodyPartExamined": "CHEST"}, "out_of_scope"),
        ({"Rows": 4000}, "undecodable"),
        ({"Rows": 60_000, "Columns": 60_000}, "too_many_pixels"),
        ({"syntax": JPEGBaseline8Bit}, "undecodable"),
    ],
    ids=["no pixels", "multi-frame", "colours", "slice", "run", "chest", "wrong rows", "huge", "wrong syntax"],
)
def test_a_bad_dicom_object_is_named_by_its_code(client: TestClient, changes: dict[str, Any], code: str) -> None:
    content = _dicom(**changes) if "syntax" not in changes else _broken_jpeg_dicom()
    response = client.post("/predict", content=content, headers={"content-type": "application/dicom"})
    assert _code(response) == code


def _as_dicom(radiograph: bytes, **changes: Any) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(radiograph)).convert("L"), np.uint16)
    return _dicom(Rows=pixels.shape[0], Columns=pixels.shape[1], PixelData=(pixels * 16).tobytes(), **changes)


def test_what_the_model_is_not_meant_for_may_be_answered_with_a_warning(start: Start, radiograph: bytes) -> None:
    content = _as_dicom(radiograph, Modality="CR", BodyPartExamined="CHEST")
    answer = start(scope="warn").post("/predict", content=content, headers={"content-type": "application/dicom"}).json()
    (note,) = [note for note in answer["warnings"] if note["code"] == "out_of_scope"]
    assert note["message"].startswith("The header says chest; this model is for radiographs of: ")


def test_pixels_that_are_still_to_be_processed_are_warned_of(client: TestClient, radiograph: bytes) -> None:
    content = _as_dicom(radiograph, Modality="DX", PresentationIntentType="FOR PROCESSING")
    answer = client.post("/predict", content=content, headers={"content-type": "application/dicom"}).json()
    assert "for_processing" in {note["code"] for note in answer["warnings"]}


def _part(content: bytes, *headers: str) -> dict[str, Any]:
    """A request whose form has one part with the given headers."""
    head = "\r\n".join(headers).encode()
    body = b"--b\r\n" + head + b"\r\n\r\n" + content + b"\r\n--b--\r\n"
    return {"content": body, "headers": {"content-type": "multipart/form-data; boundary=b"}}


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "IMAGE/PNG; q=1", "application/dicom"])
def test_a_part_with_the_type_of_an_image_needs_no_file_name(client: TestClient, radiograph: bytes, kind: str) -> None:
    request = _part(radiograph, 'Content-Disposition: form-data; name="image"', f"Content-Type: {kind}")
    assert client.post("/predict", **request).status_code == 200


def test_an_extended_file_name_is_one_too(client: TestClient, radiograph: bytes) -> None:
    named = "Content-Disposition: form-data; name=\"images\"; filename*=UTF-8''r%C3%B6ntgen%22.png"
    (entry,) = client.post("/predict/batch", **_part(radiograph, named)).json()["results"]
    assert entry["file"] == "röntgen.png"


@pytest.mark.parametrize("name", ["KLINGON''x.png", "UTF-8''%ff.png"])
def test_an_extended_file_name_that_cannot_be_read_is_left_out(
    client: TestClient, radiograph: bytes, name: str
) -> None:
    named = f'Content-Disposition: form-data; name="image"; filename*={name}'
    assert client.post("/predict", **_part(radiograph, named)).status_code == 200


def test_a_part_of_text_is_no_file_without_a_name(client: TestClient) -> None:
    named = 'Content-Disposition: form-data; name="image"'
    assert _code(client.post("/predict", **_part(b"x.png", named, "Content-Type: text/plain"))) == "missing_image"


def _broken_jpeg_dicom() -> bytes:
    from pydicom.encaps import encapsulate

    content = _dicom()
    from pydicom import dcmread

    data = dcmread(io.BytesIO(content))
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.PixelData = encapsulate([b"\xff\xd8 not a picture \xff\xd9"])
    data["PixelData"].VR = "OB"
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_a_dicom_answer_names_the_instance(client: TestClient, radiograph: bytes) -> None:
    content = _as_dicom(radiograph)
    answer = client.post("/predict", content=content, headers={"content-type": "application/dicom"}).json()
    assert answer["input"]["sop_instance_uid"] == "1.2.3.4"


@pytest.mark.parametrize(
    ("request_arguments", "code"),
    [
        ({"content": b"{}", "headers": {"content-type": "application/json"}}, "unsupported_media_type"),
        ({"data": {"image": "http://example.org/x.png"}}, "unsupported_media_type"),
        ({"files": {"image": (None, "http://example.org/x.png")}}, "missing_image"),
        ({"files": {"picture": b"x"}}, "missing_image"),
        ({}, "missing_image"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, "malformed_multipart"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=a"}}, "malformed_multipart"),
        ({"files": {"image": b"x"}, "params": {"explain": "perhaps"}}, "invalid_parameter"),
    ],
    ids=["json", "form address", "address", "other field", "nothing", "no boundary", "broken", "parameter"],
)
def test_a_bad_request_is_named_by_its_code(client: TestClient, request_arguments: dict[str, Any], code: str) -> None:
    assert _code(client.post("/predict", **request_arguments)) == code


def test_an_unknown_address_and_a_wrong_method_are_problems_too(client: TestClient) -> None:
    assert _code(client.get("/nothing")) == "not_found"
    assert _code(client.get("/web/nothing.js")) == "not_found"
    response = client.get("/predict")
    assert (_code(response), response.headers["allow"]) == ("method_not_allowed", "POST")


def test_a_body_above_the_limit_is_refused_by_its_declared_size(start: Start) -> None:
    client = start(max_body=MIB)
    assert _code(client.post("/predict", files={"image": bytes(2 * MIB)})) == "body_too_large"


def test_the_bytes_of_all_requests_together_are_limited(start: Start) -> None:
    client = start(max_buffered=1000)
    response = client.post("/predict", content=bytes(2000), headers={"content-type": "image/png"})
    assert (_code(response), response.headers["retry-after"]) == ("overloaded", "1")


def _scope(app: Starlette) -> dict[str, Any]:
    return {
        "type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b"",
        "headers": [(b"content-type", b"image/png")], "app": app, "http_version": "1.1", "scheme": "http",
        "server": ("localhost", 80), "client": ("localhost", 1), "root_path": "",
    }  # fmt: skip


async def _ask(app: Starlette, messages: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Speak ASGI to the application; what it sent."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return await anext(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(_scope(app), receive, send)
    return sent


def test_a_body_of_unknown_size_is_read_no_further_than_the_limit(start: Start) -> None:
    client = start(max_body=MIB)
    taken = 0

    async def endless() -> AsyncIterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 65536
            yield {"type": "http.request", "body": bytes(65536), "more_body": True}

    sent = asyncio.run(_ask(client.app, endless()))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert taken <= MIB + 65536


def test_a_body_that_never_ends_is_given_up_in_time(start: Start) -> None:
    client = start(timeout=0.2)

    async def drip() -> AsyncIterator[dict[str, Any]]:
        while True:
            yield {"type": "http.request", "body": b"x", "more_body": True}
            await asyncio.sleep(0.02)

    sent = asyncio.run(_ask(client.app, drip()))  # type: ignore[arg-type]
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["code"] == "request_timeout"


def test_a_client_that_goes_away_leaves_nothing_in_flight(start: Start) -> None:
    client = start(concurrency=1)

    async def leave() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b"x", "more_body": True}
        yield {"type": "http.disconnect"}

    asyncio.run(_ask(client.app, leave()))  # type: ignore[arg-type]
    assert _code(client.post("/predict", files={"image": b"x"})) == "unsupported_format"


def test_requests_beyond_the_concurrency_are_answered_503_at_once(start: Start, radiograph: bytes) -> None:
    client = start(concurrency=1)
    app: Any = client.app

    async def together() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as many:
            return await asyncio.gather(*(many.post("/predict", files={"image": radiograph}) for _ in range(6)))

    answers = asyncio.run(together())
    busy = [answer for answer in answers if answer.status_code == 503]
    assert len(busy) == 5
    assert {(_code(answer), answer.headers["retry-after"]) for answer in busy} == {("overloaded", "1")}


def test_a_key_is_asked_for_where_keys_are_set(start: Start, radiograph: bytes) -> None:
    client = start(api_keys=("first", "second"))
    image = {"image": radiograph}
    refused = client.post("/predict", files=image)
    assert (_code(refused), refused.headers["www-authenticate"]) == ("unauthorized", "Bearer")
    assert _code(client.post("/predict", files=image, headers={"authorization": "Bearer third"})) == "unauthorized"
    assert client.post("/predict", files=image, headers={"authorization": "Bearer second"}).status_code == 200
    assert client.post("/predict", files=image, headers={"x-api-key": "first"}).status_code == 200
    assert client.get("/model").status_code == 401
    assert client.get("/openapi.json").status_code == 200


def test_every_response_has_the_security_headers(client: TestClient) -> None:
    for path in ("/", "/docs", "/model", "/nothing", "/web/app.js"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_a_request_id_of_the_caller_is_kept_unless_it_is_odd(client: TestClient) -> None:
    assert client.get("/model", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/model", headers={"x-request-id": "a b\tc"}).headers["x-request-id"] != "a b\tc"


def test_the_model_is_described(client: TestClient, bundle_folder: Path) -> None:
    found = client.get("/model").json()
    assert found["classes"] == ["normal", "fractured"]
    assert found["trained_on"]["synthetic"] is True
    assert {"high_sensitivity", "high_specificity"} <= set(found["operating_points"])
    assert found["quality"]["test"]["auroc"]["value"] > 0
    assert found["sha256"] == bundle.read(bundle_folder).sha256
    assert [client.get(path).headers["content-type"] for path in found["samples"]] == ["image/png"] * 4


def test_the_model_says_what_it_refuses(client: TestClient, start: Start) -> None:
    found = client.get("/model").json()["scope"]
    assert found["mode"] == "refuse"
    assert found["refused"]["modalities"]["CT"] == "computed tomography"
    assert {"chest", "skull", "spine", "abdomen"} <= set(found["refused"]["body_parts"])
    assert not set(found["regions"]) & set(found["refused"]["body_parts"])
    assert start(scope="warn").get("/model").json()["scope"]["mode"] == "warn"


def test_a_sample_outside_the_bundle_is_not_there(client: TestClient) -> None:
    assert _code(client.get("/samples/..%2fmodel.json")) == "not_found"
    assert _code(client.get("/samples/model.json")) == "not_found"


def test_the_log_holds_what_drift_needs_and_nothing_of_a_patient(
    client: TestClient, radiograph: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(radiograph)).convert("L"), np.uint16)
    content = _dicom(Rows=pixels.shape[0], Columns=pixels.shape[1], PixelData=(pixels * 16).tobytes())
    client.post("/predict", files={"image": ("Doe_Jane.dcm", content)})
    client.post("/predict", files={"image": ("Doe_Jane.dcm", b"no image")})
    text = capfd.readouterr().out
    first, second = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
    assert (first["event"], second["event"], second["code"]) == ("prediction", "rejection", "unsupported_format")
    assert {"probability", "label", "model", "request_id", "inputs"} <= set(first)
    assert {"mean", "contrast", "distance"} <= set(first["inputs"])
    assert "Doe" not in text


def test_the_figures_count_answers_refusals_and_inputs(client: TestClient, radiograph: bytes) -> None:
    client.post("/predict", files={"image": radiograph})
    client.post("/predict", files={"image": b"no image"})
    text = client.get("/metrics").text
    assert 'fracture_requests_total{route="predict",status="200"} 1.0' in text
    assert 'fracture_rejected_total{code="unsupported_format"} 1.0' in text
    assert "fracture_probability_count 1.0" in text
    assert "fracture_input_contrast_count 1.0" in text
    assert re.search(r'fracture_regions_total\{region="\w+",source="(image|none)"\} 1\.0', text)


def test_the_figures_have_one_name_by_which_a_balancer_can_shut_them_off(client: TestClient) -> None:
    assert client.get("/%6detrics").status_code == 404


def test_a_failure_of_ours_is_a_problem_without_a_traceback(
    client: TestClient, radiograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret of a patient")

    monkeypatch.setattr(client.app.state.engine.predictor, "predict", fail)  # type: ignore[attr-defined]
    response = client.post("/predict", files={"image": radiograph})
    assert _code(response) == "internal"
    assert "secret" not in response.text


def test_the_description_contains_every_route() -> None:
    described = set(description(("normal", "fractured"), Settings())["paths"])
    routes = {route.path for route in create_app().routes if isinstance(route, Route)}
    routes -= {"/{path:path}", "/offline", "/offline/{path:path}"}  # files of a page, no part of the interface
    assert described == routes | {"/web/{file}", "/livez", "/readyz"}


def test_every_code_a_caller_may_meet_is_described() -> None:
    text = json.dumps(description(("normal", "fractured"), Settings()))
    assert [code for code in PROBLEMS if f'"{code}"' not in text] == []


def test_every_warning_is_described() -> None:
    schemas = description(("normal", "fractured"), Settings())["components"]["schemas"]
    assert set(schemas["Note"]["properties"]["code"]["enum"]) == set(WARNINGS)


def test_a_wrong_setting_is_named() -> None:
    from serving.errors import SettingsError

    with pytest.raises(SettingsError, match="FRACTURE_MAX_BODY_MB: 'lots' is no number"):
        Settings.from_environment({"FRACTURE_MAX_BODY_MB": "lots"})
    with pytest.raises(SettingsError, match=r"FRACTURE_THREADS: '1\.5' is not a whole number above 0"):
        Settings.from_environment({"FRACTURE_THREADS": "1.5"})
    with pytest.raises(SettingsError, match="FRACTURE_SCOPE: 'never' is neither refuse nor warn"):
        Settings.from_environment({"FRACTURE_SCOPE": "never"})
    assert Settings.from_environment({"FRACTURE_SCOPE": "Warn"}).scope == "warn"
    settings = Settings.from_environment({"FRACTURE_MAX_BODY_MB": "2", "API_KEYS": "a, b,"})
    assert (settings.max_body, settings.api_keys) == (2 * MIB, ("a", "b"))
