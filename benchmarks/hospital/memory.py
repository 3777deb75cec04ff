"""`python -m benchmarks.hospital memory`: resident memory of the gateway while thousands of objects come in.

Scoring is off (the queue is paused), so that what is measured is the receiver, the spool and the database; the pool's
processes are not counted. With `--scored` the images are scored and delivered as well, at the model's pace.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

from pydicom.dataset import FileDataset

from benchmarks.hospital.gateway import Gateway, free_port
from benchmarks.hospital.journal import Journal
from benchmarks.hospital.objects import Study, draw_studies, released_bundle
from benchmarks.hospital.peers import Archive, Ledger, send
from benchmarks.measure import cores, warn_of_load

_STEPS = 20
_GROWTH_MB = 20.0
"""Most that the last fifth of a run may take over the second one: the first fills caches that stay."""
_SIDE = 64


class _Sending:
    """Associations side by side that share the studies."""

    def __init__(self, port: int, studies: list[Study], small: bool) -> None:
        self._port, self._small = port, small
        self._studies = iter(studies)
        self._lock = threading.Lock()
        self.done = 0

    def work(self) -> None:
        """Send until nothing is left."""
        while True:
            with self._lock:
                study = next(self._studies, None)
            if study is None:
                return
            send(self._port, (self._image(study, index) for index in range(study.count)), self._answered)

    def _image(self, study: Study, index: int) -> FileDataset:
        image = study.image(index)
        if self._small:
            image.Rows = image.Columns = _SIDE
            image.PixelData = image.PixelData[: _SIDE * _SIDE]
        return image

    def _answered(self, _: FileDataset, status: int | None) -> bool:
        if status != 0x0000:
            raise RuntimeError(f"a C-STORE was answered {status}")
        with self._lock:
            self.done += 1
        return True


def measure(objects: int, associations: int, scored: bool) -> bool:
    """Send, print the memory at each twentieth, and tell whether it stays flat."""
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        place = Path(folder)
        archive = Archive(Ledger("STEADY", Journal(place / "journal.jsonl")), free_port())
        gateway = Gateway(place, _tables(associations), [_destination(archive)] if scored else [])
        archive.open()
        try:
            gateway.start()
            gateway.wait_until_it_listens()
            if not scored:
                gateway.command("queue", "pause")
            found = _watched(gateway, objects, associations, scored)
        finally:
            gateway.stop()
            archive.close()
    fifth = len(found) // 5
    early, late = found[fifth : 2 * fifth], found[-fifth:]
    growth = sum(late) / fifth - sum(early) / fifth
    verdict = "met" if growth <= _GROWTH_MB else f"missed by {growth - _GROWTH_MB:.0f} MB"
    print(f"from the second fifth to the last {growth:+.1f} MB, at most {_GROWTH_MB:.0f}: {verdict}")
    return growth <= _GROWTH_MB


def _watched(gateway: Gateway, objects: int, associations: int, scored: bool) -> list[float]:
    sending = _Sending(gateway.port, list(draw_studies(objects, 20, views=4)), small=not scored)
    threads = [threading.Thread(target=sending.work, daemon=True) for _ in range(associations)]
    began = time.monotonic()
    print(f"       0 objects: {gateway.resident_mb():.0f} MB", flush=True)
    for thread in threads:
        thread.start()
    found: list[float] = []
    while sending.done < objects:
        if not any(thread.is_alive() for thread in threads):
            raise RuntimeError(f"sending ended after {sending.done} objects: {gateway.last_lines()}")
        time.sleep(0.2)
        if sending.done >= objects * (len(found) + 1) / _STEPS:
            found.append(gateway.resident_mb())
            print(f"{sending.done:>8} objects: {found[-1]:.0f} MB, {time.monotonic() - began:.0f} s", flush=True)
    return found


def _tables(associations: int) -> dict[str, dict[str, object]]:
    return {
        "receiver": {"port": free_port(), "max_associations": 4 * associations, "disk_reserve_mb": 64},
        "model": {"bundle": str(released_bundle()), "processes": cores()},
        "study": {"stable_seconds": 1},
        "operation": {"port": free_port()},
    }


def _destination(archive: Archive) -> dict[str, object]:
    name = archive.ledger.name
    return {"kind": "dicom", "name": name.lower(), "ae_title": name, "host": "127.0.0.1", "port": archive.port}


def main(options: list[str]) -> int:
    """The exit code: 0 where the memory stays flat."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hospital memory", description=__doc__)
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--scored", action="store_true", help="score and deliver as well; larger images, slower")
    given = parser.parse_args(options)
    warn_of_load()
    return 0 if measure(given.objects, given.associations, given.scored) else 1
