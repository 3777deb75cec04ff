"""A gateway that starts on a full disk waits for space."""

import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from hospital import retention, room
from hospital.audit.settings import Audit
from hospital.audit.trail import AuditTrail
from hospital.audit.watcher import AuditWatcher
from hospital.config import Config, Operation, Receiver, Secrets
from hospital.database import Database
from hospital.gateway import Gateway, open_parts
from hospital.queue import Queue
from hospital.reload import ProcessFile
from hospital.room import ToldToEndError, is_full, with_room
from hospital.spool import Spool
from tests.hospital.conftest import Scorer
from tests.hospital.objects import radiograph
from tests.hospital.peers import RunningGateway, eventually, send
from tests.ports import free_port
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


@pytest.mark.parametrize(("owner", "name"), [(ProcessFile, "announce"), (Database, "prepare")])
def test_disk_that_is_full_by_the_time_of_a_step_is_waited_for(
    disk: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    step, ballast = getattr(owner, name), disk / "ballast"
    waited: list[str] = []

    def filled(self: object) -> None:
        if not waited:
            fill(disk)
        step(self)

    def is_ending() -> bool:
        waited.append(name)
        ballast.unlink()
        return False

    monkeypatch.setattr(owner, name, filled)
    process, parts = open_parts(Config(spool=disk / "spool"), is_ending)
    parts.database.close()
    process.close()
    assert waited == [name]


STEPS: list[tuple[object, str]] = [
    (Spool, "prepare"),
    (ProcessFile, "__init__"),
    (ProcessFile, "announce"),
    (Database, "prepare"),
    (AuditTrail, "prepare"),
    (AuditWatcher, "prepare"),
    (Queue, "release_own"),
    (retention, "sweep"),
    (AuditTrail, "record"),
]
"""What a start writes."""


@pytest.mark.usefixtures("listen")  # puts back what a receiver changes for its whole process
@pytest.mark.parametrize(("owner", "name"), STEPS)
def test_start_waits_for_space_at_each_of_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scorer: Scorer, owner: object, name: str
) -> None:
    monkeypatch.setattr(room, "_WAIT_SECONDS", 0.02)
    monkeypatch.setattr("hospital.gateway.open_scorer", lambda *_: scorer)
    step, tried = getattr(owner, name), []

    def full_at_first(*given: object) -> object:
        tried.append(name)
        if len(tried) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return step(*given)

    monkeypatch.setattr(owner, name, full_at_first)
    ports = {"receiver": Receiver(port=free_port()), "operation": Operation(port=free_port())}
    config = Config.model_validate({"spool": tmp_path / "spool", "audit": Audit(folder=tmp_path / "audit"), **ports})
    started = Gateway(config, Secrets())
    try:
        started.start()
        assert len(tried) >= 2
    finally:
        started.close()


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


def test_reload_is_noted_where_others_take_what_is_given_back(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = os.ftruncate

    def cut_and_fill(file: int, length: int) -> None:
        cut(file, length)
        fill(disk, f"ballast-{length}")

    process = ProcessFile(Config(spool=disk))
    process.announce()
    fill(disk)
    monkeypatch.setattr(os, "ftruncate", cut_and_fill)
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
