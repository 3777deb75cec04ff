"""A disk that fills up while an object comes in."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hospital.arriving import ArrivingFile
from hospital.parts import Parts
from hospital.spool import Spool
from tests.hospital.conftest import Listen
from tests.hospital.objects import radiograph
from tests.hospital.peers import eventually, send
from tests.small_disk import mounted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 2 MiB."""
    with mounted(tmp_path / "disk", "2m") as disk:
        yield disk


@pytest.fixture
def on_small_disk(small_disk: Path, parts: Parts) -> Parts:
    """Lay the spool on the small disk; the database stays elsewhere."""
    spool = Spool(small_disk / "spool")
    spool.prepare()
    object.__setattr__(parts, "spool", spool)
    return parts


def test_full_disk_answers_out_of_resources_and_recovers(listen: Listen, on_small_disk: Parts) -> None:
    receiver = listen()
    assert send(receiver.port, radiograph(PixelData=bytes(3 << 20)), radiograph()) == [0xA700, 0x0000]


def test_object_that_did_not_fit_leaves_nothing_on_the_disk(listen: Listen, on_small_disk: Parts) -> None:
    free = on_small_disk.spool.free_bytes()
    send(listen().port, radiograph(PixelData=bytes(3 << 20)))
    eventually(lambda: not list(on_small_disk.spool.partial.iterdir()), 20)
    assert on_small_disk.spool.free_bytes() == free


def test_disk_without_room_for_a_single_byte_answers_out_of_resources(listen: Listen, on_small_disk: Parts) -> None:
    receiver = listen()
    ballast = on_small_disk.spool.root / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, on_small_disk.spool.free_bytes())
    assert send(receiver.port, radiograph()) == [0xA700]
    ballast.unlink()
    assert send(receiver.port, radiograph()) == [0x0000]


def test_reserve_is_looked_at_while_an_object_comes_in(tmp_path: Path) -> None:
    file = ArrivingFile(tmp_path, lambda: False)
    for _ in range(5):
        file.write(bytes(1 << 20))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="No space left"):
        file.close()


def test_fault_is_raised_once(tmp_path: Path) -> None:
    file = ArrivingFile(tmp_path / "missing", lambda: True)
    file.write(b"ab")
    with pytest.raises(FileNotFoundError):
        file.close()
    file.close()
