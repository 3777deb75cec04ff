"""A gateway that starts on a full disk waits for space."""

import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from hospital import room
from hospital.config import Config
from hospital.database import Database
from hospital.gateway import open_parts
from hospital.reload import ProcessFile
from hospital.room import ToldToEndError, is_full, with_room
from tests.hospital.objects import radiograph
from tests.hospital.peers import RunningGateway, eventually, send
from tests.small_disk import mounted


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Mount a file system of 3 MiB; who waits for space looks often."""
    monkeypatch.setattr(room, "_WAIT_SECONDS", 0.02)
    with mounted(tmp_path / "disk", "3m") as found:
        yield found


def fill(disk: Path, name: str = "ballast") -> Path:
    """Take what is left of a disk, to the last byte."""
    ballast = disk / name
    ballast.parent.mkdir(parents=True, exist_ok=True)
    with ballast.open("wb") as file:
        left = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize)
    return ballast


def test_gateway_opens_once_the_disk_has_room(disk: Path) -> None:
    ballast = fill(disk)

    def is_ending() -> bool:
        ballast.unlink(missing_ok=True)
        return False

    process, parts = open_parts(Config(spool=disk / "spool"), is_ending)
    with parts.database.session() as session:
        assert session.scalar(text("SELECT value FROM settings WHERE name = 'schema'"))
    parts.database.close()
    process.close()


def test_what_a_killed_process_left_half_written_makes_room(disk: Path) -> None:
    fill(disk, "spool/partial/left.dcm")
    process, parts = open_parts(Config(spool=disk / "spool"), lambda: True)
    parts.database.close()
    process.close()


def test_gateway_that_waits_for_space_can_be_told_to_end(disk: Path) -> None:
    fill(disk)
    with pytest.raises(ToldToEndError):
        open_parts(Config(spool=disk / "spool"), lambda: True)


def test_reader_that_finds_no_room_for_the_index_of_the_log_says_that_the_disk_is_full(disk: Path) -> None:
    url = f"sqlite:///{disk}/gateway.db"
    database = Database(url)
    database.prepare()
    database.close()
    fill(disk)
    with pytest.raises(Exception, match="disk I/O error") as raised, Database(url).reading() as session:
        session.execute(text("SELECT 1 FROM settings"))
    assert is_full(raised.value)


def test_reload_is_noted_on_a_full_disk(disk: Path) -> None:
    process = ProcessFile(Config(spool=disk))
    process.announce()
    fill(disk)
    process.reloaded("refused")
    assert json.loads((disk / "gateway.process").read_text())["refused"] == "refused"
    process.close()


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), ValueError("no")])
def test_other_fault_is_not_waited_for(error: Exception) -> None:
    def step() -> None:
        raise error

    with pytest.raises(type(error)):
        with_room(step)


@pytest.mark.slow
@pytest.mark.parametrize("audited", [False, True])
def test_gateway_that_started_on_a_full_disk_receives_once_there_is_room(tmp_path: Path, audited: bool) -> None:
    with mounted(tmp_path / "disk", "20m") as disk:
        gateway = RunningGateway(tmp_path, None)
        audit = f'[audit]\nfolder = "{disk}/audit"\n' if audited else ""
        gateway.config.write_text(f'spool = "{disk}/spool"\n{gateway.config.read_text()}\n{audit}')
        ballast = fill(disk)
        gateway.begin()
        eventually(lambda: "waiting_for_space" in gateway.lines(), 120)
        assert gateway.process
        ballast.unlink()
        eventually(lambda: '"event": "ready"' in gateway.lines(), 120)
        assert send(gateway.port, radiograph()) == [0x0000]
        fill(disk)
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(60) == 0
        assert "Traceback" not in gateway.lines()


@pytest.mark.slow
def test_gateway_that_waits_for_space_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "3m") as disk:
        gateway = RunningGateway(tmp_path, None)
        gateway.config.write_text(f'spool = "{disk}/spool"\n{gateway.config.read_text()}')
        fill(disk)
        gateway.begin()
        eventually(lambda: "waiting_for_space" in gateway.lines(), 120)
        assert gateway.process
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(30) == 0
