"""A DICOMweb server: paged queries, one origin, no redirects."""

from pathlib import Path

import pytest

from pipeline.data import layout
from pipeline.data.sources.dicom import dicomweb
from pipeline.data.sources.dicom.dicomweb import AUTHORIZATION, ServerObjects, first_part
from pipeline.data.sources.dicom.objects import UnreadableError
from pipeline.errors import InputError
from tests.pipeline.data.sources.dicom.conftest import Fill, Server, image
from tests.serving.imaging.dicom.deidentify.planted import ROOT, radiograph


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "_WAITS", (0.0, 0.0))


@pytest.fixture
def full(server: Server) -> Server:
    """Fill the server with five images of one study and one of another."""
    server.add(*(image(number) for number in range(1, 6)), image(6, study=2, patient="Roe"))
    return server


def test_a_server_fills_data(full: Server, fill: Fill, tmp_path: Path) -> None:
    fill(full.url)
    assert len(layout.read(tmp_path / "data").labels) == 6


def test_queries_are_paged_until_nothing_is_new(full: Server) -> None:
    assert len(ServerObjects(full.url)) == 6


def test_a_server_that_ignores_the_offset_is_asked_no_further(full: Server) -> None:
    full.knows_offset = False
    assert len(ServerObjects(full.url)) == 3
    assert len(full.asked) < 20


def test_only_labelled_studies_are_asked_for(full: Server) -> None:
    ServerObjects(full.url, [f"{ROOT}.3.2"])
    assert all(f"/studies/{ROOT}.3.2/instances" in path for path in full.asked)


def test_objects_that_are_no_radiographs_are_not_fetched(full: Server) -> None:
    full.add(
        radiograph(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.34", StudyInstanceUID=f"{ROOT}.3.1", SOPInstanceUID="1.9")
    )
    found = ServerObjects(full.url)
    assert (len(found), found.others) == (6, 1)


def test_what_is_de_identified_already_is_not_fetched_again(full: Server, fill: Fill, tmp_path: Path) -> None:
    full.objects[f"{ROOT}.1.6"] = full.objects[f"{ROOT}.1.6"][:-60]
    with pytest.raises(InputError, match="cannot be used"):
        fill(full.url)
    full.add(image(6, study=2, patient="Roe"))
    full.asked.clear()
    fill(full.url)
    assert len([path for path in full.asked if "/series/" in path]) == 1


def test_a_server_that_is_busy_is_asked_again(full: Server) -> None:
    full.failures = 2
    assert len(ServerObjects(full.url)) == 6


def test_a_redirect_is_not_followed(full: Server) -> None:
    full.status = 307
    with pytest.raises(InputError, match="redirects to another address, which is not followed"):
        ServerObjects(full.url)
    assert not any("elsewhere" in path for path in full.asked)


def test_the_authorization_comes_from_the_environment(full: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTHORIZATION, "Bearer secret")
    ServerObjects(full.url)
    assert full.authorizations == {"Bearer secret"}


def test_no_proxy_of_the_environment_is_used(full: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert len(ServerObjects(full.url)) == 6


@pytest.mark.parametrize(("status", "words"), [(401, AUTHORIZATION), (404, "is it the address"), (503, "to go on")])
def test_a_refusal_has_one_line(full: Server, status: int, words: str) -> None:
    full.status = status
    with pytest.raises(InputError, match=words) as caught:
        ServerObjects(full.url)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_away_has_one_line(unused_port: int) -> None:
    with pytest.raises(InputError, match="does not answer"):
        ServerObjects(f"http://127.0.0.1:{unused_port}/dicom-web")


@pytest.fixture
def unused_port() -> int:
    """Find a port that nobody listens on."""
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("url", ["https://", "http://jane:secret@pacs/dicom-web", "https://pacs/dicom-web?limit=1"])
def test_an_address_that_cannot_be_used_has_one_line_without_its_secret(url: str) -> None:
    with pytest.raises(InputError, match="give the address of a DICOMweb service") as caught:
        ServerObjects(url)
    assert "secret" not in str(caught.value)


def test_a_body_that_is_dicom_itself_is_read(full: Server) -> None:
    full.content_type = "application/dicom"
    assert next(iter(ServerObjects(full.url))).read() == image(1)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("text/html", b"<html>"),
        ("multipart/related", b"--x\r\n\r\nabc\r\n--x--"),
        ('multipart/related; boundary="x"', b"--x\r\n\r\nabc"),
        ('multipart/related; boundary="x"', b""),
    ],
)
def test_a_body_in_another_form_cannot_be_read(content_type: str, content: bytes) -> None:
    with pytest.raises(UnreadableError):
        first_part(content_type, content)


def test_a_body_beyond_the_limit_cannot_be_read(full: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ServerObjects(full.url)
    monkeypatch.setattr(dicomweb, "MAX_OBJECT_BYTES", 100)
    monkeypatch.setattr(dicomweb, "_MAX_ANSWER", 100)
    with pytest.raises(UnreadableError, match="is larger than"):
        next(iter(found)).read()
