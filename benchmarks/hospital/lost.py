"""`python -m benchmarks.hospital lost`: whether anything is lost while the gateway is killed and destinations vanish.

Senders send studies of one to four images until each image is answered 0x0000. Meanwhile the gateway is killed with
SIGKILL at random moments, and one of its destinations is away half of the time; with `--disk-mb` the spool lies on a
small file system, which something else fills to the last byte again and again. A round of studies is let go after each
start, so that every kill meets images on their way in, in the model and on their way out.

After each kill the database and the files are looked at before the gateway starts again. At the end each acknowledged
image must have one effective report at each archive, and each destination must hold exactly what was made: one object
for each UID, with the same bytes however often it came. SIGKILL leaves the machine's page cache as it is, so a
loss of power is not shown: that fsync comes before 0x0000 stands in the code alone.

With `--folder` a run that was cut off goes on when the same command is given again.
"""

import argparse
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import FileDataset
from sqlalchemy.exc import OperationalError

from benchmarks.hospital.gateway import Gateway, free_port
from benchmarks.hospital.journal import Journal
from benchmarks.hospital.objects import Study, draw_studies, released_bundle
from benchmarks.hospital.peers import Archive, Ledger, Listener, send
from benchmarks.hospital.verdict import MESSAGES, Inspector, Looked, judge
from benchmarks.measure import cores, warn_of_load

_WHILE_IT_STARTS = 0.2
"""Share of the kills that may strike before the gateway listens."""
_LONGEST_LIFE = 8.0
_FLICKER_SECONDS = 10.0
_FULL_SECONDS, _FREE_SECONDS = 4.0, 8.0
_PATIENCE = 600.0
"""Without any progress, then the rest is called unfinished."""


@dataclass(frozen=True)
class Plan:
    """What a run is asked to do; a run that goes on has to be asked for the same."""

    objects: int
    associations: int
    kills: int
    seed: int
    disk_mb: int


class Senders:
    """Send studies, image by image, until each was answered 0x0000."""

    def __init__(self, port: int, journal: Journal, statuses: Counter[str]) -> None:
        self.acknowledged = {line["uid"] for line in journal.of("acknowledged")}
        self._port = port
        self._journal = journal
        self._statuses = statuses
        self._waiting: queue.Queue[Study] = queue.Queue()
        self._ending = threading.Event()

    def let_go(self, studies: list[Study]) -> None:
        """Put studies in that were not all acknowledged by an earlier run."""
        for study in studies:
            if self._left(study):
                self._waiting.put(study)

    def start(self, associations: int) -> None:
        """Begin, with as many associations at a time."""
        for _ in range(associations):
            threading.Thread(target=self._work, daemon=True).start()

    def end(self) -> None:
        """Send nothing more."""
        self._ending.set()

    def _left(self, study: Study) -> list[int]:
        return [index for index in range(study.count) if study.image_uid(index) not in self.acknowledged]

    def _work(self) -> None:
        while not self._ending.is_set():
            with suppress(queue.Empty):
                study = self._waiting.get(timeout=0.5)
                send(self._port, (study.image(index) for index in self._left(study)), self._answered)
                if self._left(study):
                    time.sleep(0.2)
                    self._waiting.put(study)

    def _answered(self, image: FileDataset, status: int | None) -> bool:
        self._statuses["no answer" if status is None else f"0x{status:04X}"] += 1
        if status != 0x0000:
            return False
        self._journal.add("acknowledged", uid=str(image.SOPInstanceUID))
        self.acknowledged.add(str(image.SOPInstanceUID))
        return True


class Run:
    """A gateway, its destinations and its senders in a folder."""

    def __init__(self, folder: Path, plan: Plan, ports: list[int]) -> None:
        receiver, operation, *others = ports
        self.plan = plan
        self.journal = Journal(folder / "journal.jsonl")
        names = ("STEADY", "SHAKY", MESSAGES)
        self.ledgers = [Ledger(name, self.journal) for name in names]
        self.steady, self.shaky = (
            Archive(ledger, port) for ledger, port in zip(self.ledgers, others[:2], strict=False)
        )
        self.listener = Listener(self.ledgers[2], others[2])
        self.gateway = Gateway(folder, _tables(plan, receiver, operation), list(_destinations(names, others)))
        self.statuses: Counter[str] = Counter()
        self.senders = Senders(receiver, self.journal, self.statuses)
        self.studies = list(draw_studies(plan.objects, plan.seed))
        self.inspector = Inspector(self.gateway.database(), folder / "spool", self.ledgers)
        self.problems: list[str] = [line for kill in self.journal.of("killed") for line in kill["problems"]]

    def go(self) -> None:
        """Send, kill, look, and wait for the end."""
        chance = random.Random(self.plan.seed)  # noqa: S311  moments, not secrets
        rounds = [self.studies[number :: self.plan.kills + 1] for number in range(self.plan.kills + 1)]
        done = len(self.journal.of("killed"))
        if done:
            print(f"goes on after kill {done}", flush=True)
        for studies in rounds[:done]:
            self.senders.let_go(studies)
        self.senders.start(self.plan.associations)
        self.gateway.start()
        for number, studies in enumerate(rounds[done:-1], done + 1):
            self.senders.let_go(studies)
            life = self._let_live(chance)
            self.gateway.kill(with_pool=bool(number % 2))
            self._look(number, life)
            self.gateway.start()
        self.senders.let_go(rounds[-1])
        self._wait()
        self.senders.end()

    def _let_live(self, chance: random.Random) -> float:
        """Wait for a random moment; the seconds at work, 0 where it was still starting."""
        if chance.random() < _WHILE_IT_STARTS:
            time.sleep(chance.uniform(0.1, _LONGEST_LIFE))
            return 0.0
        self.gateway.wait_until_it_listens()
        life = chance.uniform(0.1, _LONGEST_LIFE)
        time.sleep(life)
        return life

    def _look(self, number: int, life: float) -> None:
        acknowledged = set(self.senders.acknowledged)
        found = self._found(acknowledged)
        if found is None:
            print(f"kill {number}/{self.plan.kills}: there is nothing to look at yet", flush=True)
            return
        self.problems += found.problems
        self.journal.add("killed", number=number, life=round(life, 2), problems=found.problems)
        self._tell(f"kill {number}/{self.plan.kills} after {life:.1f} s at work", found)
        for line in found.problems:
            print(f"  {line}", flush=True)

    def _found(self, acknowledged: Collection[str]) -> Looked | None:
        """What the gateway holds; waits for a disk that is full, None where it has not made its database yet."""
        while True:
            try:
                return self.inspector.look(acknowledged)
            except OperationalError as error:
                nothing_yet = "no such table" in str(error) or "unable to open" in str(error)
                if nothing_yet and not acknowledged:
                    return None
                if not self.plan.disk_mb:
                    raise
                time.sleep(0.5)

    def _tell(self, moment: str, found: Looked) -> None:
        count = len(self.senders.acknowledged)
        print(f"{moment}: acknowledged {count}/{self.plan.objects}, {found.told()}", flush=True)

    def _wait(self) -> None:
        """Until everything was acknowledged, scored and delivered, or nothing moves any more."""
        self.gateway.wait_until_it_listens()
        moved, before = time.monotonic(), None
        while True:
            self.gateway.start_if_it_ended()
            found = self._found(())
            if found is None:
                continue
            state = (len(self.senders.acknowledged), found.told())
            if state != before:
                moved, before = time.monotonic(), state
                self._tell("at the end", found)
            if len(self.senders.acknowledged) == self.plan.objects and not found.unfinished and found.versions:
                return
            if time.monotonic() - moved > _PATIENCE:
                self.problems.append(f"unfinished: {found.unfinished} jobs, {found.told()}")
                return
            time.sleep(5)

    def judge(self) -> list[str]:
        """All problems, those of the kills included."""
        acknowledged = self.senders.acknowledged
        studies: dict[str, set[str]] = defaultdict(set)
        for study in self.studies:
            studies[study.uid] |= {study.image_uid(index) for index in range(study.count)} & acknowledged
        found = self.inspector.look(acknowledged)
        self._tell("all", found)
        return [*self.problems, *found.problems, *judge(self.ledgers, self.inspector.expected(), studies)]


def _tables(plan: Plan, receiver: int, operation: int) -> dict[str, dict[str, Any]]:
    reserve = 0 if plan.disk_mb else 64  # without one the disk fills up to the last byte
    return {
        "receiver": {"port": receiver, "max_associations": 4 * plan.associations, "disk_reserve_mb": reserve},
        "model": {"bundle": str(released_bundle()), "processes": cores()},
        "study": {"stable_seconds": 1},
        "delivery": {"first_wait_seconds": 0.5, "longest_wait_seconds": 3},
        "operation": {"port": operation},
    }


def _destinations(names: tuple[str, ...], ports: list[int]) -> Iterator[dict[str, Any]]:
    for name, port in zip(names, ports, strict=True):
        facts = {"name": name.lower(), "host": "127.0.0.1", "port": port, "timeout_seconds": 20}
        if name == MESSAGES:
            yield {"kind": "hl7", **facts}
        else:
            yield {"kind": "dicom", **facts, "ae_title": name, "commitment_seconds": 5}


def _flicker(archive: Archive, ending: threading.Event) -> None:
    """There for ten seconds, away for ten; there at the end."""
    while not ending.wait(_FLICKER_SECONDS):
        archive.close()
        ending.wait(_FLICKER_SECONDS)
        archive.open()


def _fill(disk: Path, ending: threading.Event) -> None:
    """Take the last byte of a disk for some seconds, again and again; free at the end."""
    ballast = disk / "ballast"
    while not ending.wait(_FREE_SECONDS):
        with suppress(OSError), ballast.open("wb") as file:
            block = bytes(1 << 16)
            deadline = time.monotonic() + _FULL_SECONDS
            while time.monotonic() < deadline:
                try:
                    file.write(block)
                    file.flush()
                except OSError:
                    block = block[: max(1, len(block) // 2)]
                    time.sleep(0.001)
        ballast.unlink(missing_ok=True)


@contextmanager
def _small_disk(place: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own in memory; needs the right to mount."""
    place.mkdir()
    mount = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run([shutil.which("umount") or "umount", "--lazy", str(place)], check=True)


def measure(folder: Path, plan: Plan) -> bool:
    """Run it, print what came of it, and tell whether nothing was lost."""
    began = time.monotonic()
    ending = threading.Event()
    run = Run(folder, plan, _ports(folder, plan))
    with ExitStack() as stack:
        if plan.disk_mb:
            stack.enter_context(_small_disk(folder / "spool", plan.disk_mb))
            threading.Thread(target=_fill, args=(folder / "spool", ending), daemon=True).start()
        for destination in (run.steady, run.shaky, run.listener):
            destination.open()
        flicker = threading.Thread(target=_flicker, args=(run.shaky, ending), daemon=True)
        flicker.start()
        stack.callback(run.gateway.stop)
        stack.callback(ending.set)
        run.go()
        problems = run.judge()
    _report(run, problems, time.monotonic() - began)
    run.journal.close()
    return not problems


def _report(run: Run, problems: list[str], seconds: float) -> None:
    plan = run.plan
    print(
        f"\n{plan.objects} objects of {len(run.studies)} studies, {plan.associations} associations, {plan.kills} kills"
        f"{f', a disk of {plan.disk_mb} MB that fills up' if plan.disk_mb else ''}: {seconds:.0f} s"
    )
    print("answers to C-STORE: " + ", ".join(f"{status} {count}" for status, count in sorted(run.statuses.items())))
    for ledger in run.ledgers:
        print(f"{ledger.name}: {len(ledger.digests)} objects or messages, {ledger.repeats} repetitions on the wire")
    if run.gateway.ended_alone:
        print(f"the gateway ended by itself and was started again {run.gateway.ended_alone} times")
    for line in problems:
        print(f"PROBLEM {line}")
    print("SOMETHING WAS LOST" if problems else "nothing was lost")


def _ports(folder: Path, plan: Plan) -> list[int]:
    """The ports of an earlier run in this folder, or new ones; SystemExit where it was asked for something else."""
    path = folder / "plan.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["plan"] != asdict(plan):
            raise SystemExit(f"error: {folder} holds a run with other options; name another folder")
        return list(before["ports"])
    ports: list[int] = []
    while len(ports) < 5:
        ports = list({*ports, free_port()})
    path.write_text(json.dumps({"plan": asdict(plan), "ports": ports}), encoding="utf-8")
    return ports


def main(options: list[str]) -> int:
    """The exit code: 0 where nothing was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hospital lost", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--associations", type=int, default=8)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--disk-mb", type=int, default=0, help="put the spool on a file system of this size (as root)")
    parser.add_argument("--folder", type=Path, help="keep everything there, so that a run that is cut off goes on")
    given = parser.parse_args(options)
    if given.disk_mb and (os.geteuid() != 0 or given.folder):
        print("error: --disk-mb mounts a file system: it needs root, and goes without --folder", file=sys.stderr)
        return 2
    plan = Plan(given.objects, given.associations, given.kills, given.seed, given.disk_mb)
    warn_of_load()
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nothing-lost-")))
        folder.mkdir(parents=True, exist_ok=True)
        return 0 if measure(folder.absolute(), plan) else 1
