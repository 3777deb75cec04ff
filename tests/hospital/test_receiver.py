"""What is taken over the wire, what is refused, and that no peer stops the receiver."""

import os
import socket
import ssl
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import CTImageStorage, JPEG2000Lossless
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy import func, select

from hospital.associating import associate
from hospital.database import Instance, Job
from hospital.parts import Parts
from hospital.receiver import STORED
from serving.imaging.dicom import DECODERS
from tests.hospital.conftest import Listen
from tests.hospital.objects import PATIENT, radiograph
from tests.hospital.peers import dcmtk, eventually, send

SAMPLES = os.environ.get("DICOM_SAMPLES")


def kept(parts: Parts) -> int:
    with parts.database.session() as session:
        return session.scalar(select(func.count()).select_from(Instance)) or 0


def raw(port: int, content: bytes = b"", wait: float = 0) -> socket.socket:
    """A TCP connection on which something was said."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(content)
    time.sleep(wait)
    return connection


def test_object_is_on_disk_and_queued_when_success_is_answered(listen: Listen, parts: Parts) -> None:
    sent = radiograph()
    assert send(listen().port, sent) == [0x0000]
    with parts.database.session() as session:
        instance = session.scalars(select(Instance)).one()
        assert session.scalars(select(Job.kind)).all() == ["score"]
    assert parts.spool.path(instance.path).read_bytes().endswith(sent.PixelData)
    assert instance.study_uid == sent.StudyInstanceUID


def test_same_object_sent_again_is_kept_once(listen: Listen, parts: Parts) -> None:
    sent = radiograph()
    receiver = listen()
    assert send(receiver.port, sent, sent) + send(receiver.port, sent) == [0x0000] * 3
    assert kept(parts) == 1


@pytest.mark.parametrize("sop_class", STORED)
def test_every_transfer_syntax_of_the_decoder_is_accepted(listen: Listen, sop_class: str) -> None:
    entity = AE("MODALITY")
    for syntax in DECODERS:
        entity.add_requested_context(sop_class, syntax)
    association = associate(entity, "127.0.0.1", listen().port, ae_title="FRACTURE")
    accepted = {context.transfer_syntax[0] for context in association.accepted_contexts}
    association.release()
    assert accepted == set(DECODERS)


def test_other_classes_get_no_context(listen: Listen) -> None:
    entity = AE("MODALITY")
    entity.add_requested_context(CTImageStorage)
    entity.add_requested_context(Verification)
    association = associate(entity, "127.0.0.1", listen().port, ae_title="FRACTURE")
    assert [context.abstract_syntax for context in association.accepted_contexts] == [Verification]
    association.release()


def test_peer_that_offers_other_classes_alone_is_counted(listen: Listen, parts: Parts) -> None:
    entity = AE("MODALITY")
    entity.add_requested_context(CTImageStorage)
    associate(entity, "127.0.0.1", listen().port, ae_title="FRACTURE").abort()
    eventually(lambda: 'hospital_refused_total{code="no_context"} 1.0' in parts.metrics.exposition().decode(), 20)


@pytest.mark.dcmtk
@pytest.mark.skipif(not SAMPLES, reason="DICOM_SAMPLES names no folder")
def test_jpeg_2000_is_taken_from_storescu(listen: Listen, parts: Parts) -> None:
    receiver = listen()
    files = sorted(Path(str(SAMPLES)).glob("*.dcm"))
    for path in files:
        lossless = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == JPEG2000Lossless
        proposed = "-xv" if lossless else "-xw"
        command = [dcmtk("storescu"), proposed, "-aec", "FRACTURE", "127.0.0.1", str(receiver.port), str(path)]
        subprocess.run(command, check=True, capture_output=True)
    assert kept(parts) == len(files)


def test_wrong_called_title_is_rejected(listen: Listen) -> None:
    assert send(listen().port, radiograph(), called="SOMEBODY") == []


def test_calling_title_that_is_not_a_peer_is_rejected(listen: Listen) -> None:
    receiver = listen(peers=[{"ae_title": "CR1"}])
    assert send(receiver.port, radiograph(), calling="CR2") == []
    assert send(receiver.port, radiograph(), calling="CR1") == [0x0000]


def test_peer_at_another_address_is_rejected(listen: Listen) -> None:
    receiver = listen(peers=[{"ae_title": "CR1", "addresses": ["192.0.2.0/24"]}])
    assert send(receiver.port, radiograph(), calling="CR1") == []


def test_disk_reserve_answers_out_of_resources_and_recovers(
    listen: Listen, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = listen(disk_reserve_mb=1)
    monkeypatch.setattr(type(parts.spool), "free_bytes", lambda _: 1000)
    assert send(receiver.port, radiograph()) == [0xA700]
    monkeypatch.undo()
    assert kept(parts) == 0
    assert list(parts.spool.partial.iterdir()) == []


def test_disk_that_takes_longer_than_a_peer_may_be_silent_ends_no_association(
    listen: Listen, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, adopt = listen(idle_seconds=0.5), parts.spool.adopt

    def late(*given: Any) -> str:
        time.sleep(0.8)
        return adopt(*given)

    monkeypatch.setattr(parts.spool, "adopt", late)
    assert send(receiver.port, radiograph(), radiograph()) == [0x0000] * 2


def test_object_beyond_the_limit_ends_its_association_alone(listen: Listen, parts: Parts) -> None:
    receiver = listen(max_object_mb=1)
    large = radiograph(PixelData=bytes(3 << 20))
    assert send(receiver.port, large) in ([], [-1])
    assert send(receiver.port, radiograph()) == [0x0000]
    assert kept(parts) == 1
    eventually(lambda: not list(parts.spool.partial.iterdir()), 20)


def test_acknowledged_objects_of_an_aborted_association_stay(listen: Listen, parts: Parts) -> None:
    entity = AE("MODALITY")
    sent = radiograph()
    entity.add_requested_context(sent.SOPClassUID, sent.file_meta.TransferSyntaxUID)
    association = associate(entity, "127.0.0.1", listen().port, ae_title="FRACTURE")
    assert association.send_c_store(sent).Status == 0x0000
    association.abort()
    assert kept(parts) == 1


def test_broken_data_set_is_kept_for_the_scoring_to_judge(listen: Listen, parts: Parts) -> None:
    sent = radiograph()
    sent.add_new(0x00091001, "UN", b"\xff" * 8)
    assert send(listen().port, sent) == [0x0000]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(b"\x01\0" + struct.pack(">L", 1 << 31), id="a PDU of 2 GiB"),
        pytest.param(b"\x01\0" + struct.pack(">L", 100) + b"\0" * 20, id="half a PDU"),
        pytest.param(b"\x01\0" + struct.pack(">L", 68) + b"\0\1\0\0" + b"\0" * 64, id="no titles"),
        pytest.param(b"\x01\0" + struct.pack(">L", 68) + b"\0\1\0\0" + b"\xff" * 64, id="titles of other bytes"),
        pytest.param(b"\x01\0" + struct.pack(">L", 68) + b"\0\1\0\0" + b" " * 64, id="blank titles"),
        pytest.param(b"\x04\0" + struct.pack(">L", 4) + b"\0\0\0\0", id="data first"),
    ],
)
def test_hostile_bytes_end_nothing_but_their_connection(listen: Listen, said: bytes) -> None:
    receiver = listen(idle_seconds=1)
    held = [raw(receiver.port, said) for _ in range(3)]
    assert send(receiver.port, radiograph()) == [0x0000]
    for connection in held:
        connection.close()


def test_hung_peers_do_not_keep_their_slots(listen: Listen) -> None:
    receiver = listen(idle_seconds=0.5, max_associations=2)
    held = [raw(receiver.port, b"\x01\0" + struct.pack(">L", 200)) for _ in range(6)]
    eventually(lambda: send(receiver.port, radiograph()) == [0x0000], 30)
    for connection in held:
        connection.close()


def test_health_checks_use_up_nothing(listen: Listen) -> None:
    receiver = listen(max_associations=2)
    for _ in range(40):
        raw(receiver.port).close()
    eventually(lambda: not receiver._server.active_associations, 30)
    assert send(receiver.port, radiograph()) == [0x0000]


def test_tls_asks_for_a_client_certificate(listen: Listen, certificates: Path) -> None:
    tls = {"certificate": certificates / "server.pem", "key": certificates / "server.key",
           "authorities": certificates / "ca.pem"}  # fmt: skip
    receiver = listen(tls=tls)
    assert not _echoes(receiver.port, certificates, with_certificate=False)
    assert _echoes(receiver.port, certificates, with_certificate=True)


def test_hung_tls_handshake_does_not_stop_the_receiver(listen: Listen, certificates: Path) -> None:
    tls = {"certificate": certificates / "server.pem", "key": certificates / "server.key",
           "authorities": certificates / "ca.pem"}  # fmt: skip
    receiver = listen(tls=tls)
    held = raw(receiver.port)
    assert _echoes(receiver.port, certificates, with_certificate=True)
    held.close()


def _echoes(port: int, certificates: Path, with_certificate: bool) -> bool:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    if with_certificate:
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    entity = AE("MODALITY")
    entity.acse_timeout = entity.network_timeout = 10
    entity.add_requested_context(Verification)
    association = associate(entity, "127.0.0.1", port, ae_title="FRACTURE", tls_args=(context, "localhost"))
    if not association.is_established:
        return False
    answered = bool(association.send_c_echo().get("Status") == 0x0000)
    association.release()
    return answered


def test_files_on_disk_name_no_patient(listen: Listen, parts: Parts) -> None:
    send(listen().port, radiograph())
    names = " ".join(str(path) for path in parts.spool.root.rglob("*"))
    assert PATIENT.split("^", maxsplit=1)[0] not in names
    assert "4711" not in names
    assert parts.spool.root.stat().st_mode & 0o777 == 0o700


def test_database_is_for_its_owner_alone(parts: Parts) -> None:
    assert Path(str(parts.database.url.database)).stat().st_mode & 0o777 == 0o600
