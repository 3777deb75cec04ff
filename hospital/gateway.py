"""The gateway as one process: receiver, workers and the port of its operation."""

import os
import threading
import time
from collections.abc import Callable, Mapping

from hospital import logs, queue, retention, sharing
from hospital.adt.listener import AdtListener
from hospital.audit import messages
from hospital.audit.trail import AuditTrail
from hospital.audit.watcher import AuditWatcher
from hospital.config import MIB, Config, Poll, Secrets
from hospital.crew import Crew, Step, Worker
from hospital.database import Database, now
from hospital.delivery import Sender
from hospital.delivery.dimse import DicomSender
from hospital.delivery.fhir import FhirSender
from hospital.delivery.fhir_file import FhirFileSender
from hospital.delivery.hl7 import Hl7Sender
from hospital.delivery.settings import Destination, Dicom, Fhir, FhirFile, Hl7, Ups
from hospital.delivery.stow import StowSender
from hospital.delivery.ups import UpsSender
from hospital.delivery.worker import CommitmentLedger, Deliverer
from hospital.dicomweb.app import StoreService, create_app
from hospital.dicomweb.client import DicomwebClient
from hospital.dicomweb.gate import ObjectGate
from hospital.dicomweb.poller import Poller
from hospital.dicomweb.server import WebServer
from hospital.errors import HospitalError
from hospital.images import ImageWorker
from hospital.intake import Intake
from hospital.labels.keeper import StoreKeeper
from hospital.labels.listener import ReportListener
from hospital.labels.origin import Origin
from hospital.labels.poller import ReportPoller
from hospital.labels.search import ReportSearch
from hospital.labels.settings import ReportPoll
from hospital.metrics import Metrics
from hospital.parts import Parts
from hospital.queue import Backoff, Queue
from hospital.receiver import CommitmentReport, DicomReceiver
from hospital.reload import ProcessFile, check_change
from hospital.room import never, with_room
from hospital.scoring import Scorer, bundle_folder, check_codes
from hospital.scoring.pool import PoolScorer
from hospital.scoring.service import ServiceScorer
from hospital.spool import Spool
from hospital.studies import Assembler
from serving.errors import BundleError

_PURGE_SECONDS = 60.0
_TIDY_SECONDS = 6 * 3600.0


class Gateway:
    """Everything that runs, started and stopped together."""

    def __init__(self, config: Config, secrets: Secrets, is_ending: Callable[[], bool] = never) -> None:
        """Open everything; on a full disk it waits for space, and raises ToldToEndError once `is_ending`."""
        self._is_ending = is_ending
        self._arrived, self._bell = threading.Event(), threading.Event()  # for those who score, and for the others
        self._purged_at = self._tidied_at = time.monotonic()
        self.config, self._secrets = config, secrets
        self.process, self.parts = open_parts(config, is_ending)
        self._crew = Crew(self._bell, self.parts.queue.give_back)
        self.trail = with_room(lambda: open_trail(config), is_ending)
        self._watcher = AuditWatcher(config, self.parts, self.trail) if self.trail is not None else None
        if self._watcher is not None:
            with_room(self._watcher.prepare, is_ending)
        self.keeper = open_keeper(config, secrets, self.parts.database, self.parts.metrics)
        self.reports = open_reports(config, self.keeper)
        self.scorer = open_scorer(config, secrets)
        self._ledger = CommitmentLedger(self.parts.database, self.parts.metrics, self._bell)
        self._intake = Intake(self.parts, config.name, config.receiver.disk_reserve_mb * MIB)
        self.receiver = DicomReceiver(config.receiver, self._intake, self.parts, self._arrived.set, self._ledger)
        self.web = WebServer(config.web_receiver) if config.web_receiver else None
        self._web_facts: object = None
        self.adt = AdtListener(config.adt, self.parts, self.trail, self._bell.set) if config.adt else None

    def start(self) -> None:
        """Take up what an earlier process left, and begin to receive."""
        freed = with_room(self.parts.queue.release_own, self._is_ending)
        with_room(lambda: retention.sweep(self.parts), self._is_ending)
        with_room(lambda: self._note(starts=True), self._is_ending)
        self._crew.exchange(self._workers(self.config, self._secrets))
        self.receiver.start()
        if self.reports is not None:
            self.reports.start()
        self._serve_web(self.config, self._secrets)
        if self.adt is not None:
            self.adt.start()
        logs.event(
            "ready",
            port=self.receiver.port,
            model=self.scorer.model.name,
            version=self.scorer.model.version,
            taken_up=freed,
        )

    def close(self) -> None:
        """Stop to receive, let each worker end its step, and leave the rest to the next start."""
        self.receiver.close()
        if self.web is not None:
            self.web.close()
        if self.adt is not None:
            self.adt.close()
        if self.reports is not None:
            self.reports.close()
        self._crew.close(30)
        try:
            self._note(starts=False)
        except OSError:  # a full disk must not keep the rest from its end
            logs.trouble("end_not_audited")
        if self.trail is not None:
            self.trail.close()
        self.scorer.close()
        if self.keeper is not None:
            self.keeper.close()
        self.parts.database.close()
        self.process.close()
        logs.event("ended")

    def adopt(self, config: Config, secrets: Secrets) -> list[str]:
        """Go on with another configuration, without an association or a request lost; what changed.

        HospitalError, and nothing is changed, where a restart is needed or a port cannot be had.
        """
        check_change(self.config, config)
        if secrets.service_url != self._secrets.service_url:
            raise HospitalError("FRACTURE_SERVICE_URL: changes with a restart only; nothing was changed")
        workers = self._workers(config, secrets)
        for part in (self.adt, self.reports, self.trail):
            if part is not None:
                part.renew()
        opened = self._opened_web(config)  # the last that may fail
        self.receiver.adopt(config.receiver)
        self._intake.reserve_bytes = config.receiver.disk_reserve_mb * MIB
        self.parts.queue.adopt(config.operation.lease_seconds, _backoff(config))
        if isinstance(self.scorer, ServiceScorer):
            self.scorer.adopt(secrets.service_key)
        if self._watcher is not None:
            self._watcher.adopt(config)
        changed = [name for name in type(config).model_fields if getattr(config, name) != getattr(self.config, name)]
        self.config, self._secrets = config, secrets
        if opened is not self.web and self.web is not None:
            threading.Thread(target=self.web.close, name="web-closing", daemon=True).start()
        self.web = opened
        self._serve_web(config, secrets)
        return changed + self._crew.exchange(workers)

    def _opened_web(self, config: Config) -> WebServer | None:
        """The port for STOW-RS that a configuration asks for: the one that is open already where it stays the same."""
        wanted = config.web_receiver
        if wanted is None:
            return None
        if self.web is not None and self.web.address == (wanted.host, wanted.port):
            return self.web
        return WebServer(wanted)

    def _serve_web(self, config: Config, secrets: Secrets) -> None:
        """Answer on the port for STOW-RS by a configuration; requests under way end by the one before."""
        settings = config.web_receiver
        if self.web is None or settings is None:
            self._web_facts = None
            return
        reserve = config.receiver.disk_reserve_mb * MIB
        facts = (settings, settings.tls and settings.tls.stamp(), secrets.web_key, reserve)
        if facts == self._web_facts:
            return
        self._web_facts = facts
        gate = ObjectGate(self._intake, self.parts.metrics, self._arrived.set, "STOW-RS")
        service = StoreService(settings, secrets.web_key, gate, self.parts, reserve)
        self.web.serve(settings, create_app(service.answer))

    def observe(self) -> bytes:
        """The metrics of this moment as text."""
        with self.parts.database.reading() as session:
            self.parts.metrics.jobs.clear()
            for (kind, destination, state), count in queue.counts(session).items():
                self.parts.metrics.jobs.labels(kind, destination, state).set(count)
            oldest = queue.oldest_waiting(session)
        self.parts.metrics.oldest.set(now() - oldest if oldest else 0)
        self.parts.metrics.free.set(self.parts.spool.free_bytes())
        return self.parts.metrics.exposition()

    def _workers(self, config: Config, secrets: Secrets) -> list[Worker]:
        def image(_: threading.Event) -> Step:
            # The service keeps its answers itself.
            keeper = None if config.model.service else self.keeper
            return ImageWorker(self.scorer, self.parts, config.study.stable_seconds, keeper).step

        def assembler(_: threading.Event) -> Step:
            return Assembler(config, self.scorer.model, self.parts, _origin(config, secrets)).step

        def purge(_: threading.Event) -> Step:
            return self._purge

        workers = [
            Worker(f"score-{number}", config.study, image, self._arrived) for number in range(self.scorer.at_once)
        ]
        workers.append(Worker("assemble", (config.study, config.results, config.destinations), assembler))
        workers.append(Worker("retention", None, purge))
        workers += [self._deliverer(one, config.receiver.ae_title, secrets) for one in config.destinations]
        workers += [self._poller(one, secrets.authorizations.get(one.name, "")) for one in config.polls]
        if (labels := self.keeper) is not None:
            workers.append(Worker("labels", None, lambda _: labels.step))
        if config.store is not None and (reports := config.store.fhir) is not None:
            authorization = secrets.authorizations.get(reports.name, "")
            workers.append(self._report_poller(reports, config.store.codes, authorization))
        return workers + self._auditors()

    def _deliverer(self, destination: Destination, ae_title: str, secrets: Secrets) -> Worker:
        def make(_: threading.Event) -> Step:
            sender = open_sender(destination, ae_title, secrets, self._ledger)
            patience = destination.commitment_seconds if isinstance(destination, Dicom) else 0.0
            return Deliverer(destination.name, sender, patience, self.parts).step

        facts = (destination, ae_title, secrets.authorizations.get(destination.name, ""))
        return Worker(f"deliver-{destination.name}", facts, make)

    def _poller(self, poll: Poll, authorization: str) -> Worker:
        def make(ending: threading.Event) -> Step:
            gate = ObjectGate(self._intake, self.parts.metrics, self._arrived.set, poll.name)
            return Poller(poll, DicomwebClient(poll, authorization), gate, self.parts, ending.is_set).step

        return Worker(f"poll-{poll.name}", (poll, poll.tls and poll.tls.stamp(), authorization), make)

    def _report_poller(self, poll: ReportPoll, codes: Mapping[str, str], authorization: str) -> Worker:
        def make(ending: threading.Event) -> Step:
            search = ReportSearch(poll, authorization)
            return ReportPoller(poll, search, codes, self.parts, ending.is_set).step

        return Worker(f"reports-{poll.name}", (poll, authorization), make)

    def _auditors(self) -> list[Worker]:
        """What tells the audit trail, and what sends it on: for as long as the gateway runs."""
        trail, watcher = self.trail, self._watcher
        if trail is None or watcher is None:
            return []
        return [
            Worker("audit", None, lambda _: watcher.step),
            Worker("audit-forward", None, lambda _: trail.forward),
        ]

    def _note(self, starts: bool) -> None:
        """Tell the audit trail that the gateway starts or ends."""
        if self.trail is not None:
            self.trail.record(messages.activity(self.config.name, self.config.receiver.ae_title, starts))

    def _purge(self) -> bool:
        """Purge what is old enough, now and then."""
        if time.monotonic() - self._tidied_at > _TIDY_SECONDS:
            self._tidied_at = time.monotonic()
            retention.tidy(self.parts)
        if time.monotonic() - self._purged_at > _PURGE_SECONDS:
            self._purged_at = time.monotonic()
            return retention.purge(self.parts, self.config.operation.retention_hours) > 0
        return False


def open_parts(config: Config, is_ending: Callable[[], bool] = never) -> tuple[ProcessFile, Parts]:
    """The lock on the spool, and spool and database ready for use; HospitalError where they cannot be had.

    On a full disk it waits for space. What a killed process left half-written goes first: it may be what fills it.
    """
    spool = Spool(config.spool, config.name if config.shared_spool else "")
    database = Database(config.database_url)
    with_room(spool.prepare, is_ending)
    sharing.refuse(config)
    process = with_room(lambda: ProcessFile(config), is_ending)
    spool.clear_partial()
    with_room(process.announce, is_ending)
    with_room(database.prepare, is_ending)
    shared = with_room(lambda: sharing.take_up(config, database), is_ending)
    owner = f"{os.getpid()}-{os.urandom(4).hex()}"
    jobs = Queue(database, config.name, owner, config.operation.lease_seconds, _backoff(config), shared_spool=shared)
    return process, Parts(database, jobs, spool, Metrics())


def _backoff(config: Config) -> Backoff:
    wait = config.delivery
    return Backoff(wait.first_wait_seconds, wait.longest_wait_seconds, wait.dead_after_hours * 3600)


def open_trail(config: Config) -> AuditTrail | None:
    """The audit trail, ready for use; None where the configuration asks for none, HospitalError where it cannot be."""
    if config.audit is None:
        return None
    trail = AuditTrail(config.audit, config.name)
    trail.prepare()
    return trail


def open_scorer(config: Config, secrets: Secrets) -> Scorer:
    """The back end that the configuration names; HospitalError where it cannot be used."""
    wanted = config.model
    scorer: Scorer
    if wanted.service:
        scorer = ServiceScorer(secrets.service_url, secrets.service_key, wanted.processes or 4)
    else:
        origin = _origin(config, secrets)
        try:
            scorer = PoolScorer(bundle_folder(wanted), wanted.processes, wanted.scope == "warn", origin)
        except BundleError as error:
            raise HospitalError(f"model.bundle: {error}" if wanted.bundle else str(error)) from None
    try:
        check_codes(config.store, scorer.model.classes)
    except HospitalError:
        scorer.close()
        raise
    return scorer


def open_keeper(config: Config, secrets: Secrets, database: Database, metrics: Metrics) -> StoreKeeper | None:
    """What writes to the store of answers; None where nothing is kept, HospitalError for an address that is none."""
    origin = _origin(config, secrets)
    if config.store is None or origin is None:
        return None
    return StoreKeeper(config.store, secrets.store_url, origin, database, metrics)


def open_reports(config: Config, keeper: StoreKeeper | None) -> ReportListener | None:
    """The port for final reports; None where the configuration asks for none, HospitalError where it cannot be had."""
    if config.store is None or config.store.reports is None or keeper is None:
        return None
    return ReportListener(config.store.reports, keeper.take)


def _origin(config: Config, secrets: Secrets) -> Origin | None:
    """Where the gateway's own answers come from; None where they are not kept."""
    return Origin(config.store.site, config.name, secrets.pseudonym_key) if config.store else None


def open_sender(destination: Destination, ae_title: str, secrets: Secrets, committed: CommitmentReport) -> Sender:
    """What sends to a destination."""
    if isinstance(destination, Dicom):
        return DicomSender(destination, ae_title, committed)
    if isinstance(destination, Hl7):
        return Hl7Sender(destination, ae_title)
    authorization = secrets.authorizations.get(destination.name, "")
    if isinstance(destination, Fhir):
        return FhirSender(destination, authorization)
    if isinstance(destination, FhirFile):
        return FhirFileSender(destination)
    if isinstance(destination, Ups):
        return UpsSender(destination, authorization)
    return StowSender(destination, authorization)
