"""What a gateway keeps that is killed again and again, while its destinations come and go.

Senders send until each object is answered 0x0000, while the gateway is killed with SIGKILL at random moments and one of
two destinations is away half of the time. At the end every acknowledged object must have one result, and each
destination every object of these results exactly once by UID; repetitions on the wire are counted.
"""

import argparse
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import StoragePresentationContexts
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance  # type: ignore[attr-defined]
from sqlalchemy import func, select

from hospital.database import Database, Instance, Job, Result, Version
from hospital.demo import studies
from serving.bundle import find_default

_ROOT = Path(__file__).parents[2]
_AT_WORK = 0.8
"""Share of the kills that wait until the gateway is at work; the others may strike while it starts."""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Archive:
    """A destination that commits to what it keeps; it forgets nothing while it is away."""

    ae_title: str
    port: int = field(default_factory=_free_port)
    received: Counter[str] = field(default_factory=Counter)
    _server: object = None

    def open(self) -> None:
        """Listen."""
        entity = AE(self.ae_title)
        entity.maximum_associations = 50
        for context in StoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax or "")
        entity.add_supported_context(StorageCommitmentPushModel)
        handlers: list[object] = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._commit)]
        self._server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)  # type: ignore[arg-type]

    def close(self) -> None:
        """Go away."""
        self._server.shutdown()  # type: ignore[attr-defined]

    def _store(self, event: evt.Event) -> int:
        self.received[str(event.request.AffectedSOPInstanceUID)] += 1  # type: ignore[union-attr]
        return 0x0000

    def _commit(self, event: evt.Event) -> tuple[int, None]:
        threading.Thread(target=self._report, args=(event.assoc, event.action_information), daemon=True).start()
        return 0x0000, None

    def _report(self, association: object, asked: pydicom.Dataset) -> None:
        time.sleep(0.05)
        told = pydicom.Dataset()
        told.TransactionUID, told.ReferencedSOPSequence = asked.TransactionUID, asked.ReferencedSOPSequence
        association.send_n_event_report(  # type: ignore[attr-defined]
            told, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )


class Gateway:
    """The process under test, and its killer."""

    def __init__(self, folder: Path, archives: list[Archive], bundle: Path) -> None:
        self.folder, self.port = folder, _free_port()
        lines = [f'[receiver]\nport = {self.port}\nmax_associations = 32\ndisk_reserve_mb = 16',
                 f'[model]\nbundle = "{bundle}"', "[study]\nstable_seconds = 0.5",
                 "[delivery]\nfirst_wait_seconds = 0.5\nlongest_wait_seconds = 3",
                 f"[operation]\nport = {_free_port()}"]  # fmt: skip
        lines += [
            f'[[destinations]]\nkind = "dicom"\nname = "{one.ae_title.lower()}"\nae_title = "{one.ae_title}"\n'
            f'host = "127.0.0.1"\nport = {one.port}\ntimeout_seconds = 10\ncommitment_seconds = 10'
            for one in archives
        ]
        (folder / "hospital.toml").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it takes seconds until it listens."""
        command = [sys.executable, "-m", "hospital", "--config", str(self.folder / "hospital.toml")]
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log, start_new_session=True)

    def wait_until_it_listens(self) -> None:
        """Return once it takes connections."""
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """End it and the processes of its pool as a loss of power would."""
        assert self.process is not None  # noqa: S101
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def database(self) -> Database:
        """What it remembers."""
        return Database(f"sqlite:///{self.folder}/spool/gateway.db")


def _objects(count: int, bundle: Path) -> list[pydicom.Dataset]:
    """Synthetic radiographs, each a study of its own."""
    drawn = list(studies(bundle))
    found: list[pydicom.Dataset] = []
    for number in range(count):
        made = pydicom.dcmread(_encoded(drawn[number % len(drawn)]))
        made.SOPInstanceUID, made.SeriesInstanceUID, made.StudyInstanceUID = (generate_uid() for _ in range(3))
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.PatientID = f"LOST-{number}"
        found.append(made)
    return found


def _encoded(dataset: pydicom.Dataset) -> pydicom.filebase.DicomBytesIO:
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    buffer.seek(0)
    return buffer


def _send_all(port: int, waiting: "queue.Queue[pydicom.Dataset]", acknowledged: set[str]) -> None:
    """Send until nothing waits; what was not answered 0x0000 is sent again."""
    while True:
        try:
            one = waiting.get_nowait()
        except queue.Empty:
            return
        entity = AE("SENDER")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
        entity.add_requested_context(one.SOPClassUID, one.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", port, ae_title="FRACTURE")
        status = None
        if association.is_established:
            try:
                status = association.send_c_store(one).get("Status")
                association.release()
            except (RuntimeError, ValueError):
                status = None
        if status == 0x0000:
            acknowledged.add(str(one.SOPInstanceUID))
        else:
            waiting.put(one)
            time.sleep(0.2)


def measure(objects: int, associations: int, kills: int, seed: int) -> bool:
    """Run it, print what came of it, and tell whether nothing was lost."""
    chance = random.Random(seed)  # noqa: S311  moments, not secrets
    bundle = find_default(_ROOT)
    steady, shaky = Archive("STEADY"), Archive("SHAKY")
    ending = threading.Event()
    with tempfile.TemporaryDirectory(prefix="nothing-lost-") as folder:
        gateway = Gateway(Path(folder), [steady, shaky], bundle)
        steady.open()
        waiting: queue.Queue[pydicom.Dataset] = queue.Queue()
        for one in _objects(objects, bundle):
            waiting.put(one)
        acknowledged: set[str] = set()
        started = time.monotonic()
        threads = [threading.Thread(target=_flicker, args=(shaky, ending), daemon=True)]
        threads += [
            threading.Thread(target=_send_all, args=(gateway.port, waiting, acknowledged), daemon=True)
            for _ in range(associations)
        ]
        gateway.start()
        for thread in threads:
            thread.start()
        for _ in range(kills):
            if chance.random() < _AT_WORK:
                gateway.wait_until_it_listens()
            time.sleep(chance.uniform(0.1, 10))
            gateway.kill()
            gateway.start()
        for thread in threads[1:]:
            thread.join()
        while _unfinished(gateway) and gateway.process is not None and gateway.process.poll() is None:
            time.sleep(1)
        ending.set()
        seconds = time.monotonic() - started
        good = _judge(gateway, [steady, shaky], acknowledged)
        gateway.kill()
        print(f"{objects} objects, {associations} associations, {kills} kills: {seconds:.0f} s")
        return good


def _flicker(archive: Archive, ending: threading.Event) -> None:
    """There for ten seconds, away for ten; there at the end."""
    while not ending.is_set():
        archive.open()
        ending.wait(10)
        archive.close()
        ending.wait(10)


def _unfinished(gateway: Gateway) -> int:
    database = gateway.database()
    with database.session() as session:
        found = session.scalar(select(func.count()).select_from(Job).where(Job.state.in_(("waiting", "leased"))))
    database.close()
    return found or 0


def _judge(gateway: Gateway, archives: list[Archive], acknowledged: set[str]) -> bool:
    database = gateway.database()
    with database.session() as session:
        kept = set(session.scalars(select(Instance.sop_instance_uid)))
        results = set(session.scalars(select(Result.sop_instance_uid)))
        versions = Counter(session.scalars(select(Version.study_uid)))
        states = Counter(session.scalars(select(Job.state)))
    database.close()
    lost = acknowledged - kept
    print(f"acknowledged {len(acknowledged)}, of them unknown to the gateway {len(lost)}")
    print(f"studies with a result {len(versions)}, with more than one {sum(n > 1 for n in versions.values())}")
    print("jobs " + ", ".join(f"{state} {count}" for state, count in sorted(states.items())))
    good = not lost and len(versions) == len(acknowledged) and set(states) == {"done"} and set(versions.values()) == {1}
    for archive in archives:
        missing, foreign = results - set(archive.received), set(archive.received) - results
        repeats = sum(archive.received.values()) - len(archive.received)
        print(
            f"{archive.ae_title}: {len(archive.received)} objects, missing {len(missing)}, "
            f"of no result {len(foreign)}, repetitions on the wire {repeats}"
        )
        good = good and not missing and not foreign
    print("nothing was lost" if good else "SOMETHING WAS LOST")
    return good


def main() -> int:
    """The exit code: 0 where nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--associations", type=int, default=8)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=16)
    given = parser.parse_args()
    return 0 if measure(given.objects, given.associations, given.kills, given.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
