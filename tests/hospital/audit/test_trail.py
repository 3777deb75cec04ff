"""The trail keeps events on the disk, and hands them on in order and without a gap."""

import os
import stat
from pathlib import Path

import pytest

from hospital.audit import messages
from hospital.audit.settings import Audit
from hospital.audit.trail import AuditTrail
from hospital.errors import HospitalError
from tests.hospital.audit.reading import tree


class Collector:
    """Takes lines until it is told to be away."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.room = 1000

    def send(self, line: bytes) -> None:
        if len(self.lines) >= self.room:
            raise ConnectionRefusedError
        self.lines.append(line)

    def close(self) -> None:
        """Keep nothing open."""


def opened(folder: Path, collector: Collector | None = None) -> AuditTrail:
    trail = AuditTrail(Audit(folder=folder / "audit", site="Hospital"), "gateway")
    trail.prepare()
    trail._sender = collector  # type: ignore[assignment]
    return trail


def record(trail: AuditTrail, *users: str) -> None:
    trail.record(*[messages.authentication(user, "192.0.2.1", "gateway") for user in users])


def lines(trail: AuditTrail) -> list[bytes]:
    return [line for path in sorted(trail.folder.glob("audit-*.log")) for line in path.read_bytes().splitlines()]


def test_each_event_is_a_line_with_its_message(tmp_path: Path) -> None:
    trail = opened(tmp_path)
    record(trail, "a", "b")
    people = [tree(line.partition(b"\xef\xbb\xbf")[2])[1] for line in lines(trail)]
    assert [one.get("UserID") for one in people] == ["a", "b"]


def test_line_has_the_header_that_the_profile_asks_for(tmp_path: Path) -> None:
    trail = opened(tmp_path)
    record(trail, "a")
    assert lines(trail)[0].startswith(b"<85>1 20")
    assert b" DICOM+RFC3881 - \xef\xbb\xbf<?xml" in lines(trail)[0]


def test_failure_is_a_warning(tmp_path: Path) -> None:
    trail = opened(tmp_path)
    trail.record(messages.authentication("a", "192.0.2.1", "gateway", outcome=messages.MINOR_FAILURE))
    assert lines(trail)[0].startswith(b"<84>1 ")


def test_only_the_gateway_reads_the_trail(tmp_path: Path) -> None:
    trail = opened(tmp_path)
    record(trail, "a")
    (path,) = trail.folder.glob("*.log")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(trail.folder.stat().st_mode) == 0o700


def test_trail_that_cannot_be_written_raises(tmp_path: Path) -> None:
    trail = opened(tmp_path)
    trail.folder.rmdir()
    with pytest.raises(OSError, match="No such file"):
        record(trail, "a")


def test_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = opened(tmp_path)
    record(trail, "a")
    write = os.write
    monkeypatch.setattr("hospital.audit.trail.os.write", lambda handle, content: write(handle, content[:10]))
    with pytest.raises(OSError, match="No space"):
        record(trail, "b")
    monkeypatch.setattr("hospital.audit.trail.os.write", write)
    record(trail, "c")
    assert len(lines(trail)) == 2


def test_half_line_that_a_crash_left_spoils_no_other(tmp_path: Path) -> None:
    trail = opened(tmp_path)
    record(trail, "a")
    (path,) = trail.folder.glob("*.log")
    path.write_bytes(path.read_bytes() + b"<85>1 half")
    record(trail, "b")
    assert [line.startswith(b"<85>1 20") for line in lines(trail)] == [True, False, True]


def test_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file")
    with pytest.raises(HospitalError, match=r"audit\.folder: .*name a folder of its own"):
        opened(tmp_path)


def test_lines_go_on_in_order_and_once(tmp_path: Path) -> None:
    collector = Collector()
    trail = opened(tmp_path, collector)
    record(trail, "a", "b")
    assert trail.forward()
    assert not trail.forward()
    record(trail, "c")
    assert trail.forward()
    assert collector.lines == lines(trail)


def test_collection_point_that_was_away_gets_the_rest(tmp_path: Path) -> None:
    collector = Collector()
    trail = opened(tmp_path, collector)
    record(trail, *"abcde")
    collector.room = 2
    assert not trail.forward()
    collector.room = 1000
    assert trail.forward()
    assert collector.lines == lines(trail)


def test_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    record(opened(tmp_path), "a")
    first, second = Collector(), Collector()
    opened(tmp_path, first).forward()
    record(opened(tmp_path), "b")
    trail = opened(tmp_path, second)
    trail.forward()
    assert first.lines + second.lines == lines(trail)


def test_file_of_yesterday_goes_first(tmp_path: Path) -> None:
    collector = Collector()
    trail = opened(tmp_path, collector)
    record(trail, "a")
    (trail.folder / "audit-2001-01-01.log").write_bytes(b"old\n")
    while trail.forward():
        pass
    assert collector.lines == [b"old", *lines(trail)[1:]]


def test_line_that_is_still_being_written_waits(tmp_path: Path) -> None:
    collector = Collector()
    trail = opened(tmp_path, collector)
    (trail.folder / "audit-2001-01-01.log").write_bytes(b"whole\nhal")
    trail.forward()
    assert collector.lines == [b"whole"]


def test_without_a_collection_point_nothing_goes_on(tmp_path: Path) -> None:
    trail = opened(tmp_path)
    record(trail, "a")
    assert not trail.forward()


def test_collection_point_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    settings = Audit(folder=tmp_path, syslog="udp://256.256.256.256:514")
    with pytest.raises(HospitalError, match=r"audit\.syslog: the collection point does not answer"):
        AuditTrail(settings, "gateway").connect()
