"""`python -m benchmarks.hospital throughput`: rate of C-STORE beside a bare loop, seconds to the confirmed delivery.

The bare loop is pynetdicom's server with a handler that writes the bytes as they came, with the gateway's fsyncs (file,
then folder) and one SQLite commit an object (WAL, synchronous FULL); it offers PDUs of the same size. Both run in a
process of their own and take turns; the same objects are sent to both by associations side by side. The gateway is
measured with its queue paused (scoring off) and with scoring on.

Then studies of three images are sent one by one to an idle gateway, which reports to an archive that commits after
0.05 s: from the last C-STORE to the confirmed delivery, with `stable_seconds` as given.
"""

import argparse
import multiprocessing
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from pydicom.dataset import FileDataset
from pynetdicom import AE, evt
from sqlalchemy import select

from benchmarks.hospital.gateway import Gateway, free_port
from benchmarks.hospital.journal import Journal
from benchmarks.hospital.objects import Study, draw_studies, released_bundle
from benchmarks.hospital.peers import Archive, Ledger, send
from benchmarks.measure import cores, machine, ratios, spread, take_turns, verdict, warn_of_load
from hospital.bounded import MAX_PDU
from hospital.database import Job, Version
from hospital.receiver import STORED
from serving.imaging.dicom import DECODERS

_VIEWS = 3
_TARGET, _TARGET_SECONDS = 0.8, 10.0


class _BareLoop:
    """What a store loop cannot do without, if an object is to survive a loss of power."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._database = sqlite3.connect(folder / "bare.db", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE objects (uid TEXT PRIMARY KEY, path TEXT)")

    def store(self, event: evt.Event) -> int:
        """Answer a C-STORE."""
        uid = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]
        partial, path = self._folder / f"{uid}.part", self._folder / uid
        with partial.open("wb") as file:
            file.write(event.encoded_dataset())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        handle = os.open(self._folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO objects VALUES (?, ?)", (uid, str(path)))
        return 0x0000


def _serve_bare(folder: Path, port: int, ready: Event, ending: Event) -> None:
    """In a process of its own."""
    entity = AE("FRACTURE")
    entity.maximum_associations, entity.maximum_pdu_size = 64, MAX_PDU
    for sop_class in STORED:
        entity.add_supported_context(sop_class, list(DECODERS))
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, _BareLoop(folder).store)])
    ready.set()
    ending.wait()


@contextmanager
def _bare_loop(folder: Path) -> Iterator[int]:
    """The bare loop's port."""
    context = multiprocessing.get_context("spawn")
    ready, ending, port = context.Event(), context.Event(), free_port()
    folder.mkdir()
    process = context.Process(target=_serve_bare, args=(folder, port, ready, ending), daemon=True)
    process.start()
    ready.wait(60)
    yield port
    ending.set()
    process.join(30)


@contextmanager
def _gateway(
    folder: Path, paused: bool = False, stable_seconds: float = 1, archive: Archive | None = None
) -> Iterator[Gateway]:
    folder.mkdir()
    tables: dict[str, dict[str, Any]] = {
        "receiver": {"port": free_port(), "max_associations": 64, "disk_reserve_mb": 64},
        "model": {"bundle": str(released_bundle()), "processes": cores()},
        "study": {"stable_seconds": stable_seconds},
        "operation": {"port": free_port()},
    }
    destination = archive and {
        "kind": "dicom", "name": "archive", "ae_title": archive.ledger.name, "host": "127.0.0.1", "port": archive.port,
    }  # fmt: skip
    gateway = Gateway(folder, tables, [destination] if destination else [])
    gateway.start()
    try:
        gateway.wait_until_it_listens()
        if paused:
            gateway.command("queue", "pause")
        yield gateway
    finally:
        gateway.stop()


class _Load:
    """Sends new objects each time, by associations side by side; every object has to be answered 0x0000."""

    def __init__(self, objects: int, associations: int) -> None:
        self._objects, self._associations = objects, associations
        self._turn = 0

    def told(self, name: str, port: int) -> Callable[[], None]:
        """What sends a turn's objects to a port, and shows its rate as progress."""
        send_all = self.to(port)

        def turn() -> None:
            began = time.perf_counter()
            send_all()
            rate = self._objects / (time.perf_counter() - began)
            print(f"  {name}: {rate:.0f} objects a second", file=sys.stderr, flush=True)

        return turn

    def to(self, port: int) -> Callable[[], None]:
        """What sends a turn's objects to a port."""
        return lambda: self._send(port)

    def _send(self, port: int) -> None:
        self._turn += 1
        each = self._objects // self._associations
        studies = list(draw_studies(each * self._associations, 100 + self._turn, views=each))
        answered: list[int | None] = []
        threads = [threading.Thread(target=_sent, args=(port, study, answered)) for study in studies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = Counter(answered)
        if told != {0x0000: each * self._associations}:
            raise RuntimeError(f"not every object was answered 0x0000: {dict(told)}")


def _sent(port: int, study: Study, answered: list[int | None]) -> None:
    def heard(_: FileDataset, status: int | None) -> bool:
        answered.append(status)
        return True

    send(port, (study.image(index) for index in range(study.count)), heard)


def rates(objects: int, associations: int, rounds: int) -> None:
    """Print the gateway's rate over that of the bare loop."""
    load = _Load(objects, associations)
    with (
        tempfile.TemporaryDirectory(prefix="throughput-") as folder,
        _bare_loop(Path(folder) / "bare") as bare,
        _gateway(Path(folder) / "off", paused=True) as off,
    ):
        seconds = take_turns({"bare": load.told("bare", bare), "off": load.told("off", off.port)}, rounds)
        # Scoring takes the cores, so that its turns would disturb the others.
        with _gateway(Path(folder) / "on") as on:
            seconds |= take_turns({"on": load.told("on", on.port)}, rounds)
    for name, text in (("bare", "bare loop"), ("off", "gateway, scoring off"), ("on", "gateway, scoring on")):
        print(f"{text:<22} {spread([objects / each for each in seconds[name]])} objects a second")
    found = ratios(seconds["bare"], seconds["off"])
    print(f"scoring off over bare  {spread(found)} {verdict(found, _TARGET)}")
    both = ratios(seconds["bare"], seconds["on"])
    print(f"scoring on over bare   {spread(both)}")


def latency(studies: int, stable_seconds: float) -> None:
    """Print the seconds from the last C-STORE of a study to its confirmed delivery."""
    with tempfile.TemporaryDirectory(prefix="latency-") as folder:
        archive = Archive(Ledger("ARCHIVE", Journal(Path(folder) / "journal.jsonl")), free_port())
        archive.open()
        try:
            with _gateway(
                Path(folder) / "gateway", paused=False, stable_seconds=stable_seconds, archive=archive
            ) as one:
                drawn = list(draw_studies(_VIEWS * (studies + 1), 7, views=_VIEWS))
                found = [_delivered(one, study) for study in drawn][1:]  # the first one warms up
        finally:
            archive.close()
    found.sort()
    late = found[min(len(found) - 1, round(0.95 * len(found)))]
    missed = "met" if late <= _TARGET_SECONDS else f"missed by {late - _TARGET_SECONDS:.1f}"
    print(
        f"last C-STORE to confirmed delivery, {len(found)} studies of {_VIEWS} images, quiet for {stable_seconds:g} s:"
    )
    print(f"median {statistics.median(found):.1f} s, longest {found[-1]:.1f} s, ", end="")
    print(f"p95 {late:.1f} s <= {_TARGET_SECONDS:.0f}: {missed}")


def _delivered(gateway: Gateway, study: Study) -> float:
    answered: list[int | None] = []
    _sent(gateway.port, study, answered)
    last = time.time()
    if answered != [0x0000] * study.count:
        raise RuntimeError(f"a study was answered {answered}: {gateway.last_lines()}")
    print(f"  study {study.number} sent", file=sys.stderr, flush=True)
    database = gateway.database()
    try:
        while True:
            with database.reading() as session:
                done: Any = session.scalar(
                    select(Job.done_at)
                    .join(Version, Version.id == Job.subject)
                    .where(Job.kind == "deliver", Job.state == "done", Version.study_uid == study.uid)
                )
            if done:
                return float(done) - last
            if time.time() - last > 300:
                raise RuntimeError(f"a study was not delivered: {gateway.last_lines()}")
            time.sleep(0.2)
    finally:
        database.close()


def main(options: list[str]) -> int:
    """Print the figures; the exit code is 0 whatever they are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hospital throughput", description=__doc__)
    parser.add_argument("--objects", type=int, default=160, help="in each turn")
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--studies", type=int, default=40, help="for the latency")
    parser.add_argument("--stable-seconds", type=float, default=2.0)
    parser.add_argument("--only", choices=("rates", "latency"))
    given = parser.parse_args(options)
    print(machine(["pynetdicom", "pydicom", "SQLAlchemy"]))
    warn_of_load()
    if given.only != "latency":
        rates(given.objects, given.associations, given.rounds)
    if given.only != "rates":
        latency(given.studies, given.stable_seconds)
    return 0
