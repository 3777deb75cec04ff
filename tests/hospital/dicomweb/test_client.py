"""QIDO-RS and WADO-RS to servers that keep to the standard, to those that do not, and to hostile ones."""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import generate_uid

from hospital import bodies
from hospital.config import Poll
from hospital.dicomweb import client as module
from hospital.dicomweb.client import DicomwebClient, FoundInstance, UnavailableObjectError
from hospital.errors import DeadLetterError, TryAgainError
from tests.hospital.dicomweb.servers import Answer, Asked, DicomwebServer, related, related_type
from tests.hospital.objects import encoded, radiograph

DAY = date(2026, 11, 27)
METADATA_SERVICE = "http://169.254.169.254/latest/meta-data"


def ask(server: DicomwebServer, **settings: Any) -> DicomwebClient:
    given = {"name": "archive", "url": server.url, "timeout_seconds": 5, **settings}
    return DicomwebClient(Poll.model_validate(given), "Bearer secret")


def studies(server: DicomwebServer, first: date = DAY, **settings: Any) -> list[str]:
    return [one.uid for one in ask(server, **settings).studies(first, DAY)]


def fetch(server: DicomwebServer, folder: Path, url: str = "", **settings: Any) -> list[bytes]:
    found: list[bytes] = []
    one = server.datasets[0]
    uids = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID, one.SOPClassUID)
    try:
        ask(server, **settings).retrieve(
            FoundInstance(*uids, url), folder, lambda path: found.append(path.read_bytes())
        )
    finally:
        assert list(folder.iterdir()) == []
    return found


def only(answer: Answer) -> Callable[[Asked], Answer]:
    return lambda _: answer


@pytest.fixture(scope="module")
def sent() -> Sequence[pydicom.Dataset]:
    """Make seven studies, one of them by a DX detector."""
    return [radiograph(sop_class="DX" if number == 3 else "CR") for number in range(7)]


@pytest.mark.parametrize(
    "habits",
    [
        pytest.param({}, id="ends with 204"),
        pytest.param({"end": 200}, id="ends with an empty list"),
        pytest.param({"most": 2}, id="caps the limit"),
        pytest.param({"pages": False}, id="ignores offset"),
        pytest.param({"skips_first": True}, id="skips within the limit"),
    ],
)
@pytest.mark.parametrize("size", [1, 6, 7])
def test_search_is_paged_until_nothing_new_comes(
    sent: Sequence[pydicom.Dataset], habits: dict[str, Any], size: int
) -> None:
    with DicomwebServer(sent, **habits) as server:
        assert sorted(studies(server, page_size=size)) == sorted(one.StudyInstanceUID for one in sent)


def test_server_that_ignores_the_limit_is_read_too(sent: Sequence[pydicom.Dataset]) -> None:
    def everything(asked: Asked) -> Answer | None:
        return server.answer(Asked(asked.path, {**asked.query, "limit": "1000", "offset": "0"}, {}))

    with DicomwebServer(sent, override=everything) as server:
        assert sorted(studies(server, page_size=2)) == sorted(one.StudyInstanceUID for one in sent)


def test_search_asks_for_radiographs_of_the_days(sent: Sequence[pydicom.Dataset]) -> None:
    with DicomwebServer(sent) as server:
        studies(server, date(2026, 11, 25))
        assert {one.query["StudyDate"] for one in server.asked} == {"20261125-20261127"}
        assert {one.query["ModalitiesInStudy"] for one in server.asked} == {"CR", "DX"}
        assert {one.headers["authorization"] for one in server.asked} == {"Bearer secret"}


def test_smaller_pages_are_asked_for_after_413(sent: Sequence[pydicom.Dataset]) -> None:
    with DicomwebServer(sent, too_much=lambda asked: int(asked.query["limit"]) > 10) as server:
        assert len(studies(server)) == len(sent)


def test_fewer_days_are_asked_for_after_413(sent: Sequence[pydicom.Dataset]) -> None:
    def spans_days(asked: Asked) -> bool:
        first, _, last = asked.query["StudyDate"].partition("-")
        return first != last

    with DicomwebServer(sent, too_much=spans_days) as server:
        assert len(studies(server, date(2026, 11, 23))) == len(sent)


def test_413_for_one_day_is_a_failure(sent: Sequence[pydicom.Dataset]) -> None:
    with DicomwebServer(sent, too_much=lambda _: True) as server, pytest.raises(TryAgainError, match="too much"):
        studies(server)


def test_pages_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ENTRIES", 50)

    def invented(_: Asked) -> Answer:
        entries = [{"0020000D": {"vr": "UI", "Value": [generate_uid()]}} for _ in range(20)]
        return Answer(200, {}, json.dumps(entries).encode())

    with DicomwebServer(override=invented) as server, pytest.raises(TryAgainError, match="more than 50 results"):
        studies(server)
    assert len(server.asked) == 3


def test_page_that_is_not_full_is_asked_for_once_more_only(sent: Sequence[pydicom.Dataset]) -> None:
    with DicomwebServer(sent) as server:
        studies(server, page_size=10)
    assert [one.query["offset"] for one in server.asked if one.query["ModalitiesInStudy"] == "CR"] == ["0", "6"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>", id="HTML"),
        pytest.param(b"{}", id="object"),
        pytest.param(b"[1, 2]", id="numbers"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b'[{"0020000D": {"Value": ["1.2"]}', id="cut off"),
    ],
)
def test_what_is_no_dicom_json_is_a_failure(body: bytes) -> None:
    with (
        DicomwebServer(override=only(Answer(200, {}, body))) as server,
        pytest.raises(TryAgainError, match="other than"),
    ):
        studies(server)


@pytest.mark.parametrize(
    "value",
    [None, [], [None], ["../../admin"], ["1.2/../3"], [{"Alphabetic": "x"}], "1.2.3", ["x" * 9000]],
)
def test_entry_without_a_uid_is_passed_over(value: object) -> None:
    body = json.dumps([{"0020000D": {"vr": "UI", "Value": value}}]).encode()
    with DicomwebServer(override=only(Answer(200, {}, body))) as server:
        assert studies(server) == []


def test_search_result_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_JSON", 100_000)

    def spaces() -> Iterator[bytes]:
        while True:
            yield b" " * 10_000

    with DicomwebServer(override=only(Answer(200, {}, blocks=spaces))) as server, pytest.raises(TryAgainError):
        studies(server)


def test_object_is_fetched_as_it_is_stored(sent: Sequence[pydicom.Dataset], tmp_path: Path) -> None:
    with DicomwebServer(sent) as server:
        assert fetch(server, tmp_path) == [encoded(sent[0])]
    assert "transfer-syntax=*" in server.asked[0].headers["accept"]


def test_object_outside_of_a_multipart_body_is_taken(sent: Sequence[pydicom.Dataset], tmp_path: Path) -> None:
    given = Answer(200, {"Content-Type": "application/dicom"}, encoded(sent[0]))
    with DicomwebServer(sent, override=only(given)) as server:
        assert fetch(server, tmp_path) == [given.body]


@pytest.mark.parametrize(
    "first", [Answer(406), Answer(200, {"Content-Type": f"{related_type()}; transfer-syntax=1.2.3"})]
)
def test_explicit_vr_little_endian_is_asked_for_instead(
    sent: Sequence[pydicom.Dataset], tmp_path: Path, first: Answer
) -> None:
    with DicomwebServer(sent, override=lambda asked: first if "=*" in asked.headers["accept"] else None) as server:
        assert len(fetch(server, tmp_path)) == 1
    assert "transfer-syntax=1.2.840.10008.1.2.1" in server.asked[1].headers["accept"]


SPOILT = ("truncated", "cut off", "boundary", "no boundary", "type", "none", "two", "large", "large alone", "announced",
          "gone", "failing")  # fmt: skip


def spoilt(sent: Sequence[pydicom.Dataset]) -> dict[str, tuple[Answer, str]]:
    whole, kind = related(encoded(sent[0])), {"Content-Type": related_type()}
    longer = {**kind, "Content-Length": str(len(whole) + 100)}
    return {
        "truncated": (Answer(200, kind, whole[:-1000]), "truncated_multipart"),
        "cut off": (Answer(200, longer, whole), "cut_off"),
        "boundary": (Answer(200, {"Content-Type": related_type("other")}, whole), "malformed_multipart"),
        "no boundary": (Answer(200, {"Content-Type": "multipart/related"}, whole), "malformed_multipart"),
        "type": (Answer(200, {"Content-Type": "text/html"}, whole), "media_type"),
        "none": (Answer(200, kind, b"--frontier--\r\n"), "no_object"),
        "two": (Answer(200, kind, related(b"a", b"b")), "too_many_parts"),
        "large": (Answer(200, kind, related(bytes(2 << 20))), "object_size"),
        "large alone": (Answer(200, {"Content-Type": "application/dicom"}, bytes(1 << 20) + b"x"), "object_size"),
        "announced": (Answer(200, {**kind, "Content-Length": str(1 << 40)}), "object_size"),
        "gone": (Answer(404), "http_404"),
        "failing": (Answer(500), "http_500"),
    }


@pytest.mark.parametrize("name", SPOILT)
def test_object_in_bad_order_has_a_code_and_leaves_no_file(
    sent: Sequence[pydicom.Dataset], tmp_path: Path, name: str
) -> None:
    answer, code = spoilt(sent)[name]
    with DicomwebServer(sent, override=only(answer)) as server, pytest.raises(UnavailableObjectError) as raised:
        fetch(server, tmp_path, max_object_mb=1)
    assert raised.value.code == code


def test_body_without_end_is_given_up(sent: Sequence[pydicom.Dataset], tmp_path: Path) -> None:
    def endless() -> Iterator[bytes]:
        yield related(b"", end=False)[:-2]
        while True:
            yield bytes(1 << 16)

    given = Answer(200, {"Content-Type": related_type()}, blocks=endless)
    with (
        DicomwebServer(sent, override=only(given)) as server,
        pytest.raises(UnavailableObjectError, match="object_size"),
    ):
        fetch(server, tmp_path, max_object_mb=1)


@pytest.mark.parametrize("what", ["search", "object"])
def test_compressed_answer_is_refused_before_it_is_inflated(
    sent: Sequence[pydicom.Dataset], tmp_path: Path, what: str
) -> None:
    bomb = gzip.compress(bytes(50 << 20))
    given = Answer(200, {"Content-Type": related_type(), "Content-Encoding": "gzip"}, bomb)
    with DicomwebServer(sent, override=only(given)) as server, pytest.raises(TryAgainError, match="compresses"):
        studies(server) if what == "search" else fetch(server, tmp_path)


@pytest.mark.parametrize("what", ["search", "object"])
def test_redirect_is_not_followed(sent: Sequence[pydicom.Dataset], tmp_path: Path, what: str) -> None:
    with DicomwebServer(sent) as other:
        for place in (METADATA_SERVICE, f"{other.url}/studies"):
            given = Answer(302, {"Location": place})
            with (
                DicomwebServer(sent, override=only(given)) as server,
                pytest.raises(DeadLetterError, match="redirects"),
            ):
                studies(server) if what == "search" else fetch(server, tmp_path)
        assert other.asked == []


def test_retrieve_url_elsewhere_is_not_followed(sent: Sequence[pydicom.Dataset], tmp_path: Path) -> None:
    one = sent[0]
    path = f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
    with DicomwebServer(sent) as server, DicomwebServer(sent) as other:
        host = server.origin.removeprefix("http://")
        for place in (
            METADATA_SERVICE + path, other.url + path, f"http://{host}@{other.origin[7:]}{path}", f"file://{path}",
            f"{server.origin}/admin?delete={path}", f"{server.origin}/../x{path}", "::", "/dicom-web" + path,
        ):  # fmt: skip
            assert len(fetch(server, tmp_path, place)) == 1
        assert other.asked == []
        assert {asked.path for asked in server.asked} == {path}


def test_retrieve_url_at_the_configured_origin_is_followed(sent: Sequence[pydicom.Dataset], tmp_path: Path) -> None:
    one = sent[0]
    path = f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
    given = Answer(200, {"Content-Type": related_type()}, related(b"x"))
    with DicomwebServer(sent, override=only(given)) as server:
        fetch(server, tmp_path, f"{server.origin}/wado-rs{path}")
        assert server.asked[0].path == f"/wado-rs{path}"


def test_bulk_data_uri_is_not_followed(sent: Sequence[pydicom.Dataset], tmp_path: Path) -> None:
    with DicomwebServer(sent) as other:
        elsewhere = {"vr": "UR", "BulkDataURI": f"{other.url}/bulk"}
        named = {"00081190": elsewhere, "7FE00010": elsewhere}
        with DicomwebServer(sent, instance=named) as server:
            found = list(ask(server).instances(sent[0].StudyInstanceUID))
            assert [one.retrieve_url for one in found] == [""]
        assert other.asked == []


@pytest.mark.parametrize(
    ("status", "kind"), [(401, DeadLetterError), (403, DeadLetterError), (429, TryAgainError), (503, TryAgainError)]
)
def test_status_of_the_server_ends_the_round(
    sent: Sequence[pydicom.Dataset], tmp_path: Path, status: int, kind: type[Exception]
) -> None:
    with DicomwebServer(sent, override=only(Answer(status))) as server, pytest.raises(kind, match=str(status)):
        fetch(server, tmp_path)


def test_drip_is_given_up(sent: Sequence[pydicom.Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(bodies, "monotonic", lambda: next(clock))

    def drip() -> Iterator[bytes]:
        while True:
            yield b" "

    with (
        DicomwebServer(override=only(Answer(200, {}, blocks=drip))) as server,
        pytest.raises(TryAgainError, match="long"),
    ):
        studies(server)


def test_server_that_is_away_does_not_answer() -> None:
    given = Poll(name="archive", url="http://127.0.0.1:9/dicom-web")
    with pytest.raises(TryAgainError, match="archive does not answer"):
        DicomwebClient(given).echo()


def test_echo_is_a_search_for_one_study(sent: Sequence[pydicom.Dataset]) -> None:
    with DicomwebServer(sent) as server:
        ask(server).echo()
    assert [(one.path, one.query) for one in server.asked] == [("/studies", {"limit": "1"})]
