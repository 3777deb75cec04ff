"""The gateway as one process: receiver, workers and the port of its operation."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hospital import logs, queue, retention
from hospital.audit import messages
from hospital.audit.trail import AuditTrail
from hospital.audit.watcher import AuditWatcher
from hospital.config import MIB, Config, Destination, Dicom, Fhir, Hl7, Secrets
from hospital.database import Database, now
from hospital.delivery import Sender
from hospital.delivery.dimse import DicomSender
from hospital.delivery.fhir import FhirSender
from hospital.delivery.hl7 import Hl7Sender
from hospital.delivery.stow import StowSender
from hospital.delivery.worker import CommitmentLedger, Deliverer
from hospital.images import ImageWorker
from hospital.intake import Intake
from hospital.metrics import Metrics
from hospital.parts import Parts
from hospital.queue import Backoff, Queue
from hospital.receiver import CommitmentReport, DicomReceiver
from hospital.scoring import Scorer
from hospital.scoring.pool import PoolScorer
from hospital.scoring.service import ServiceScorer
from hospital.spool import Spool
from hospital.studies import Assembler
from serving import bundle as bundles

_IDLE_SECONDS = 0.5
_PURGE_SECONDS = 60.0
_ROOT = Path(__file__).parents[1]


class Gateway:
    """Everything that runs, started and stopped together."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._ending = threading.Event()
        self._bell = threading.Event()
        self._purged_at = time.monotonic()
        self.config = config
        self.parts = self._opened(config)
        self.trail = open_trail(config)
        self.scorer = open_scorer(config, secrets)
        self._ledger = CommitmentLedger(self.parts.database, self.parts.metrics, self._bell)
        intake = Intake(self.parts, config.name, config.receiver.disk_reserve_mb * MIB)
        self.receiver = DicomReceiver(config.receiver, intake, self.parts, self._bell.set, self._ledger)
        self._threads = [
            threading.Thread(target=self._loop, args=(step,), name=name, daemon=True)
            for name, step in self._workers(secrets)
        ]

    @staticmethod
    def _opened(config: Config) -> Parts:
        """Spool and database, ready for use; HospitalError where they cannot be."""
        spool, database = Spool(config.spool), Database(config.database_url)
        spool.prepare()
        database.prepare()
        wait = config.delivery
        backoff = Backoff(wait.first_wait_seconds, wait.longest_wait_seconds, wait.dead_after_hours * 3600)
        owner = f"{config.name}-{os.getpid()}-{os.urandom(4).hex()}"
        jobs = Queue(database, config.name, owner, config.operation.lease_seconds, backoff)
        return Parts(database, jobs, spool, Metrics())

    def start(self) -> None:
        """Take up what an earlier process left, and begin to receive."""
        freed = self.parts.queue.release_own()
        retention.sweep(self.parts)
        for thread in self._threads:
            thread.start()
        self.receiver.start()
        self._note(starts=True)
        logs.event(
            "ready", port=self.receiver.port, model=self.scorer.model.name, version=self.scorer.model.version,
            taken_up=freed,
        )  # fmt: skip

    def close(self) -> None:
        """Stop to receive, let each worker end its step, and leave the rest to the next start."""
        self._ending.set()
        self._bell.set()
        self.receiver.close()
        for thread in self._threads:
            if thread.ident is not None:  # a start that failed before has none
                thread.join(30)
        self._note(starts=False)
        self.scorer.close()
        self.parts.database.close()
        logs.event("ended")

    def observe(self) -> bytes:
        """The metrics of this moment as text."""
        with self.parts.database.session() as session:
            self.parts.metrics.jobs.clear()
            for (kind, destination, state), count in queue.counts(session).items():
                self.parts.metrics.jobs.labels(kind, destination, state).set(count)
            oldest = queue.oldest_waiting(session)
        self.parts.metrics.oldest.set(now() - oldest if oldest else 0)
        self.parts.metrics.free.set(self.parts.spool.free_bytes())
        return self.parts.metrics.exposition()

    def _workers(self, secrets: Secrets) -> list[tuple[str, Callable[[], bool]]]:
        config = self.config
        image = ImageWorker(self.scorer, self.parts, config.study.stable_seconds)
        assembler = Assembler(config, self.scorer.model, self.parts)
        workers: list[tuple[str, Callable[[], bool]]] = [
            (f"score-{number}", image.step) for number in range(self.scorer.at_once)
        ]
        workers += [("assemble", assembler.step), ("retention", self._purge)]
        for destination in config.destinations:
            sender = open_sender(destination, config.receiver.ae_title, secrets, self._ledger)
            patience = destination.commitment_seconds if isinstance(destination, Dicom) else 0.0
            deliverer = Deliverer(destination.name, sender, patience, self.parts)
            workers.append((f"deliver-{destination.name}", deliverer.step))
        if self.trail is not None:
            watcher = AuditWatcher(config, self.parts, self.trail)
            watcher.prepare()
            workers += [("audit", watcher.step), ("audit-forward", self.trail.forward)]
        return workers

    def _note(self, starts: bool) -> None:
        """Tell the audit trail that the gateway starts or ends."""
        if self.trail is not None:
            self.trail.record(messages.activity(self.config.name, self.config.receiver.ae_title, starts))
            if not starts:
                self.trail.close()

    def _purge(self) -> bool:
        """Purge what is old enough, now and then."""
        if time.monotonic() - self._purged_at > _PURGE_SECONDS:
            self._purged_at = time.monotonic()
            return retention.purge(self.parts, self.config.operation.retention_hours) > 0
        return False

    def _loop(self, step: Callable[[], bool]) -> None:
        """One step after the other; a database that is away is waited for."""
        while not self._ending.is_set():
            try:
                busy = step()
            except Exception:  # noqa: BLE001  whatever it is, the thread goes on: nothing else does its work
                logs.trouble("step_failed", thread=threading.current_thread().name)
                self._ending.wait(5)
                continue
            if busy:
                self._bell.set()
            else:
                self._bell.wait(_IDLE_SECONDS)
                self._bell.clear()


def open_trail(config: Config) -> AuditTrail | None:
    """The audit trail, ready for use; None where the configuration asks for none, HospitalError where it cannot be."""
    if config.audit is None:
        return None
    trail = AuditTrail(config.audit, config.name)
    trail.prepare()
    return trail


def open_scorer(config: Config, secrets: Secrets) -> Scorer:
    """The back end that the configuration names; BundleError or HospitalError where it cannot be used."""
    if config.model.service:
        return ServiceScorer(secrets.service_url, secrets.service_key, config.model.processes or 4)
    return PoolScorer(config.model.bundle or bundles.find_default(_ROOT), config.model.processes)


def open_sender(destination: Destination, ae_title: str, secrets: Secrets, committed: CommitmentReport) -> Sender:
    """What sends to a destination."""
    if isinstance(destination, Dicom):
        return DicomSender(destination, ae_title, committed)
    if isinstance(destination, Hl7):
        return Hl7Sender(destination, ae_title)
    authorization = secrets.authorizations.get(destination.name, "")
    if isinstance(destination, Fhir):
        return FhirSender(destination, authorization)
    return StowSender(destination, authorization)
