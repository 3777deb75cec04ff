"""Hostile peers: the gateway goes on, within its memory, with one line for each of them."""

import contextlib
import json
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy import select

from hospital.associating import associate
from hospital.database import Instance
from hospital.parts import Parts
from hospital.receiver import DicomReceiver
from tests.hospital.conftest import Listen, Site
from tests.hospital.objects import encoded, radiograph
from tests.hospital.peers import RunningGateway, eventually, send
from tests.ports import free_port

MUTATIONS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), max_size=8)
"""Bytes to write over others, at a share of the length; those near the start hit the attributes."""
MIB = 1 << 20
Mutations = list[tuple[float, bytes]]
Judged = Callable[[Mutations, float], None]


class Lines(logging.Handler):
    """The gateway's lines: event and code of each."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append((record.getMessage(), str(getattr(record, "facts", {}).get("code", ""))))


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Hear what the gateway logs."""
    logger, heard = logging.getLogger("hospital"), Lines()
    before = logger.level
    logger.addHandler(heard)
    logger.setLevel(logging.INFO)
    yield heard
    logger.removeHandler(heard)
    logger.setLevel(before)


# Bytes on the wire


def pdu(kind: int, content: bytes, length: int | None = None) -> bytes:
    """A PDU (PS3.8, 9.3); `length` states another one than it has."""
    return struct.pack(">BBL", kind, 0, len(content) if length is None else length) + content


def data(content: bytes, *, command: bool, last: bool = True, context: int = 1) -> bytes:
    """A P-DATA-TF PDU with one fragment."""
    return pdu(4, struct.pack(">LBB", len(content) + 2, context, command | last << 1) + content)


def command(field: int, *, uid: bytes = b"", sop_class: str = Verification) -> bytes:
    """A command set (PS3.7, 6.3.1) that announces a data set; without `uid` it names no SOP Instance."""
    numbers = ((0x0100, field), (0x0110, 1), (0x0700, 0), (0x0800, 1))  # field, message, priority, a data set follows
    elements = [(0x0002, _even(sop_class.encode())), *((tag, struct.pack("<H", value)) for tag, value in numbers)]
    if uid:
        elements.append((0x1000, _even(uid)))
    body = b"".join(struct.pack("<HHL", 0, element, len(value)) + value for element, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)


C_STORE, C_ECHO = 0x0001, 0x0030


def associated(port: int, sop_class: str = ComputedRadiographyImageStorage) -> Association:
    """An association with one context, number 1, on which a test can say what it likes."""
    entity = AE("MODALITY")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
    found = associate(entity, "127.0.0.1", port, ae_title="FRACTURE")
    assert found.is_established
    return found


def say(port: int, *said: bytes, sop_class: str = ComputedRadiographyImageStorage, leave: bool = True) -> Association:
    """Say bytes on an association, then leave without a word or stay."""
    found = associated(port, sop_class)
    wire: Any = found.dul.socket
    for one in said:
        wire.socket.sendall(one)
    if leave:
        with contextlib.suppress(OSError):  # the gateway may have been quicker
            wire.socket.shutdown(socket.SHUT_RDWR)
    return found


HALF_AN_OBJECT = (data(command(C_STORE, uid=b"1.2.3", sop_class=ComputedRadiographyImageStorage), command=True),
                  data(bytes(1000), command=False, last=False))  # fmt: skip


def _leaves_in_the_middle(port: int) -> None:
    say(port, *HALF_AN_OBJECT)


def _hangs_in_the_middle(port: int) -> None:
    say(port, *HALF_AN_OBJECT, leave=False)


def _cuts_a_pdu_off(port: int) -> None:
    say(port, *HALF_AN_OBJECT, pdu(4, bytes(10), length=5000))


def _hangs_within_a_pdu(port: int) -> None:
    say(port, *HALF_AN_OBJECT, pdu(4, bytes(10), length=5000), leave=False)


def _names_no_instance(port: int) -> None:
    say(port, data(command(C_STORE, sop_class=ComputedRadiographyImageStorage), command=True), HALF_AN_OBJECT[1])


def _uses_a_context_that_was_not_accepted(port: int) -> None:
    asked = command(C_STORE, uid=b"1.2.3", sop_class=ComputedRadiographyImageStorage)
    say(port, data(asked, command=True, context=77), data(bytes(10), command=False, context=77))


def _sends_a_command_of_noise(port: int) -> None:
    say(port, data(b"\xff" * 200, command=True))


def _states_a_huge_pdu(port: int) -> None:
    say(port, pdu(4, bytes(10), length=1 << 31))


def _says_nothing(port: int) -> None:
    _HELD.append(socket.create_connection(("127.0.0.1", port)))


def _speaks_http(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")


def _calls_somebody_else(port: int) -> None:
    send(port, radiograph(), called="SOMEBODY")


_HELD: list[socket.socket] = []
HOSTILE: dict[Callable[[int], None], tuple[str, set[str]]] = {
    _leaves_in_the_middle: ("association_ended", {"connection_lost", "aborted"}),
    _hangs_in_the_middle: ("association_ended", {"aborted"}),
    _cuts_a_pdu_off: ("association_ended", {"pdu_truncated"}),
    _hangs_within_a_pdu: ("association_ended", {"pdu_slow", "aborted"}),
    _names_no_instance: ("association_ended", {"bad_message"}),
    _uses_a_context_that_was_not_accepted: ("association_ended", {"bad_message"}),
    _sends_a_command_of_noise: ("association_ended", {"bad_message", "aborted"}),
    _states_a_huge_pdu: ("association_ended", {"pdu_length"}),
    _says_nothing: ("association_ended", {"silent"}),
    _speaks_http: ("association_ended", {"no_association"}),
    _calls_somebody_else: ("association_rejected", {"called_ae_title"}),
}


@pytest.fixture
def hurried(listen: Listen) -> Iterator[DicomReceiver]:
    """Listen for peers that may take a second for a PDU."""
    yield listen(idle_seconds=1)
    while _HELD:
        _HELD.pop().close()


@pytest.mark.parametrize("peer", HOSTILE, ids=lambda peer: peer.__name__.strip("_"))
def test_hostile_peer_has_one_line_and_leaves_no_file(
    hurried: DicomReceiver, parts: Parts, lines: Lines, peer: Callable[[int], None]
) -> None:
    peer(hurried.port)
    event, codes = HOSTILE[peer]
    eventually(lambda: lines.told, 20)
    eventually(lambda: not hurried._server.active_associations, 20)
    assert [told[0] for told in lines.told] == [event]
    assert lines.told[0][1] in codes
    assert list(parts.spool.partial.iterdir()) == []
    assert send(hurried.port, radiograph()) == [0x0000]


def test_health_check_and_proper_association_have_no_line(hurried: DicomReceiver, lines: Lines) -> None:
    socket.create_connection(("127.0.0.1", hurried.port)).close()
    assert send(hurried.port, radiograph()) == [0x0000]
    eventually(lambda: not hurried._server.active_associations, 20)
    assert lines.told == []


def test_message_that_goes_to_no_file_is_bounded(hurried: DicomReceiver, lines: Lines) -> None:
    part = data(bytes(200_000), command=False, last=False)
    with pytest.raises(OSError, match=r"reset|Broken pipe|Bad file"):
        say(hurried.port, data(command(C_ECHO), command=True), *[part] * 200, sop_class=Verification)
    eventually(lambda: ("association_ended", "object_size") in lines.told, 20)


# Data sets


def sent_as_they_are(port: int, folder: Path, meta: pydicom.dataset.FileMetaDataset, content: bytes) -> int:
    """C-STORE bytes as a data set, whatever they are; the status."""
    path = folder / "sent.dcm"
    with path.open("wb") as file:
        file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(DicomFileLike(file), meta)
        file.write(content)
    association = associated(port)
    status = association.send_c_store(path).get("Status", -1)
    association.release()
    return int(status)


def data_set(image: pydicom.dataset.FileDataset) -> bytes:
    """The bytes of an object behind its meta information."""
    whole = encoded(image)
    length = int.from_bytes(whole[140:144], "little")
    return whole[144 + length :]


@pytest.fixture
def judged(listen: Listen, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judged:
    """Give a function that sends a changed data set, and fails unless it is kept and judged without a fault."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    port, whole = listen().port, data_set(radiograph())

    def judge(mutations: Mutations, cut: float) -> None:
        content = bytearray(whole)
        for place, new in mutations:
            start = int(place**4 * len(content))  # the attributes come before the pixels
            content[start : start + len(new)] = new
        meta = radiograph().file_meta
        assert sent_as_they_are(port, tmp_path, meta, bytes(content[: int(cut * len(content))])) == 0x0000
        site.work()
        with site.parts.database.session() as session:
            chosen = select(Instance).where(Instance.sop_instance_uid == meta.MediaStorageSOPInstanceUID)
            found = session.scalars(chosen).one()
        assert found.state in {"scored", "refused", "dead"}
        assert found.code != "internal"

    return judge


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutations=MUTATIONS, cut=st.floats(0, 1))
def test_fuzzed_data_set_is_kept_and_judged(judged: Judged, mutations: Mutations, cut: float) -> None:
    judged(mutations, cut)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutations=MUTATIONS, cut=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_many_fuzzed_data_sets_are_kept_and_judged(judged: Judged, mutations: Mutations, cut: float) -> None:
    judged(mutations, cut)


# Masses


def echoes(port: int, count: int) -> int:
    """Send C-ECHO until as many were answered; a machine that holds the sender up costs an idle association."""
    answered = 0
    while answered < count:
        association = associated(port, Verification)
        with suppress(RuntimeError):
            while answered < count:
                answered += association.send_c_echo().get("Status") == 0x0000
        association.release()
    return answered


def test_many_echoes_are_answered(listen: Listen) -> None:
    assert echoes(listen().port, 100) == 100


def resident_mb(gateway: RunningGateway, peak: bool = False) -> float:
    assert gateway.process is not None
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    found = next(line for line in status.splitlines() if line.startswith("VmHWM" if peak else "VmRSS"))
    return int(found.split()[1]) / 1024


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """Run a gateway whose peers may take two seconds for a PDU."""
    receiver = {"idle_seconds": 2, "max_associations": 8, "max_object_mb": 600}
    with RunningGateway(tmp_path_factory.mktemp("hostile"), {"receiver": receiver}) as made:
        yield made


def goes_on(gateway: RunningGateway) -> None:
    sent = radiograph()
    eventually(lambda: send(gateway.port, sent) == [0x0000], 30)
    assert gateway.study(sent.StudyInstanceUID)["suspicion"] == "high"


@pytest.mark.slow
def test_ten_thousand_echoes_take_no_memory(gateway: RunningGateway) -> None:
    echoes(gateway.port, 200)
    before, found = resident_mb(gateway), []
    threads = [threading.Thread(target=lambda: found.append(echoes(gateway.port, 1250))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1250] * 8
    assert resident_mb(gateway) < before + 30
    goes_on(gateway)


@pytest.mark.slow
def test_hundreds_of_hung_and_cut_connections_take_no_memory_and_have_a_line_each(gateway: RunningGateway) -> None:
    before, lines = resident_mb(gateway), len(gateway.lines().splitlines())
    for _ in range(30):
        held = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(8)]
        for connection in held:
            connection.sendall(pdu(1, bytes(20), length=200))
        for connection in held:
            connection.close()
        eventually(lambda: _told(gateway, lines) % 8 == 0, 20)
    eventually(lambda: _told(gateway, lines) == 240, 60)
    assert resident_mb(gateway) < before + 30
    goes_on(gateway)


def _told(gateway: RunningGateway, after: int) -> int:
    told = [json.loads(line) for line in gateway.lines().splitlines()[after:]]
    return sum(line["event"] == "association_ended" for line in told)


@pytest.mark.slow
def test_object_of_500_mb_stays_within_the_memory(
    gateway: RunningGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    goes_on(gateway)
    before = resident_mb(gateway, peak=True)
    image = radiograph(PixelData=bytes(MIB))
    head, pixels = data_set(image)[: -MIB - 4], bytes(500 * MIB)
    content = head + struct.pack("<L", len(pixels)) + pixels
    assert sent_as_they_are(gateway.port, tmp_path, image.file_meta, content) == 0x0000
    eventually(lambda: "image_without_answer" in gateway.lines().splitlines()[-1], 120)
    assert resident_mb(gateway, peak=True) < before + 300
    goes_on(gateway)


@pytest.mark.slow
def test_objects_of_500_mb_beyond_the_limit_take_no_memory(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    with RunningGateway(tmp_path_factory.mktemp("bounded"), {"receiver": {"port": free_port()}}) as limited:
        limited.port = int(json.loads(limited.lines().splitlines()[-1])["port"])
        before = resident_mb(limited, peak=True)
        image = radiograph()
        for _ in range(3):
            assert sent_as_they_are(limited.port, tmp_path, image.file_meta, bytes(500 * MIB)) == -1
        assert resident_mb(limited, peak=True) < before + 30
        goes_on(limited)
