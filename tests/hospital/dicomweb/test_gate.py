"""What is asked of an object that came over HTTP."""

from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, generate_uid
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from hospital.database import Instance, Job
from hospital.dicomweb.gate import Identity, ObjectGate, RefusedObjectError
from hospital.intake import Intake
from hospital.parts import Parts
from tests.hospital.objects import encoded, radiograph


def take(parts: Parts, content: bytes, study_uid: str = "", uid: str = "", reserve: int = 0) -> Identity:
    path = parts.spool.partial / "arriving"
    path.write_bytes(content)
    gate = ObjectGate(Intake(parts, "gateway", reserve), parts.metrics, lambda: None, "archive-with-a-long-name")
    return gate.take(path, study_uid, uid)


def test_object_is_in_the_spool_and_queued(parts: Parts) -> None:
    sent = radiograph()
    assert take(parts, encoded(sent)).sop_instance_uid == sent.SOPInstanceUID
    with parts.database.session() as session:
        instance = session.scalars(select(Instance)).one()
        assert session.scalars(select(Job.kind)).all() == ["score"]
    assert instance.calling_ae_title == "archive-with-a-l"
    assert parts.spool.path(instance.path).read_bytes() == encoded(sent)


def test_study_is_found_behind_a_long_element(parts: Parts) -> None:
    sent = radiograph()
    sent.add_new(0x00090010, "LO", "PRIVATE")
    sent.add_new(0x00091001, "OB", bytes(1 << 19))
    assert take(parts, encoded(sent)).study_uid == sent.StudyInstanceUID


def refusals() -> dict[str, tuple[bytes, str, str, int]]:
    sent = radiograph()
    plain, kind, syntax = encoded(sent), sent.SOPClassUID.encode(), b"1.2.840.10008.1.2.1\0"
    return {
        "sop_class": (encoded(radiograph(SOPClassUID=CTImageStorage)), "", "", 0x0122),
        "transfer_syntax": (plain.replace(syntax, b"1.2.840.10008.1.2.9\0"), "", "", 0xC122),
        "study_mismatch": (plain, generate_uid(), "", 0xA900),
        "uid_mismatch": (plain, "", generate_uid(), 0xA900),
        "bad_uid": (plain.replace(kind, b"x" * len(kind)), "", "", 0xC000),
        "not_dicom": (b"<html>" + bytes(500), "", "", 0xC000),
    }


@pytest.mark.parametrize(
    "code", ["sop_class", "transfer_syntax", "study_mismatch", "uid_mismatch", "bad_uid", "not_dicom"]
)
def test_refusal_has_a_code_and_the_failure_reason_of_the_standard(parts: Parts, code: str) -> None:
    content, study_uid, uid, reason = refusals()[code]
    with pytest.raises(RefusedObjectError) as raised:
        take(parts, content, study_uid, uid)
    assert (raised.value.code, raised.value.reason) == (code, reason)
    assert f'hospital_refused_total{{code="{code}"}} 1.0' in parts.metrics.exposition().decode()


def test_disk_reserve_is_temporary(parts: Parts) -> None:
    with pytest.raises(RefusedObjectError) as raised:
        take(parts, encoded(radiograph()), reserve=1 << 62)
    assert (raised.value.code, raised.value.is_temporary) == ("disk_reserve", True)


def test_database_that_is_away_is_temporary(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OperationalError("", {}, Exception())

    monkeypatch.setattr(Intake, "take", away)
    with pytest.raises(RefusedObjectError) as raised:
        take(parts, encoded(radiograph()))
    assert (raised.value.code, raised.value.is_temporary) == ("database", True)


def test_bytes_that_pydicom_cannot_read_are_refused(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(RefusedObjectError):
        take(parts, bytes(128) + b"DICM" + b"\xff" * 3000)
